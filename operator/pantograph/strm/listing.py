"""Asks the source for one directory after another: ahead of the work, again after a failure, and never too often."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.errors import Busy, NotFound, ProviderError, Unauthorized, Unreachable
from pantograph.providers.media.port import Listing, MediaSource
from pantograph.strm.errors import StrmError
from pantograph.strm.manifest import FrontierItem

ATTEMPTS: Final = 3
FIRST_PAUSE_S: Final = 2.0
LONGEST_WAIT_S: Final = 300.0
"""For a server that wants to be left alone; longer than that, the run ends and another one comes."""
CANCEL_WITHIN_S: Final = 1.0
"""A run that waits for the server looks so often whether it is cancelled."""
FAILURES_IN_A_ROW: Final = 10
"""So many directories that cannot be listed, one after another: the server is the fault, not the directories."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One directory's answer, or why there is none."""

    item: FrontierItem
    listing: Listing | None
    error: ProviderError | None


@dataclass(slots=True, kw_only=True)
class Lister:
    """At most `parallel` directories are asked for ahead; answers come in the order of the frontier."""

    source: MediaSource
    clock: Clock
    root: str
    parallel: int = 4
    attempts: int = ATTEMPTS
    cancelled: Callable[[], bool] = lambda: False
    """Asked during every wait."""
    on_cooldown: Callable[[datetime | None], None] = lambda _: None
    """Told until when the server wants to be left alone, and None once it answers again."""
    requests: int = 0
    cooling: bool = False
    """The last answer was that the server wants to be left alone."""
    _failures: int = 0
    _asked: deque[tuple[FrontierItem, asyncio.Task[Listed]]] = field(default_factory=deque)

    async def next(self, pop: Callable[[], FrontierItem | None]) -> Listed | None:
        """The next answer; `pop` gives the frontier's next directory. None: all is done.

        Raises StrmError when the source as a whole cannot be used (credentials refused, a ban, an outage).
        """
        while len(self._asked) < self.parallel and (item := pop()) is not None:
            self._asked.append((item, asyncio.create_task(self._ask(item))))
        if not self._asked:
            return None
        _, task = self._asked[0]
        listed = await task
        self._asked.popleft()
        self._judge(listed)
        return listed

    async def close(self) -> None:
        """Drop what was asked for ahead."""
        tasks = [task for _, task in self._asked]
        self._asked.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, item: FrontierItem) -> Listed:
        path = self.path_of(item.path)
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, self.attempts + 1):
            self.requests += 1
            try:
                listing = await self.source.list(path)
            except ProviderError as error:
                self._tell_cooldown(error)
                wait_s = _wait(error, pause_s)
                if wait_s is None or attempt == self.attempts:
                    return Listed(item, None, error)
                if not await self._pause(wait_s):
                    return Listed(item, None, error)
                pause_s *= 2
            else:
                self._tell_cooldown(None)
                return Listed(item, listing, None)
        raise AssertionError("the last attempt returns")

    async def _pause(self, seconds: float) -> bool:
        """Whether it is still worth asking after it."""
        until = self.clock.monotonic() + seconds
        while (left_s := until - self.clock.monotonic()) > 0 and not self.cancelled():
            await self.clock.sleep(min(left_s, CANCEL_WITHIN_S))
        return not self.cancelled()

    def _tell_cooldown(self, error: ProviderError | None) -> None:
        if isinstance(error, Busy):
            self.cooling = True
            self.on_cooldown(self.clock.now() + timedelta(seconds=_left_alone_s(error)))
        elif error is None and self.cooling:
            self.cooling = False
            self.on_cooldown(None)

    def path_of(self, relative: str) -> str:
        """The source's own path of a directory."""
        if not relative:
            return self.root
        return f"/{relative}" if self.root == "/" else f"{self.root}/{relative}"

    def _judge(self, listed: Listed) -> None:
        error = listed.error
        if error is None or isinstance(error, NotFound):
            self._failures = 0
            return
        if isinstance(error, Unauthorized | Busy):
            reason = "RateLimited" if isinstance(error, Busy) else error.reason
            raise StrmError(reason, error.message, remedy=error.remedy) from error
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            raise StrmError(
                "SourceUnusable",
                f"{self._failures} directories in a row cannot be listed: {error.message}",
                remedy=error.remedy,
            ) from error


def _left_alone_s(error: Busy) -> float:
    return error.retry_after_s if error.retry_after_s is not None else 60.0


def _wait(error: ProviderError, pause_s: float) -> float | None:
    """How long until it is worth asking again; None: it is not."""
    if isinstance(error, Busy):
        wanted = _left_alone_s(error)
        return wanted if wanted <= LONGEST_WAIT_S else None
    return pause_s if isinstance(error, Unreachable) else None
