"""Hints of changes become runs over the directories that they concern: collected, deduplicated, never believed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.media.port import Hint, HintKind, MediaSource
from pantograph.strm.leftovers import MAX_PARTS, Ended, Leftovers, left_by, part_of
from pantograph.strm.subtrees import Subtrees

LONGEST_PAUSE_S: Final = 300.0
"""Between two runs while they fail: a server that is down for hours is asked a dozen times an hour at most."""


@dataclass(slots=True)
class Hints:
    """What was heard below `root` and no run has looked at, and what runs have left."""

    root: str
    left: Leftovers = field(default_factory=Leftovers)
    _parts: set[Subtrees] = field(default_factory=set)
    """One directory each, or the whole; none that another one looks at, too."""
    _at_work: Subtrees | None = None
    """What the run at work looks at."""
    _taken: set[Subtrees] = field(default_factory=set)
    """What was heard of that."""
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, hint: Hint) -> None:
        """A thousand hints about one directory are one."""
        if hint.kind is HintKind.RESCAN:
            self._add(Subtrees())
        elif hint.kind is not HintKind.LOST:  # it may have missed anything, and says RESCAN when it stands again
            self._concern(hint)

    async def wait(self) -> None:
        """Until something was heard that no run has taken."""
        await self._heard.wait()

    @property
    def pending(self) -> list[Subtrees]:
        """What was heard and is to be looked at, each by a run of its own."""
        return _gathered(self._parts)

    def due(self, now: float) -> list[Subtrees]:
        """What is to be looked at now (of a monotonic clock), each by a run of its own: what was heard, and what is to
        be tried again. What is to be looked at with all below it comes first, as it comes seldom."""
        return _gathered([*self.left.due(now), *self._parts])

    def begin(self, scope: Subtrees) -> None:
        """A run over `scope` begins, which may be older than what was heard last: only what it looks at is taken."""
        self._give_back()
        self._at_work = scope
        self._taken = {part for part in self._parts if scope.absorbs(part)}
        self._parts -= self._taken
        if not self._parts:
            self._heard.clear()

    def end(self, ended: Ended, *, now: float, took_s: float) -> None:
        """The run at work is over, after so many seconds: what it has left is tried again later."""
        scope, taken = self._at_work, self._taken
        self._at_work, self._taken = None, set()
        if scope is None:  # it began before anybody listened, and everything is looked at once somebody does
            return
        parts = left_by(ended, scope=scope, wanted={*self.left.within(scope), *taken})
        # One that failed goes on where it stopped. One that came to its end was as dear as the next one will be.
        self.left.replace(scope, parts, now=now, rest_s=0.0 if ended.result == "Failed" else took_s)

    def clear(self) -> None:
        """Nothing that was heard or left need be looked at."""
        self._heard.clear()
        self._parts, self._taken = set(), set()
        self._at_work = None
        self.left.clear()

    def _give_back(self) -> None:
        """The run that began last has come to no end: what it took is still to be looked at."""
        taken, self._taken = self._taken, set()
        for part in taken:
            self._add(part)

    def _concern(self, hint: Hint) -> None:
        base, came = self.root.rstrip("/"), hint.is_dir and hint.kind is HintKind.CHANGED
        if came and f"{base}/".startswith(f"{hint.path.rstrip('/')}/"):
            self._add(Subtrees())
        if not hint.path.startswith(f"{base}/"):
            return
        relative = hint.path[len(base) + 1 :]
        # A directory that came may have the name of one that is known, and any other content; those above it are listed
        # on the way.
        self._add(part_of(relative, shallow=False) if came else part_of(relative.rpartition("/")[0], shallow=True))

    def _add(self, part: Subtrees) -> None:
        if any(wider in self._parts for wider in _as_wide(part)):
            return
        if not part.shallow:
            self._parts = {each for each in self._parts if not part.absorbs(each)}
        self._parts.add(part)
        if len(self._parts) > MAX_PARTS:
            self._parts = {Subtrees()}
        self._heard.set()


def _as_wide(part: Subtrees) -> Iterator[Subtrees]:
    """Of one directory, or the whole: all that look at everything that it looks at."""
    yield part
    path = "".join(part.paths)
    while path:
        yield part_of(path, shallow=False)
        path = path.rpartition("/")[0]
    yield Subtrees()


def _gathered(parts: Collection[Subtrees]) -> list[Subtrees]:
    """As few as they can be looked at by: the whole, or some with all below them, and some without."""
    if any(part.is_whole for part in parts):
        return [Subtrees()]
    deep = _joined(part for part in parts if not part.shallow)
    shallow = _joined(part for part in parts if part.shallow and not (deep and deep.absorbs(part)))
    return [each for each in (deep, shallow) if each]


def _joined(parts: Iterable[Subtrees]) -> Subtrees | None:
    """Parts that are equally deep, as one."""
    found = list(parts)
    paths = {path for part in found for path in part.paths}
    return Subtrees(tuple(sorted(paths)), shallow=found[0].shallow) if found else None


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
