"""`pantograph strm watch`: a run, and from then on one over whatever the server says has changed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from pantograph.clock import Clock
from pantograph.providers.media.port import Hint, HintKind, MediaSource
from pantograph.strm.notifying import Reminder
from pantograph.strm.report import Report
from pantograph.strm.run import Request
from pantograph.strm.subtrees import Subtrees
from pantograph.strm.watching import follow


async def watch(
    source: MediaSource,
    root: str,
    *,
    clock: Clock,
    min_interval_s: float,
    rebuild: bool,
    new_name: Callable[[], str],
    execute: Callable[[Request], Awaitable[Report]],
    stop: asyncio.Event,
) -> int:
    """Follow `root` until `stop`: 0. Media servers that were not told at the end of a run are told when it is time.

    `rebuild`: the first run begins new records. Raises what ends the watch for good.
    """
    reminder = Reminder()

    async def do(request: Request) -> Report:
        async with reminder.alone:
            report = await execute(request)
        reminder.remind(report.notify_due)
        return report

    async def run(scope: Subtrees) -> Report:
        nonlocal rebuild
        request = Request(run=new_name(), trigger="watch", scope=scope, rebuild_manifest=rebuild)
        rebuild = False
        return await do(request)

    async def tell() -> None:
        await do(Request(run=new_name(), trigger="watch", notify_only=True))

    working = [
        asyncio.create_task(follow(source, root, clock=clock, min_interval_s=min_interval_s, run=run, tell=_say)),
        asyncio.create_task(reminder.follow(clock, tell)),
    ]
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({*working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return 0
        await asyncio.gather(*(each for each in working if each.done()))
        return 1
    finally:
        for each in (*working, stopped):
            each.cancel()
        await asyncio.gather(*working, stopped, return_exceptions=True)


def _say(hint: Hint) -> None:
    if hint.kind is HintKind.LOST:
        print(f"pantograph strm: the watch is lost, and begun anew: {hint.why}", file=sys.stderr, flush=True)
    elif hint.kind is HintKind.RESCAN:
        print("pantograph strm: watching", file=sys.stderr, flush=True)
