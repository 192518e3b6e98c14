"""Directories are asked for ahead, but not more than may be held."""

from __future__ import annotations

import asyncio

from pantograph.clock import SystemClock
from pantograph.providers.media.port import Entry, Listing
from pantograph.strm.listing import MAX_HELD, Lister
from pantograph.strm.manifest import FrontierItem
from tests.bench.prepared import PreparedSource


def _wide(path: str) -> Listing:
    entries = tuple(Entry(f"{number}.mkv", path, False, 1) for number in range(MAX_HELD // 4))
    return Listing(path, entries, complete=True, why="")


async def test_answers_that_hold_as_much_as_may_be_held_do_not_end_the_asking() -> None:
    lister = Lister(source=PreparedSource(_wide), clock=SystemClock(), root="/", parallel=4)
    waiting = [FrontierItem(str(number), str(number), 1, True, None) for number in reversed(range(16))]
    taken = []
    async with asyncio.timeout(30):
        while (listed := await lister.next(lambda: waiting.pop() if waiting else None)) is not None:
            taken.append(listed.item.path)
    assert taken == [str(number) for number in range(16)]
