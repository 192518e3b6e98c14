"""The STRM engine: what a run costs against plain loops and a peer, how much memory, how soon after an event."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import strmpeer, strmqueue, strmwatch
from tests.bench.results import Result

CHECKOUT = Path(__file__).parents[2]
SIZES = (10_000, 100_000, 1_000_000)
FLAT_FILES = 200_000
MEMORY_GATE_MB = 120.0
FLAT_GATE_MB = 250.0
GROWTH_GATE_MB = 30.0
"""From 100,000 files to a million."""


def run(sizes: Sequence[int] = SIZES) -> list[Result]:
    """Everything, sizes in processes of their own.

    Nothing is deleted until all is measured, and nothing rewritten until all is made: ext4 passes over every inode that
    was freed within the last minute, or the last six while its block is not written (recently_deleted in its
    ialloc.c), which costs ten times what a file costs, and whoever writes first would pay for what another freed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-strm-") as name:
        folder = Path(name)
        found = [*strmqueue.run(), *strmwatch.run(folder), *strmpeer.run(folder)]
        for words in ((), ("--rewrite",)):
            for size in sizes:
                trees = folder / str(size)
                trees.mkdir(exist_ok=True)
                found += _figures("tests.bench.strmsize", "--files", str(size), "--folder", str(trees), *words)
        return found + list(_memory(sizes))


def _memory(sizes: Sequence[int]) -> Iterator[Result]:
    peaks = {size: _peak_mb("--files", str(size)) for size in sizes}
    for size, peak in peaks.items():
        yield Result(name=f"strm.{size}.rss", value=peak, unit="MB", gate=MEMORY_GATE_MB)
    if 100_000 in peaks and 1_000_000 in peaks:
        growth = peaks[1_000_000] - peaks[100_000]
        yield Result(name="strm.rss.growth", value=growth, unit="MB", gate=GROWTH_GATE_MB)
    yield Result(name="strm.flat.rss", value=_peak_mb("--flat", str(FLAT_FILES)), unit="MB", gate=FLAT_GATE_MB)


def _peak_mb(*size: str) -> float:
    return int(_output("tests.bench.strmmemory", *size)) / 1e6


def _figures(module: str, *words: str) -> list[Result]:
    lines = [json.loads(line) for line in _output(module, *words).splitlines()]
    names = ("name", "value", "unit", "reference", "gate")
    return [Result(**{name: line[name] for name in names}) for line in lines]


def _output(module: str, *words: str) -> str:
    command = [sys.executable, "-m", module, *words]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, cwd=CHECKOUT, text=True).stdout
