"""Directories are asked for ahead, but not more than may be held."""

from __future__ import annotations

import asyncio

from pantograph.clock import SystemClock
from pantograph.providers.media.port import Entry, Listing
from pantograph.strm.listing import MAX_HELD, Listed, Lister
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


class Slow(PreparedSource):
    """Answers when it may."""

    def __init__(self) -> None:
        super().__init__(_wide)
        self.may_answer = asyncio.Event()
        self.is_asked = asyncio.Event()
        self.open = 0

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        self.open += 1
        self.is_asked.set()
        await self.may_answer.wait()
        return Listing(path, (), complete=True, why="")


def asking() -> tuple[Slow, Lister, asyncio.Task[Listed | None]]:
    """A lister with sixteen directories to ask for, four at a time, and its first answer to come."""
    source = Slow()
    lister = Lister(source=source, clock=SystemClock(), root="/", parallel=4)
    waiting = [FrontierItem(str(number), str(number), 1, True, None) for number in range(16)]
    return source, lister, asyncio.create_task(lister.next(lambda: waiting.pop() if waiting else None))


async def _turns() -> None:
    """More turns of the event loop than anything here needs."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_as_many_questions_are_open_as_may_be_and_no_more() -> None:
    source, lister, first = asking()
    async with asyncio.timeout(30):
        await _turns()
        assert source.open == 4
        source.may_answer.set()
        assert (await first) is not None
        await lister.close()


async def test_nothing_is_asked_once_it_is_closed() -> None:
    source, lister, first = asking()
    async with asyncio.timeout(30):
        await source.is_asked.wait()
        first.cancel()
        asked = source.open
        await lister.close()
        await _turns()
    assert source.open == asked
