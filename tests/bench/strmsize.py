"""One size of library, in a process of its own: what runs cost against plain loops over the same tree, turn by turn.

Prints one JSON object a figure.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pantograph.garbage import collect_seldom
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
"""How often a tree is made, and written anew, up to `LARGE` files; one of more is large enough to be one sample."""
LARGE = 100_000
DISK_SETTLES_S = 65.0
"""ext4 passes over every inode that was freed within the last minute (RECENTCY_MIN in its ialloc.c), which costs up to
ten times what a file costs: what an earlier size has deleted must be older, and nothing is deleted in between."""
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
    count = parser.parse_args().files
    shelves = Shelves(count)
    listings = {path: listing(path, shelves.children(path) or []) for path in shelves.paths()}
    collect_seldom()  # as the command does
    gc.collect()
    gc.freeze()  # what was prepared must not slow down the engine's own collections
    os.sync()
    time.sleep(DISK_SETTLES_S)
    with tempfile.TemporaryDirectory(prefix="bench-strm-") as folder:
        engine = _first(Path(folder), count, listings.__getitem__)
        reports = [report for verify in NOOPS for report in _noop(engine, count, verify)]
        _print(f"strm.{count}.noop.requests", max(_extra(each, shelves.directories) for each in reports), "", gate=0)
        _rewrite(engine, Path(folder), count)


def _first(folder: Path, count: int, listings: Callable[[str], object]) -> Engine:
    """Trees from nothing, ours and a plain loop's in turn; the last of ours is kept."""
    ours, plain = [], []
    for number in range(_samples(count)):
        engine = Engine(folder / f"tree-{number}", listings)  # type: ignore[arg-type]
        spent, report = engine.run(job())
        if report.created != count:
            raise RuntimeError(f"{report.created} files were made, not {count}")
        ours.append(spent)
        plain.append(_written(engine.target, folder / f"plain-{number}"))
    _print(f"strm.{count}.first", median(ours), "s", median(plain), gate=FIRST_GATE)
    return engine


def _samples(count: int) -> int:
    return TREES if count <= LARGE else 1


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


def _rewrite(engine: Engine, folder: Path, count: int) -> None:
    """Another base for every link, from the records alone; against a loop that writes the same over the old files."""
    ours, plain = [], []
    for number in range(_samples(count)):
        declared: Job = job(base=f"http://elsewhere-{number}.lan", maxRewritePercent=100)
        spent, report = engine.run(declared, rewrite_only=True)
        if (report.updated, report.remote_requests) != (count, 0):
            raise RuntimeError(f"{report.updated} of {count} rewritten, with {report.remote_requests} requests")
        ours.append(spent)
        plain.append(_written(engine.target, folder / "plain-0"))
    _print(f"strm.{count}.rewrite", median(ours), "s", median(plain), gate=REWRITE_GATE)


def _print(name: str, value: float, unit: str, reference: float | None = None, *, gate: float | None) -> None:
    print(Result(name=name, value=value, unit=unit, reference=reference, gate=gate).line(), flush=True)


if __name__ == "__main__":
    main()
