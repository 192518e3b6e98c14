"""Hints of changes: collected, deduplicated, looked into, never believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pantograph.providers.media.port import Hint, HintKind
from pantograph.strm.leftovers import Leftovers
from pantograph.strm.report import Issue, Report, Result
from pantograph.strm.subtrees import Subtrees
from pantograph.strm.watching import Hints, follow
from tests.fakes.mediatree import Fault, MediaTree, server_error, short_page
from tests.simulation.strm.bench import ROOT, HandClock, Stage, films


def test_a_thousand_hints_are_one_look() -> None:
    hints = Hints(ROOT)
    for number in range(1000):
        hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/a/film{number}.mkv"))
    hints.hear(Hint(HintKind.DELETED, f"{ROOT}/b/film.mkv"))
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/c/new", is_dir=True))
    hints.hear(Hint(HintKind.CHANGED, "/elsewhere/film.mkv"))
    assert hints.pending == [Subtrees(("c/new",)), Subtrees(("a", "b"), shallow=True)]


def test_what_lies_below_a_directory_that_came_is_looked_at_with_it_in_whatever_order_it_was_heard_of() -> None:
    told = [Hint(HintKind.CHANGED, f"{ROOT}/a/new/film{number}.mkv") for number in range(9)]
    told.append(Hint(HintKind.CHANGED, f"{ROOT}/a/new/s1", is_dir=True))
    came = Hint(HintKind.CHANGED, f"{ROOT}/a/new", is_dir=True)
    for heard in ([came, *told], [*told, came]):
        hints = Hints(ROOT)
        for hint in heard:
            hints.hear(hint)
        assert hints.pending == [Subtrees(("a/new",))]
        hints.begin(hints.pending[0])
        assert hints.pending == []


def test_as_many_new_directories_with_films_as_are_worth_it_are_no_whole_run() -> None:
    hints = Hints(ROOT)
    for number in range(500):
        hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/new{number}", is_dir=True))
        hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/new{number}/film.mkv"))
    assert [(len(part.paths), part.shallow) for part in hints.pending] == [(500, False)]


@pytest.mark.parametrize("path", [ROOT, "/"])
def test_a_directory_that_took_the_place_of_the_source_or_of_one_above_it_is_a_whole_run(path: str) -> None:
    hints = Hints(ROOT)
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}rary", is_dir=True))
    hints.hear(Hint(HintKind.CHANGED, path))
    hints.hear(Hint(HintKind.DELETED, path, is_dir=True))
    assert hints.pending == []
    hints.hear(Hint(HintKind.CHANGED, path, is_dir=True))
    assert hints.pending == [Subtrees()]


def test_a_lost_watch_looks_at_everything_once_it_stands_again() -> None:
    hints = Hints(ROOT)
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/a/film.mkv"))
    hints.hear(Hint(HintKind.LOST, ROOT))
    hints.hear(Hint(HintKind.RESCAN, ROOT))
    assert hints.pending == [Subtrees()]


def test_more_places_than_it_is_worth_are_a_whole_run() -> None:
    hints = Hints(ROOT)
    for number in range(501):
        hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/dir{number}/film.mkv"))
    assert hints.pending == [Subtrees()]


class Watched(MediaTree):
    """Says what is put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: asyncio.Queue[Hint] = asyncio.Queue()

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        while True:
            yield await self.told.get()


class Enough(Exception):
    """The test has seen what it wanted."""


async def runs_of(tree: Watched, *reports: Report, meanwhile: Callable[[int], None] = lambda _: None) -> list[Seen]:
    """The runs that follow it, which end so; `meanwhile` is called at the beginning of each, from 0."""
    seen: list[Seen] = []
    clock = HandClock()

    async def run(scope: Subtrees) -> Report:
        seen.append(Seen(scope, clock.seconds))
        if len(seen) > len(reports):
            raise Enough
        meanwhile(len(seen) - 1)
        await asyncio.sleep(0)
        return reports[len(seen) - 1]

    with pytest.raises(Enough):
        await follow(tree, ROOT, clock=clock, min_interval_s=10, run=run)
    return seen


class Seen(NamedTuple):
    """One run."""

    scope: Subtrees
    at_s: float


def ended(result: Result, *directories: str, requests: int = 0) -> Report:
    report = Report("run", "watch", result, remote_requests=requests)
    for directory in directories:
        report.note_incomplete(Issue("Incomplete", f"/{directory}", "cut short"), directory=directory)
    return report


async def test_what_could_not_be_looked_at_is_looked_at_again_and_less_and_less_often() -> None:
    tree = Watched()
    tree.told.put_nowait(Hint(HintKind.RESCAN, ROOT))
    runs = await runs_of(tree, *[ended("Failed")] * 3)
    assert [(run.scope.is_whole, run.at_s) for run in runs] == [(True, 0), (True, 30), (True, 90), (True, 210)]


