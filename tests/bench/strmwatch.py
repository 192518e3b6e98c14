"""From a change that CloudDrive2 tells of to the file on disk, a hundred a second; and a thousand tellings of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from pantograph.clock import SystemClock
from pantograph.providers.media.clouddrive2 import CloudDrive2
from pantograph.providers.media.port import MediaSource
from pantograph.strm.report import Report
from pantograph.strm.run import Request, Surroundings, execute
from pantograph.strm.subtrees import Subtrees
from pantograph.strm.watching import follow
from tests.bench.results import Result
from tests.bench.shelves import ROOT
from tests.bench.strmruns import job
from tests.contract.media.worlds import bucket, settings
from tests.fakes.clouddrive2 import FakeCloudDrive2, serving
from tests.fakes.library import Library

EVENTS = 500
A_SECOND = 100
DIRECTORIES = 10
DUPLICATES = 1000
MIN_INTERVAL_S = 0.5
"""`watch.minInterval` of the job: with its default of 10 s that would be all that is measured."""
QUIET_S = 3 * MIN_INTERVAL_S
WITHIN_S = 30.0
LATENCY_GATE_S = 2.0
RUNS_GATE = 3
"""One begins with the first telling; others look again for those that came in meanwhile."""


def run(folder: Path) -> list[Result]:
    """p99 of the way from event to file, and what a thousand tellings of one change caused."""
    return asyncio.run(_measure(folder))


async def _measure(folder: Path) -> list[Result]:
    fake = FakeCloudDrive2()
    shelf = fake.library
    assert isinstance(shelf, Library)
    for number in range(DIRECTORIES):
        shelf.mkdir(f"{ROOT}/{number}")
    target = folder / "target"
    target.mkdir()
    async with serving(fake):
        source = CloudDrive2(settings(folder, fake.base_url), bucket=bucket(), clock=SystemClock())
        async with _following(source, target) as reports:
            latencies = await _events(fake, shelf, target)
            await asyncio.sleep(QUIET_S)
            before = len(reports)
            shelf.put(f"{ROOT}/0/one more.mkv", b"x")
            for _ in range(DUPLICATES):
                fake.push("CREATE", f"{ROOT}/0/one more.mkv")
            await _until((target / "0/one more.strm").exists)
            await asyncio.sleep(QUIET_S)  # for what else would come
            after = reports[before:]
        await source.close()
    p99 = sorted(latencies)[int(0.99 * len(latencies))]
    actions = sum(each.created + each.updated for each in after)
    return [
        Result(name="strm.watch.p99", value=p99, unit="s", gate=LATENCY_GATE_S),
        Result(name="strm.watch.duplicates.writes", value=actions, unit="", gate=1),
        Result(name="strm.watch.duplicates.runs", value=len(after), unit="", gate=RUNS_GATE),
    ]


@asynccontextmanager
async def _following(source: MediaSource, target: Path) -> AsyncIterator[list[Report]]:
    """The reports of runs, which come as the source tells of changes; the first, whole one is over."""
    reports: list[Report] = []
    around = Surroundings(source=source, root=target, clock=SystemClock())

    async def run(scope: Subtrees) -> Report:
        request = Request(run=f"run-{len(reports)}", trigger="watch", scope=scope)
        reports.append(await execute(job(), request, around))
        return reports[-1]

    following = asyncio.create_task(follow(source, ROOT, clock=SystemClock(), min_interval_s=MIN_INTERVAL_S, run=run))
    try:
        await _until(lambda: bool(reports))
        yield reports
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _events(fake: FakeCloudDrive2, shelf: Library, target: Path) -> list[float]:
    """Seconds from each event until its file was there."""
    told: dict[Path, float] = {}
    latencies: list[float] = []

    def arrived() -> bool:
        now = monotonic()
        for path in [each for each in told if each.exists()]:
            latencies.append(now - told.pop(path))
        return not told

    began = monotonic()
    for number in range(EVENTS):
        await asyncio.sleep(max(0.0, began + number / A_SECOND - monotonic()))
        place = f"{number % DIRECTORIES}/film {number}"
        shelf.put(f"{ROOT}/{place}.mkv", b"x")
        fake.push("CREATE", f"{ROOT}/{place}.mkv")
        told[target / f"{place}.strm"] = monotonic()
        arrived()
    await _until(arrived)
    return latencies


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - a file says nothing when it comes
            await asyncio.sleep(0.01)
