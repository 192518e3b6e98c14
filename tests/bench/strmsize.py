"""One size of library, in a process of its own: what runs cost against plain loops over the same tree, turn by turn.

Makes the trees and looks at them or, in a later process, writes them anew. Prints one JSON object a figure.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pantograph.garbage import collect_seldom
from pantograph.providers.media.port import Listing
from pantograph.strm.report import Report
from pantograph.strm.spec import Job
from tests.bench.metering import cpu_s
from tests.bench.results import Result
from tests.bench.shelves import Shelves, listing
from tests.bench.strmloops import digest, files, scan, write
from tests.bench.strmruns import Engine, job

ROUNDS = 9
"""Of runs without changes, turn by turn."""
TREES = 3
"""How often a tree is made, turn by turn with a plain loop's: a machine has slower minutes."""
LARGE = 100_000
"""A tree of more files is written anew once: that takes minutes, and has its slower ones in it."""
JUDGED = 100_000
"""Runs without changes are judged from so many files on: with fewer, the 20 ms that any run costs weigh too much."""
FIRST_GATE = 1 / 0.6
REWRITE_GATE = 2.5
TIMES_SETTLE_S = 2.5
"""A directory's time is believed after it."""
NOOPS: dict[str, tuple[Callable[[Path], None], float]] = {
    "Stat": (lambda root: scan(root, look=True), 1.25),
    "Content": (lambda root: scan(root, read=True), 1.6),
    "DirMtime": (scan, 1.0),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for the trees, which stay")
    parser.add_argument("--rewrite", action="store_true", help="the trees that are there")
    args = parser.parse_args()
    collect_seldom()  # as the command does
    if args.rewrite:
        _rewrite(args.folder, args.files)
    else:
        _make_and_look(args.folder, args.files)


def _make_and_look(folder: Path, count: int) -> None:
    shelves = Shelves(count)
    listings = {path: listing(path, shelves.children(path) or []) for path in shelves.paths()}
    gc.collect()
    gc.freeze()  # what was prepared must not slow down the engine's own collections
    engine = _first(folder, count, listings.__getitem__)
    reports = [report for verify in NOOPS for report in _noop(engine, count, verify)]
    _print(f"strm.{count}.noop.requests", max(_extra(each, shelves.directories) for each in reports), "", gate=0)


def _first(folder: Path, count: int, listings: Callable[[str], Listing]) -> Engine:
    """Trees from nothing, ours and a plain loop's in turn."""
    ours, plain = [], []
    for number in range(TREES):
        engine = Engine(folder / f"tree-{number}", listings)
        spent, report = engine.run(job())
        if report.created != count:
            raise RuntimeError(f"{report.created} files were made, not {count}")
        ours.append(spent)
        plain.append(_written(engine.target, folder / f"plain-{number}"))
    _print(f"strm.{count}.first", median(ours), "s", median(plain), gate=FIRST_GATE)
    return engine


def _written(tree: Path, to: Path) -> float:
    contents = list(files(tree))
    began = cpu_s()
    write(to, contents)
    return cpu_s() - began


def _noop(engine: Engine, count: int, verify: str) -> list[Report]:
    loop, gate = NOOPS[verify]
    declared = job(verify=verify)
    if verify == "DirMtime":
        time.sleep(TIMES_SETTLE_S)
    engine.run(declared)
    before = digest(engine.target)
    spent, plain, reports = [], [], []
    for _ in range(ROUNDS):
        cost, report = engine.run(declared)
        spent.append(cost)
        reports.append(report)
        began = cpu_s()
        loop(engine.target)
        plain.append(cpu_s() - began)
    # The least of each: what else the machine does can only add to it.
    _print(f"strm.{count}.noop.{verify}", min(spent), "s", min(plain), gate=gate if count >= JUDGED else None)
    changed = sum(each.created + each.updated + each.pruned for each in reports)
    written = changed + (digest(engine.target) != before)
    _print(f"strm.{count}.noop.{verify}.writes", written, "", gate=0)
    return reports


def _extra(report: Report, directories: int) -> int:
    """Requests beyond one a directory that was listed."""
    return report.remote_requests + report.unlisted_dirs - directories


def _rewrite(folder: Path, count: int) -> None:
    """Another base for every link, from the records alone; against a loop that writes the same over the old files."""
    last = TREES - 1  # what was made first may be out of memory by now
    engine = Engine(folder / f"tree-{last}", _nobody_asks)
    ours, plain = [], []
    for number in range(TREES if count <= LARGE else 1):
        declared: Job = job(base=f"http://elsewhere-{number}.lan", maxRewritePercent=100)
        spent, report = engine.run(declared, rewrite_only=True)
        if (report.updated, report.remote_requests) != (count, 0):
            raise RuntimeError(f"{report.updated} of {count} rewritten, with {report.remote_requests} requests")
        ours.append(spent)
        plain.append(_written(engine.target, folder / f"plain-{last}"))
    _print(f"strm.{count}.rewrite", median(ours), "s", median(plain), gate=REWRITE_GATE)


def _nobody_asks(path: str) -> Listing:
    raise AssertionError(f"{path} was listed")


def _print(name: str, value: float, unit: str, reference: float | None = None, *, gate: float | None) -> None:
    print(Result(name=name, value=value, unit=unit, reference=reference, gate=gate).line(), flush=True)


if __name__ == "__main__":
    main()
