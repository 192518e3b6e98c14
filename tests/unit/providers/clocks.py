"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    def __init__(self) -> None:
        self._seconds = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move on, waking sleepers in the order of their times, each at its own time."""
        await settle()
        end = self._seconds + seconds
        while due := [one for one in self._sleepers if one[0] <= end and not one[1].done()]:
            at, future = min(due, key=lambda one: one[0])
            self._sleepers.remove((at, future))
            self._seconds = max(self._seconds, at)
            future.set_result(None)
            await settle()
        self._seconds = end
        await settle()


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)
