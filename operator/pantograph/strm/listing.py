"""Asks the source for one directory after another: ahead of the work, again after a failure, and never too often."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from pantograph.clock import Clock
from pantograph.providers.errors import Busy, MissingPrivilege, NotFound, ProviderError, Unauthorized, Unreachable
from pantograph.providers.media.port import Listing, MediaSource, Recognizing, Unread
from pantograph.strm.errors import StrmError
from pantograph.strm.manifest import FrontierItem

ATTEMPTS: Final = 3
FIRST_PAUSE_S: Final = 2.0
LONGEST_WAIT_S: Final = 300.0
"""For a server that wants to be left alone; longer than that, the run ends and another one comes."""
CANCEL_WITHIN_S: Final = 1.0
"""A run that waits for the server looks so often whether it is cancelled."""
AHEAD: Final = 2
"""Answers that may wait for the work, for each question that may be open, before no more are asked for."""
AT_ONCE: Final = 2
"""Further questions that are then taken together, for each that may be open: workers that end for want of a question
and begin again would cost as much as the questions."""
MAX_HELD: Final = 20_000
"""Entries in answers that wait: more are not asked for, since a directory may hold very many."""
FAILURES_IN_A_ROW: Final = 10
"""So many directories that cannot be listed, one after another: the server is the fault, not the directories."""


class Listed(NamedTuple):
    """One directory's answer, or why there is none."""

    item: FrontierItem
    answer: Listing | Unread | None
    error: ProviderError | None


@dataclass(slots=True, kw_only=True)
class Lister:
    """At most `parallel` questions are open, a few answers wait; they come in the order of the frontier.

    A few workers take one question after another: a task for each would cost more than a directory in which nothing
    changed. The next one begins when those at work wait: where answers come at once, one does it all.
    """

    source: MediaSource
    clock: Clock
    root: str
    parallel: int = 4
    attempts: int = ATTEMPTS
    refresh: bool = False
    """Past the server's cache."""
    known: Callable[[FrontierItem], bytes] = lambda _: b""
    """The fingerprint of an answer that need not be read again."""
    cancelled: Callable[[], bool] = lambda: False
    """Asked during every wait."""
    on_cooldown: Callable[[datetime | None], None] = lambda _: None
    """Told until when the server wants to be left alone, and None once it answers again."""
    requests: int = 0
    cooling: bool = False
    """The last answer was that the server wants to be left alone."""
    _recognizing: Recognizing | None = field(init=False)
    """`source`, if it can leave unread what is `known`; looked at once, since Python asks it for every method."""
    _failures: int = 0
    _asked: deque[asyncio.Future[Listed]] = field(default_factory=deque)
    """Questions and answers, in order."""
    _open: deque[tuple[FrontierItem, asyncio.Future[Listed]]] = field(default_factory=deque)
    """Those that no worker has taken."""
    _workers: set[asyncio.Task[None]] = field(default_factory=set)
    _busy: int = 0
    """Workers that will look for another question."""
    _begins: bool = False
    """One of them has yet to look for its first."""
    _held: int = 0
    """Entries in the answers that wait."""

    def __post_init__(self) -> None:
        self._recognizing = self.source if isinstance(self.source, Recognizing) else None

    async def next(self, pop: Callable[[], FrontierItem | None]) -> Listed | None:
        """The next answer; `pop` gives the frontier's next directory. None: all is done.

        Raises StrmError when the source as a whole cannot be used (credentials refused, a ban, an outage).
        """
        self._ask_ahead(pop)
        if not self._asked:
            return None
        answer = self._asked[0]
        listed = answer.result() if answer.done() else await answer
        self._asked.popleft()
        self._held -= _size(listed)
        if listed.error is None:
            self._failures = 0
        else:
            self._judge(listed.item.path, listed.error)
        return listed

    async def close(self) -> None:
        """Drop what was asked for ahead."""
        self._open.clear()
        workers = list(self._workers)
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for answer in self._asked:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # nobody needs to hear of it
        self._asked.clear()

    def _ask_ahead(self, pop: Callable[[], FrontierItem | None]) -> None:
        ahead = self.parallel * AHEAD if self._held < MAX_HELD else 1
        if len(self._asked) < ahead:
            if ahead > 1:
                ahead += self.parallel * AT_ONCE
            loop = asyncio.get_running_loop()
            while len(self._asked) < ahead and (item := pop()) is not None:
                answer: asyncio.Future[Listed] = loop.create_future()
                self._asked.append(answer)
                self._open.append((item, answer))
        # Also when nothing was asked: workers end when too much is held, and leave questions open.
        self._employ()

    def _employ(self) -> None:
        """One more worker, if there is work for it."""
        if self._open and not self._begins and self._busy < self.parallel:
            self._begins = True
            worker = asyncio.create_task(self._work())
            self._busy += 1
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        self._begins = False
        another = asyncio.get_running_loop().call_soon(self._employ)  # as soon as this one waits
        while self._open and (self._held < MAX_HELD or self._open[0][1] is self._asked[0]):
            item, answer = self._open.popleft()
            try:
                listed = await self._ask(item)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  # whoever waits for the answer gets it
                answer.set_exception(error)
                break
            self._held += _size(listed)
            if not answer.cancelled():
                answer.set_result(listed)
        another.cancel()
        self._busy -= 1

    async def _ask(self, item: FrontierItem) -> Listed:
        path = self.path_of(item.path)
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, self.attempts + 1):
            self.requests += 1
            try:
                answer = await self._list(item, path)
            except ProviderError as error:
                self._tell_cooldown(error)
                wait_s = _wait(error, pause_s)
                if wait_s is None or attempt == self.attempts:
                    return Listed(item, None, error)
                if not await self._pause(wait_s):
                    return Listed(item, None, error)
                pause_s *= 2
            else:
                if self.cooling:
                    self._tell_cooldown(None)
                return Listed(item, answer, None)
        raise AssertionError("the last attempt returns")

    async def _list(self, item: FrontierItem, path: str) -> Listing | Unread:
        if self._recognizing is not None and (known := self.known(item)):
            return await self._recognizing.list_unless_known(path, known, refresh=self.refresh)
        return await self.source.list(path, refresh=self.refresh)

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
        elif error is None:
            self.cooling = False
            self.on_cooldown(None)

    def path_of(self, relative: str) -> str:
        """The source's own path of a directory."""
        if not relative:
            return self.root
        return f"/{relative}" if self.root == "/" else f"{self.root}/{relative}"

    def _judge(self, path: str, error: ProviderError) -> None:
        if isinstance(error, NotFound | MissingPrivilege):  # a word about this directory, of a server that works
            self._failures = 0
            return
        if isinstance(error, Unauthorized | Busy):
            reason = "RateLimited" if isinstance(error, Busy) else error.reason
            raise StrmError(reason, error.message, remedy=error.remedy) from error
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            raise StrmError(
                "SourceUnusable",
                f"{self._failures} directories in a row cannot be listed, the last of them /{path}: {error.message}",
                remedy=error.remedy,
            ) from error


def _size(listed: Listed) -> int:
    answer = listed.answer
    if answer is None:
        return 0
    return answer.most_entries if isinstance(answer, Unread) else len(answer.entries)


def _left_alone_s(error: Busy) -> float:
    return error.retry_after_s if error.retry_after_s is not None else 60.0


def _wait(error: ProviderError, pause_s: float) -> float | None:
    """How long until it is worth asking again; None: it is not."""
    if isinstance(error, Busy):
        wanted = _left_alone_s(error)
        return wanted if wanted <= LONGEST_WAIT_S else None
    return pause_s if isinstance(error, Unreachable) else None
