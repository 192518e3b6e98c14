"""Runs of the real engine in this process, over a source that costs nothing, and what they cost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.clock import SystemClock
from pantograph.providers.media.port import Listing
from pantograph.strm.report import Report
from pantograph.strm.run import Request, Surroundings, execute
from pantograph.strm.spec import Job, compile_job
from tests.bench.metering import cpu_s
from tests.bench.prepared import PreparedSource
from tests.bench.shelves import ROOT

BASE = "http://player.lan:5244"
MANY_RUNS = 1000
"""No full run comes in between."""


def job(*, base: str = BASE, **update: Any) -> Job:
    """A job over the shelves; `update` as in its spec."""
    spec = {
        "serverRef": {"name": "server"},
        "source": {"path": ROOT},
        "target": {"root": {"name": "media"}},
        "link": {"publicBase": base},
        "update": {"fullEvery": MANY_RUNS, **update},
    }
    return compile_job(StrmSyncJob.parse({"metadata": {"name": "films", "namespace": "media"}, "spec": spec}))


class Engine:
    """One target, run after run."""

    def __init__(self, target: Path, listings: Callable[[str], Listing]) -> None:
        self.target = target
        self.target.mkdir(exist_ok=True)
        self._listings = listings
        self._numbers = itertools.count(1)

    def run(self, declared: Job, **asked: Any) -> tuple[float, Report]:
        """CPU seconds and the report of a run that must succeed.

        The source's own turn of the event loop is left in: it is a hundredth, and to meter it would cost more.
        """
        source = PreparedSource(self._listings)
        around = Surroundings(source=source, root=self.target, clock=SystemClock())
        request = Request(run=f"run-{next(self._numbers)}", trigger="cron", **asked)
        began = cpu_s()
        report = asyncio.run(execute(declared, request, around))
        spent = cpu_s() - began
        if report.result != "Succeeded":
            raise RuntimeError(f"{report.result}: {report.reason} {report.message}")
        return spent, report
