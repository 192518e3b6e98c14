"""Hints of changes become runs over the directories that they concern: collected, deduplicated, never believed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.media.port import Hint, HintKind, MediaSource
from pantograph.strm.subtrees import Subtrees

LONGEST_PAUSE_S: Final = 300.0
"""Between two runs while they fail: a server that is down for hours is asked a dozen times an hour."""
MAX_DIRECTORIES: Final = 500
"""More than that, and one whole run is cheaper and surer."""


@dataclass(slots=True)
class Hints:
    """What was heard since the last run, below `root`."""

    root: str
    _directories: set[str] = field(default_factory=set)
    _whole: bool = False
    _taken: Subtrees | None = None
    """By the run at work."""
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, hint: Hint) -> None:
        """A thousand hints about one directory are one."""
        if hint.kind in (HintKind.RESCAN, HintKind.LOST):
            # A lost watch may have missed anything; it says RESCAN when it stands again.
            self._whole = self._whole or hint.kind is HintKind.RESCAN
        else:
            self._concern(hint)
        if len(self._directories) > MAX_DIRECTORIES:
            self._whole = True
        if self._whole:
            self._directories.clear()
        if self._whole or self._directories:
            self._heard.set()

    async def wait(self) -> Subtrees:
        """What to look at, as soon as there is something."""
        await self._heard.wait()
        assert self.pending is not None, "there is something, as was heard"
        return self.pending

    @property
    def pending(self) -> Subtrees | None:
        """What is to be looked at; None: nothing."""
        if self._whole:
            return Subtrees()
        return Subtrees(tuple(sorted(self._directories)), shallow=True) if self._directories else None

    def begin(self, scope: Subtrees) -> None:
        """A run over `scope` begins, which may be older than what was heard last: only what it looks at is taken."""
        self.again()
        pending = self.pending
        if pending is None:
            return
        if scope.absorbs(pending):
            self._taken = pending
            self.clear()
        elif not pending.is_whole:
            found = {each for each in self._directories if scope.absorbs(Subtrees((each,), shallow=True))}
            self._taken = Subtrees(tuple(sorted(found)), shallow=True) if found else None
            self._directories -= found

    def end(self) -> None:
        """The run has looked at everything that it took."""
        self._taken = None

    def again(self) -> None:
        """The run that began last has not done it: what it took is still to be looked at."""
        taken, self._taken = self._taken, None
        if taken is None:
            return
        if taken.is_whole:
            self._whole = True
            self._directories.clear()
        else:
            self._directories |= set(taken.paths)
        self._heard.set()

    def clear(self) -> None:
        """What is pending need not be looked at."""
        self._heard.clear()
        self._directories, self._whole = set(), False

    def _concern(self, hint: Hint) -> None:
        base = self.root.rstrip("/")
        if not hint.path.startswith(f"{base}/"):
            return
        relative = hint.path[len(base) + 1 :]
        self._directories.add(relative.rpartition("/")[0])
        if hint.is_dir and hint.kind is HintKind.CHANGED:
            self._directories.add(relative)


async def follow(
    source: MediaSource,
    root: str,
    *,
    clock: Clock,
    min_interval_s: float,
    run: Callable[[Subtrees], Awaitable[bool]],
    tell: Callable[[Hint], None] = lambda _: None,
) -> None:
    """Run over what changes, at most once in `min_interval_s`, for ever. `run` says whether it could be done: after a
    failure the interval doubles, to `LONGEST_PAUSE_S`. `tell` hears every hint.

    Raises what ends the watch for good (refused credentials).
    """
    hints = Hints(root)

    async def listen() -> None:
        async for hint in source.watch(root):
            tell(hint)
            hints.hear(hint)

    listener = asyncio.create_task(listen())
    pause_s = min_interval_s
    try:
        while not listener.done():
            taking = asyncio.create_task(hints.wait())
            await asyncio.wait({taking, listener}, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                taking.cancel()
                break
            scope = taking.result()
            hints.begin(scope)
            if await run(scope):
                hints.end()
                pause_s = min_interval_s
            else:
                hints.again()
                pause_s = max(min_interval_s, min(pause_s * 2, LONGEST_PAUSE_S))
            await clock.sleep(pause_s)
        await listener
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
