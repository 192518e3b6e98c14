"""Hints of changes: collected, deduplicated, looked into, never believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pantograph.providers.media.port import Hint, HintKind
from pantograph.strm.subtrees import Subtrees
from pantograph.strm.watching import Hints, follow
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import ROOT, HandClock, Stage, films


async def test_a_thousand_hints_are_one_look() -> None:
    hints = Hints(ROOT)
    for number in range(1000):
        hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/a/film{number}.mkv"))
    hints.hear(Hint(HintKind.DELETED, f"{ROOT}/b/film.mkv"))
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/c/new", is_dir=True))
    hints.hear(Hint(HintKind.CHANGED, "/elsewhere/film.mkv"))
    assert await hints.wait() == Subtrees(("a", "b", "c", "c/new"), shallow=True)


async def test_a_lost_watch_looks_at_everything_once_it_stands_again() -> None:
    hints = Hints(ROOT)
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/a/film.mkv"))
    hints.hear(Hint(HintKind.LOST, ROOT))
    hints.hear(Hint(HintKind.RESCAN, ROOT))
    assert (await hints.wait()).is_whole


async def test_more_places_than_it_is_worth_are_a_whole_run() -> None:
    hints = Hints(ROOT)
    for number in range(501):
        hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/dir{number}/film.mkv"))
    assert (await hints.wait()).is_whole


async def test_what_could_not_be_looked_at_is_looked_at_again() -> None:
    seen: list[Subtrees] = []

    class Watched(MediaTree):
        async def watch(self, path: str) -> AsyncIterator[Hint]:
            yield Hint(HintKind.RESCAN, path)
            await asyncio.Event().wait()

    class Enough(Exception):
        pass

    async def run(scope: Subtrees) -> bool:
        seen.append(scope)
        if len(seen) == 3:
            raise Enough
        return False

    clock = _Instant()
    with pytest.raises(Enough):
        await follow(Watched(), ROOT, clock=clock, min_interval_s=10, run=run)
    assert [each.is_whole for each in seen] == [True, True, True]
    assert clock.pauses == [20, 40], "and less and less often"


class _Instant(HandClock):
    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


async def test_a_hint_lists_its_directory_and_those_above_and_what_is_new_in_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100))
    await stage.run()
    stage.tree.add(f"{ROOT}/shelf0/show1/new.mkv", f"{ROOT}/shelf0/show1/Extras/deep/x.mkv", f"{ROOT}/shelf1/later.mkv")
    stage.tree.listed.clear()
    report = await stage.run(trigger="watch", paths=("shelf0/show1",), shallow=True)
    assert report.created == 2
    assert stage.tree.listed == [
        ROOT,
        f"{ROOT}/shelf0",
        f"{ROOT}/shelf0/show1",
        f"{ROOT}/shelf0/show1/Extras",
        f"{ROOT}/shelf0/show1/Extras/deep",
    ]


async def test_a_deleted_directory_is_only_a_candidate(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100), prune={"mode": "Delete", "maxPercent": 100})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    report = await stage.run(trigger="watch", paths=("shelf0",), shallow=True)
    assert (report.pruned, report.pending_confirmation) == (0, 10)


async def test_a_run_takes_only_what_it_looks_at_and_gives_it_back_if_it_was_not_done() -> None:
    hints = Hints(ROOT)
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/a/film.mkv"))
    planned = await hints.wait()
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/b/film.mkv"))
    hints.begin(planned)
    assert hints.pending == Subtrees(("b",), shallow=True)
    hints.again()
    assert hints.pending == Subtrees(("a", "b"), shallow=True)
    hints.begin(planned)
    hints.hear(Hint(HintKind.RESCAN, ROOT))
    hints.begin(Subtrees(("a",)))  # another one follows it, which began before the stream was lost
    assert hints.pending == Subtrees()
    hints.end()
    hints.again()
    assert hints.pending == Subtrees()
    hints.begin(Subtrees())
    assert hints.pending is None
