"""A process that goes on after a run comes back when media servers are due."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pantograph.clock import LoopClock
from pantograph.strm.notifying import Reminder
from tests.fakes import virtualtime

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def following(reminder: Reminder, told: list[float]) -> AsyncIterator[LoopClock]:
    clock = LoopClock(EPOCH)

    async def tell() -> None:
        told.append(clock.monotonic())

    task = asyncio.create_task(reminder.follow(clock, tell))
    try:
        yield clock
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_it_comes_back_once_at_the_time_that_was_said_last() -> None:
    async def play() -> list[float]:
        told: list[float] = []
        reminder = Reminder()
        async with following(reminder, told) as clock:
            start = clock.now().timestamp()
            reminder.remind(start + 60)
            await clock.sleep(30)
            reminder.remind(start + 90)
            await clock.sleep(300)
            reminder.remind(None)
            await clock.sleep(7200)
        return told

    assert [round(at) for at in virtualtime.run(play())] == [90]


def test_it_leaves_the_telling_to_a_run_that_is_under_way() -> None:
    async def play() -> list[float]:
        told: list[float] = []
        reminder = Reminder()
        async with following(reminder, told) as clock:
            async with reminder.alone:
                reminder.remind(clock.now().timestamp() + 60)
                await clock.sleep(600)
                assert told == []
            reminder.remind(clock.now().timestamp() + 60)
            await clock.sleep(600)
        return told

    assert [round(at) for at in virtualtime.run(play())] == [660]
