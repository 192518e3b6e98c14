"""Hints of changes become runs over the directories that they concern: collected, deduplicated, never believed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.media.port import Hint, HintKind, MediaSource
from pantograph.strm.leftovers import MAX_PARTS, Ended, Leftovers, left_by
from pantograph.strm.subtrees import Subtrees

LONGEST_PAUSE_S: Final = 300.0
"""Between two runs while they fail: a server that is down for hours is asked a dozen times an hour at most."""


@dataclass(slots=True)
class Hints:
    """What was heard below `root` and no run has looked at, and what runs have left."""

    root: str
    left: Leftovers = field(default_factory=Leftovers)
    _directories: set[str] = field(default_factory=set)
    _whole: bool = False
    _at_work: Subtrees | None = None
    """What the run at work looks at."""
    _taken: Subtrees | None = None
    """What was heard of that."""
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, hint: Hint) -> None:
        """A thousand hints about one directory are one."""
        if hint.kind in (HintKind.RESCAN, HintKind.LOST):
            # A lost watch may have missed anything; it says RESCAN when it stands again.
            self._whole = self._whole or hint.kind is HintKind.RESCAN
        else:
            self._concern(hint)
        if len(self._directories) > MAX_PARTS:
            self._whole = True
        if self._whole:
            self._directories.clear()
        if self._whole or self._directories:
            self._heard.set()

    async def wait(self) -> None:
        """Until something was heard that no run has taken."""
        await self._heard.wait()

    @property
    def pending(self) -> Subtrees | None:
        """What was heard and is to be looked at; None: nothing."""
        if self._whole:
            return Subtrees()
        return Subtrees(tuple(sorted(self._directories)), shallow=True) if self._directories else None

    def due(self, now: float) -> list[Subtrees]:
        """What is to be looked at now (of a monotonic clock), each by a run of its own: what was heard, and what is to
        be tried again. That comes first, as it comes seldom."""
        left = self.left.due(now)
        if self._whole or any(part.is_whole for part in left):
            return [Subtrees()]
        deep = {path for part in left if not part.shallow for path in part.paths}
        shallow = self._directories | {path for part in left if part.shallow for path in part.paths}
        found = ((deep, False), (shallow, True))
        return [Subtrees(tuple(sorted(paths)), shallow=is_shallow) for paths, is_shallow in found if paths]

    def begin(self, scope: Subtrees) -> None:
        """A run over `scope` begins, which may be older than what was heard last: only what it looks at is taken."""
        self._give_back()
        self._at_work = scope
        pending = self.pending
        if pending is None:
            return
        if scope.absorbs(pending):
            self._taken = pending
            self._heard.clear()
            self._directories, self._whole = set(), False
        elif not pending.is_whole:
            found = {each for each in self._directories if scope.absorbs(Subtrees((each,), shallow=True))}
            self._taken = Subtrees(tuple(sorted(found)), shallow=True) if found else None
            self._directories -= found

    def end(self, ended: Ended, *, now: float, took_s: float) -> None:
        """The run at work is over, after so many seconds: what it has left is tried again later."""
        scope, taken = self._at_work, self._taken
        self._at_work = self._taken = None
        if scope is None:  # it began before anybody listened, and everything is looked at once somebody does
            return
        wanted = {*self.left.within(scope), *([] if taken is None else [taken])}
        parts = left_by(ended, scope=scope, wanted=wanted)
        # One that failed goes on where it stopped. One that came to its end was as dear as the next one will be.
        self.left.replace(scope, parts, now=now, rest_s=0.0 if ended.result == "Failed" else took_s)

    def clear(self) -> None:
        """Nothing that was heard or left need be looked at."""
        self._heard.clear()
        self._directories, self._whole = set(), False
        self._at_work = self._taken = None
        self.left.clear()

    def _give_back(self) -> None:
        """The run that began last has come to no end: what it took is still to be looked at."""
        taken, self._taken = self._taken, None
        if taken is None:
            return
        self._whole = self._whole or taken.is_whole
        self._directories = set() if self._whole else self._directories | set(taken.paths)
        self._heard.set()

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
    run: Callable[[Subtrees], Awaitable[Ended]],
    tell: Callable[[Hint], None] = lambda _: None,
) -> None:
    """Run over what changes, at most once in `min_interval_s`, for ever. What a run leaves is looked at again; and
    while runs fail, the interval doubles, to `LONGEST_PAUSE_S`. `tell` hears every hint.

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
        while (scope := await _next(hints, listener, clock)) is not None:
            hints.begin(scope)
            began = clock.monotonic()
            ended = await run(scope)
            hints.end(ended, now=clock.monotonic(), took_s=clock.monotonic() - began)
            has_failed = ended.result == "Failed"
            pause_s = max(min_interval_s, min(pause_s * 2, LONGEST_PAUSE_S)) if has_failed else min_interval_s
            # A run over a part in between would end the whole one that was cut short, which goes on where it was.
            until_whole_s = hints.left.until_whole_s(clock.monotonic()) if has_failed else 0.0
            await clock.sleep(max(pause_s, until_whole_s))
        await listener
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def _next(hints: Hints, listener: asyncio.Task[None], clock: Clock) -> Subtrees | None:
    """What to look at, as soon as there is something; None: the watch has ended."""
    while not listener.done():
        if found := hints.due(clock.monotonic()):
            return found[0]
        waiting = [asyncio.create_task(hints.wait())]
        if hints.left.next_due is not None:
            waiting.append(asyncio.create_task(clock.sleep(hints.left.next_due - clock.monotonic())))
        try:
            await asyncio.wait({listener, *waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    return None
