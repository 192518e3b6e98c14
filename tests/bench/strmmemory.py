"""The most that a process ever had resident which made a library from nothing and then looked at it again.

Listings are made up as they are asked for, as a driver's come, so that what is kept is the engine's. Prints bytes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pantograph.garbage import collect_seldom
from pantograph.providers.media.port import Entry, Listing
from tests.bench.shelves import BIRTH, ROOT, Shelves, listing
from tests.bench.strmruns import Engine, job


def main() -> None:
    parser = argparse.ArgumentParser()
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--files", type=int, help="in a tree")
    size.add_argument("--flat", type=int, help="in one directory")
    args = parser.parse_args()
    shelves = Shelves(args.files or 0)

    def listings(path: str) -> Listing:
        return _flat(path, args.flat) if args.flat else listing(path, shelves.children(path) or [])

    collect_seldom()  # as the command does
    with tempfile.TemporaryDirectory(prefix="bench-strm-") as folder:
        engine = Engine(Path(folder) / "tree", listings)
        for _ in range(2):
            engine.run(job())
        print(_peak_bytes())


def _flat(path: str, count: int) -> Listing:
    entries = tuple(Entry(f"Film {number:06} (2024).mkv", path, False, 10**9, BIRTH) for number in range(count))
    return Listing(path if path == ROOT else "", entries, True, "complete", fingerprint=b"always the same")


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell VmHWM")


if __name__ == "__main__":
    main()