async def test_what_a_run_has_left_is_looked_at_again_as_deep_as_it_was_and_holds_up_nothing_else() -> None:
    tree = Watched()
    tree.told.put_nowait(Hint(HintKind.RESCAN, ROOT))

    def meanwhile(number: int) -> None:
        if number == 0:
            tree.told.put_nowait(Hint(HintKind.CHANGED, f"{ROOT}/b/film.mkv"))

    partial = ended("Degraded", "a/x")
    runs = await runs_of(
        tree, partial, ended("Succeeded"), partial, ended("Degraded", "a/x", "a/y"), meanwhile=meanwhile
    )
    assert [(run.scope, run.at_s) for run in runs] == [
        (Subtrees(), 0),
        (Subtrees(("b",), shallow=True), 10),
        (Subtrees(("a/x",)), 30),
        (Subtrees(("a/x",)), 90),
        (Subtrees(("a/y",)), 120),
    ]


async def test_a_change_does_not_end_a_whole_run_that_goes_on_soon() -> None:
    tree = Watched()
    tree.told.put_nowait(Hint(HintKind.RESCAN, ROOT))
    change = Hint(HintKind.CHANGED, f"{ROOT}/b/film.mkv")
    runs = await runs_of(tree, *[ended("Failed")] * 2, meanwhile=lambda _: tree.told.put_nowait(change))
    assert [(run.scope.is_whole, run.at_s) for run in runs] == [(True, 0), (True, 30), (True, 90)]


async def test_what_is_dropped_is_not_given_back_by_a_run_that_never_began() -> None:
    hints = Hints(ROOT)
    hints.hear(Hint(HintKind.RESCAN, ROOT))
    hints.begin(Subtrees())
    hints.clear()
    hints.begin(Subtrees(("a",), shallow=True))
    assert hints.pending == []


async def test_a_run_that_cannot_say_what_it_has_left_is_repeated_deeper_than_it_was() -> None:
    tree = Watched()
    tree.told.put_nowait(Hint(HintKind.CHANGED, f"{ROOT}/new/film.mkv"))
    no_root = ended("Failed", "", requests=3)
    reports = (ended("Failed"), no_root, ended("Failed", requests=9), ended("Cancelled"))
    runs = await runs_of(tree, *reports, meanwhile=_tell(tree, 3))
    assert [(run.scope.paths, run.scope.shallow) for run in runs] == [
        (("new",), True),
        (("new",), True),
        (("new",), True),
        (("new",), False),  # what the last one has found there counts as known, and may not have been listed
        (("other",), True),  # and what somebody cancels is left at that
    ]


def _tell(tree: Watched, at: int) -> Callable[[int], None]:
    def tell(number: int) -> None:
        if number == at:
            tree.told.put_nowait(Hint(HintKind.CHANGED, f"{ROOT}/other/film.mkv"))

    return tell


async def test_a_directory_in_which_a_file_was_not_written_needs_no_deep_look() -> None:
    tree = Watched()
    tree.told.put_nowait(Hint(HintKind.RESCAN, ROOT))
    report = ended("Degraded")
    report.note_failed(Issue("WriteFailed", "film.srt", "cut short"), directory="")
    assert [run.scope for run in await runs_of(tree, report)] == [Subtrees(), Subtrees(("",), shallow=True)]


def test_what_takes_long_rests_as_long_before_it_is_tried_again_and_the_little_that_is_left_of_it_does_not() -> None:
    left, whole, part = Leftovers(), Subtrees(), Subtrees(("a",))
    left.replace(whole, [whole], now=0, rest_s=7200)
    assert left.next_due == 7200
    left.replace(whole, [part], now=7200, rest_s=7200)
    assert left.next_due == 7230
    left.replace(part, [part], now=7230, rest_s=600)
    assert left.next_due == 7830


async def test_a_film_in_a_new_directory_comes_although_the_cloud_could_not_list_it_at_first(tmp_path: Path) -> None:
    tree = Watched()
    tree.add(*films(10).files)
    stage = Stage(tmp_path, tree)
    await stage.run()
    tree.add(f"{ROOT}/New/film.mkv")
    tree.faults[f"{ROOT}/New"] = server_error
    tree.told.put_nowait(Hint(HintKind.CHANGED, f"{ROOT}/New", is_dir=True))

    async def run(scope: Subtrees) -> Report:
        if "New/film.strm" in stage.names():
            raise Enough
        report = await stage.run(trigger="watch", paths=scope.paths, shallow=scope.shallow)
        if report.result == "Degraded":
            tree.heal()
            tree.told.put_nowait(Hint(HintKind.CHANGED, f"{ROOT}/shelf0/other.mkv"))
        elif "New/film.strm" in stage.names():
            tree.told.put_nowait(Hint(HintKind.RESCAN, ROOT))  # and no other run but this is to come
        return report

    with pytest.raises(Enough):
        await asyncio.wait_for(follow(tree, ROOT, clock=stage.clock, min_interval_s=10, run=run), 30)


async def test_a_run_names_the_directories_that_it_has_left_if_they_are_few(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100))
    stage.tree.faults[f"{ROOT}/shelf0/show1"] = short_page
    report = await stage.run()
    assert (report.result, report.unfinished) == ("Degraded", ["shelf0/show1"])
    for number in range(30):
        report.note_incomplete(Issue("Incomplete", f"/{number}", "cut"), directory=str(number))
    assert report.unfinished == []


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


