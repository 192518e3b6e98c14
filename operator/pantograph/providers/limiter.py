"""How much we ask of one outside system: so many calls at once, and so many a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pantograph.clock import Clock

EARLY_S: Final = 0.02
"""A turn may come so much early: at a thousand a second, to wait for each alone costs as much as the calls."""


class Limiter:
    """At most `concurrent` calls at once, and `per_second` on average after a burst of `burst`; in order of arrival."""

    def __init__(self, clock: Clock, *, concurrent: int, per_second: float, burst: int = 1) -> None:
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrent)
        self._burst = burst
        self._next = float("-inf")
        self.set_rate(per_second)

    def set_rate(self, per_second: float) -> None:
        """From now on; who waits already keeps the turn it was given."""
        self._interval_s = 1 / per_second
        self._burst_s = (self._burst - 1) * self._interval_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Inside, a call may be made; waits for its turn."""
        async with self._slots:
            await self._token()
            yield

    async def _token(self) -> None:
        # The generic cell rate algorithm: one number instead of a bucket that somebody must fill.
        now = self._clock.monotonic()
        start = max(self._next, now - self._burst_s)
        self._next = start + self._interval_s
        if start - now > EARLY_S:
            await self._clock.sleep(start - now)
