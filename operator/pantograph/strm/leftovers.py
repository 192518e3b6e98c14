"""What runs that follow a source could not finish: looked at again, each time later, until one of them has.

It is kept apart from what is heard: a directory that stays broken is not forgotten, and holds up no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pantograph.strm.subtrees import Subtrees

FIRST_PAUSE_S: Final = 30.0
LONGEST_PAUSE_S: Final = 3600.0
MAX_PARTS: Final = 500
"""More than that, and one whole run is cheaper and surer."""


class Ended(Protocol):
    """A run that is over, in its own process or told by another one."""

    @property
    def result(self) -> str: ...
    @property
    def failed(self) -> int: ...
    @property
    def incomplete_dirs(self) -> int: ...
    @property
    def unfinished(self) -> Sequence[str]: ...
    @property
    def remote_requests(self) -> int: ...


def left_by(ended: Ended, *, scope: Subtrees, wanted: Iterable[Subtrees]) -> list[Subtrees]:
    """Which parts a run over `scope` has left. `wanted`: why it was to look at it, for a run that does not say."""
    if ended.result == "Cancelled":  # as somebody wanted
        return []
    if ended.result != "Failed":
        if not (ended.failed or ended.incomplete_dirs):
            return []
        if ended.unfinished:
            # Below a directory in which only a file was not written, all was listed.
            if not ended.incomplete_dirs:
                return [part_of(path, shallow=True) for path in ended.unfinished]
            return list(dict.fromkeys(part for path in ended.unfinished for part in _left_at(path, scope)))
    # A directory that is heard of counts as known from then on: only a deep look lists it for certain.
    heard_of_none = not ended.remote_requests or list(ended.unfinished) == [""]
    return [part_of(path, shallow=part.shallow and heard_of_none) for part in wanted for path in part.paths or ("",)]


def _left_at(path: str, scope: Subtrees) -> list[Subtrees]:
    """Which parts of `scope` were not reached, or not to their end, because of a directory that could not be listed."""
    own = part_of(path, shallow=scope.shallow)
    behind = [part_of(each, shallow=scope.shallow) for each in scope.paths if not path or each.startswith(f"{path}/")]
    # One that was only on the way is listed with those that it leads to.
    return [own, *behind] if not behind or scope.absorbs(own) else behind


def part_of(path: str, *, shallow: bool) -> Subtrees:
    """One directory; there is only one way to name the whole."""
    return Subtrees((path,), shallow=shallow) if path or shallow else Subtrees()


@dataclass(frozen=True, slots=True)
class _Left:
    times: int
    due: float


@dataclass(slots=True)
class Leftovers:
    """By part, how often it was tried, and when it is next. Times are seconds of a monotonic clock."""

    _left: dict[Subtrees, _Left] = field(default_factory=dict)

    @property
    def parts(self) -> list[Subtrees]:
        """All of them, whenever they are due."""
        return sorted(self._left, key=lambda part: part.paths)

    @property
    def next_due(self) -> float | None:
        """When the first of them is due; None: nothing is left."""
        return min((left.due for left in self._left.values()), default=None)

    def until_whole_s(self, now: float) -> float:
        """How long until the whole is looked at again; 0: it is not left, or due."""
        whole = self._left.get(Subtrees())
        return 0.0 if whole is None else max(0.0, whole.due - now)

    def due(self, now: float) -> list[Subtrees]:
        """The parts that are to be looked at."""
        return [part for part in self.parts if self._left[part].due <= now]

    def within(self, scope: Subtrees) -> list[Subtrees]:
        """The parts that a run over `scope` looks at."""
        return [part for part in self.parts if scope.absorbs(part)]

    def replace(self, scope: Subtrees, parts: Iterable[Subtrees], *, now: float, rest_s: float) -> None:
        """A run over `scope` has left `parts`. What was left before, and what is as wide as the run, rests for `rest_s`
        at least: a source that is never whole is not to be listed all the time."""
        before = {part.paths: self._left.pop(part).times for part in self.within(scope)}
        for part in parts:
            times = before.get(part.paths, 0)
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(times, 16))
            if times or part.absorbs(scope):
                pause_s = max(pause_s, rest_s)
            self._left[part] = _Left(times + 1, now + pause_s)
        if len(self._left) > MAX_PARTS:
            last = max(self._left.values(), key=lambda left: left.due)
            self._left = {Subtrees(): last}

    def clear(self) -> None:
        """Nothing of it is to be looked at."""
        self._left.clear()
