"""Changes of a tree whose keeper tells of none, by looking again and again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.errors import NotFound, Unreachable
from pantograph.providers.media.port import Entry, Hint, HintKind, Listing, join

ListDirectory = Callable[[str], Awaitable[Listing]]

FLOOD: Final = 4096
"""Changes between two looks from which on one rescan is cheaper."""
_OF_THE_MOUNT: Final = frozenset({"MountMissing", "MountHung"})
"""Reasons that concern every directory, not the one that was listed."""
_DIRECTORY: Final = -1

_Seen = Mapping[str, int]
"""A directory's names, each with a sum over what would be new in a changed file: as small as it can be kept."""


async def poll_tree(
    list_directory: ListDirectory, path: str, *, clock: Clock, interval_s: float
) -> AsyncGenerator[Hint, None]:
    """`RESCAN` once the tree below `path` was seen, then hints of what differs between two looks, for ever.

    Raises `Unreachable` when the whole is out of sight, `NotFound` when `path` is not there.
    """
    before = await _look(list_directory, path, {})
    yield Hint(HintKind.RESCAN, path, is_dir=True)
    while True:
        await clock.sleep(interval_s)
        now = await _look(list_directory, path, before)
        hints = list(_differences(before, now))
        for hint in hints if len(hints) <= FLOOD else [Hint(HintKind.RESCAN, path, is_dir=True)]:
            yield hint
        before = now


async def _look(list_directory: ListDirectory, root: str, before: Mapping[str, _Seen]) -> dict[str, _Seen]:
    """Every directory below `root`. One that cannot be read is as it was `before`."""
    found: dict[str, _Seen] = {}
    waiting = [root]
    while waiting:
        path = waiting.pop()
        try:
            names = {entry.name: _sum(entry) for entry in (await list_directory(path)).entries}
        except NotFound:
            if path == root:
                raise  # whatever comes in its place is to be looked at as a whole
            names = {}  # gone since its parent was listed; should it be back at the next look, all in it is new
        except Unreachable as error:
            if error.reason in _OF_THE_MOUNT:
                raise
            names = dict(before.get(path, {}))
        found[path] = names
        waiting += [join(path, name) for name, seen in names.items() if seen == _DIRECTORY]
    return found


def _differences(before: Mapping[str, _Seen], now: Mapping[str, _Seen]) -> Iterator[Hint]:
    """A new directory is one hint, with all that is below it; so is one that went."""
    for path, names in now.items():
        known = before.get(path)
        if known is None or known == names:
            continue
        for name, seen in names.items():
            if known.get(name) != seen:
                yield Hint(HintKind.CHANGED, join(path, name), is_dir=seen == _DIRECTORY)
        for name in known.keys() - names.keys():
            yield Hint(HintKind.DELETED, join(path, name), is_dir=known[name] == _DIRECTORY)


def _sum(entry: Entry) -> int:
    # The time of a directory is new whenever something in it is, which is told anyway.
    return _DIRECTORY if entry.is_dir else hash((entry.size_bytes, entry.modified)) & 0x7FFF_FFFF_FFFF_FFFF