SEEN_GONE, HEARD = "after a run saw it gone", "at once"


@pytest.mark.parametrize("when", [HEARD, SEEN_GONE])
async def test_films_of_a_directory_that_takes_the_place_of_another_come(tmp_path: Path, when: str) -> None:
    stage = Stage(tmp_path, swappable())
    await stage.run()
    hints = Hints(ROOT)
    rename(stage.tree, "A", "old")
    if when == SEEN_GONE:
        await stage.run(trigger="watch", paths=("",), shallow=True)
    rename(stage.tree, "B", "A")
    for kind, name in ((HintKind.DELETED, "A"), (HintKind.DELETED, "B"), *came("old", "A")):
        hints.hear(Hint(kind, f"{ROOT}/{name}", is_dir=True))
    before = stage.names()
    stage.tree.listed.clear()
    for number, scope in enumerate(hints.pending):
        hints.begin(scope)
        report = await stage.run(trigger="watch", paths=scope.paths, shallow=scope.shallow)
        hints.end(report, now=number, took_s=1)
    assert (hints.pending, hints.left.parts) == ([], [])
    assert before < stage.names(), "nothing was removed"
    assert f"{ROOT}/shelf0" not in stage.tree.listed, "nothing came to it"
    films = {"A/film.strm", "A/S1/film.strm", "A/S1/Extras/film.strm"}
    assert {f"{name[:-5]} of {whose}.strm" for name in films for whose in "AB"} <= stage.names()


def came(*names: str) -> list[tuple[HintKind, str]]:
    return [(HintKind.CHANGED, name) for name in names]


def swappable() -> MediaTree:
    """Directories of equal structure, and others beside them."""
    tree = films(50)
    for name in "AB":
        tree.add(*(f"{ROOT}/{name}/{place}film of {name}.mkv" for place in ("", "S1/", "S1/Extras/")))
    return tree


def rename(tree: MediaTree, old: str, new: str) -> None:
    moved = [path for path in tree.files if path.startswith(f"{ROOT}/{old}/")]
    tree.remove(f"{ROOT}/{old}")
    tree.add(*(path.replace(f"/{old}/", f"/{new}/", 1) for path in moved))


async def test_of_a_directory_that_was_missing_nothing_counts_as_known_when_it_is_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, swappable())
    await stage.run()
    stage.tree.remove(f"{ROOT}/A")
    await stage.run(trigger="watch", paths=("",), shallow=True)
    rename(stage.tree, "B", "A")
    stage.tree.listed.clear()
    await stage.run(trigger="watch", paths=("",), shallow=True)
    assert stage.tree.listed == [ROOT, f"{ROOT}/A", f"{ROOT}/A/S1", f"{ROOT}/A/S1/Extras"]
    assert "A/S1/Extras/film of B.strm" in stage.names()
    stage.tree.listed.clear()
    await stage.run(trigger="watch", paths=("",), shallow=True)
    assert stage.tree.listed == [ROOT], "by now it is known"


@pytest.mark.parametrize("fault", [server_error, short_page])
async def test_a_directory_that_came_is_looked_at_again_if_one_above_it_could_not_be_listed(
    tmp_path: Path, fault: Fault
) -> None:
    tree = MediaTree().add(*(f"{ROOT}/a/{name}/s1/film.mkv" for name in "xyz"))
    stage = Stage(tmp_path, tree)
    await stage.run()
    hints = Hints(ROOT)
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/a/z", is_dir=True))
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/a/y/film.mkv"))
    tree.faults[f"{ROOT}/a"] = fault
    for scope in hints.pending:
        hints.begin(scope)
        report = await stage.run(trigger="watch", paths=scope.paths, shallow=scope.shallow)
        hints.end(report, now=0, took_s=1)
    assert hints.due(30) == [Subtrees(("a/z",)), Subtrees(("a/y",), shallow=True)]


async def test_a_deleted_directory_is_only_a_candidate(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100), prune={"mode": "Delete", "maxPercent": 100})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    report = await stage.run(trigger="watch", paths=("shelf0",), shallow=True)
    assert (report.pruned, report.pending_confirmation) == (0, 10)


async def test_a_run_takes_only_what_it_looks_at_and_gives_it_back_if_another_follows_it() -> None:
    hints = Hints(ROOT)
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/a/film.mkv"))
    planned = Subtrees(("a",), shallow=True)
    hints.hear(Hint(HintKind.CHANGED, f"{ROOT}/b/film.mkv"))
    hints.begin(planned)
    assert hints.pending == [Subtrees(("b",), shallow=True)]
    hints.begin(Subtrees(("c",)))  # the one before is gone without an end
    assert hints.pending == [Subtrees(("a", "b"), shallow=True)]
    hints.hear(Hint(HintKind.RESCAN, ROOT))
    hints.begin(planned)
    assert hints.pending == [Subtrees()]
    hints.begin(Subtrees())
    assert hints.pending == []
    hints.end(ended("Succeeded"), now=0, took_s=1)
    assert (hints.pending, hints.left.parts) == ([], [])
