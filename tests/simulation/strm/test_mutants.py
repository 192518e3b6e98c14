"""Bugs planted into merge and prune, each of which the random histories or the fault matrix must find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pantograph.strm import missing, prune, quiet
from pantograph.strm.batch import Batch, Work
from pantograph.strm.manifest import FileRow, FrontierItem, Missing
from pantograph.strm.manifest.directories import Directories
from pantograph.strm.quiet import Quiet
from pantograph.strm.successors import Successor
from pantograph.strm.walk import Walk
from tests.fakes import mediatree
from tests.simulation.strm.bench import HOUR, Stage
from tests.simulation.strm.test_fault_matrix import FAULTS, PLACES, break_off, library, meet
from tests.simulation.strm.test_random_histories import History

SEEDS = range(30)


def every_listing_is_whole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Walk, "_is_complete", lambda *_: True)


def one_scan_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(prune, "is_confirmed", lambda *_, **__: True)


def whatever_has_our_name_is_ours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FileRow, "owns", lambda *_: True)


def the_roots_content_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Walk, "_fault", lambda *_: "")


def every_scan_counts_and_age_does_not(patch: pytest.MonkeyPatch) -> None:
    def advance(before: Missing | None, reason: str, **_: Any) -> Missing:
        return Missing(reason, 1 if before is None else before.scans + 1, 0.0, 0.0)

    patch.setattr(missing, "advance", advance)


def a_failed_root_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What an earlier life of the run proved holds, although the source does not answer any more."""
    original = Walk.take

    def take(self: Walk, item: Any, listing: Any, why: str) -> None:
        original(self, item, listing, why)
        if self.resumed and not item.path:
            self.root_error, self.root_proved = "", True

    patch.setattr(Walk, "take", take)


def what_lies_above_is_believed_to_be_whole(patch: pytest.MonkeyPatch) -> None:
    original = Walk._descend

    def descend(self: Walk, *seen: Any, **more: Any) -> list[FrontierItem]:
        return [item._replace(proved=True) for item in original(self, *seen, **more)]

    patch.setattr(Walk, "_descend", descend)


def limits_do_not_hold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(prune, "blocked", lambda *_: "")


def proofs_are_stored_before_the_files(patch: pytest.MonkeyPatch) -> None:
    original = Batch._write

    async def write(self: Batch, works: list[Work]) -> None:
        for settle in self.settlements:
            settle()
        await original(self, works)

    patch.setattr(Batch, "_write", write)


def the_source_is_believed_to_say_what_it_said(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Quiet, "answer", lambda *_: b"always the same")


def files_are_believed_to_lie_where_they_lay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(quiet, "_holds", lambda *_, **__: True)


def a_place_may_have_two_owners(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Directories, "take", lambda *_: None)


def the_new_name_is_believed_to_hold_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Successor, "has", lambda *_: True)


async def histories(folder: Path) -> None:
    for seed in SEEDS:
        target = folder / str(seed)
        target.mkdir()
        await History(target, seed).live()


async def matrix(folder: Path) -> None:
    for fault in FAULTS:
        for place in PLACES.values():
            stage = Stage(folder / f"{fault}{place.count('/')}", library(), prune={"mode": "Delete", "maxPercent": 50})
            await stage.run()
            whole = stage.files()
            stage.tree.faults[place] = FAULTS[fault]
            for _ in range(2):
                await meet(stage, "cron", place)
                assert whole.items() <= stage.files().items()
            stage.tree.heal()
            await stage.run()
            assert stage.files() == whole


async def an_outage_that_lasts(folder: Path) -> None:
    stage = Stage(folder / "target", library(), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    whole = stage.files()
    stage.tree.faults["/lib"] = mediatree.empty
    for _ in range(5):
        await stage.run()
        stage.clock.seconds += 10 * HOUR
    assert stage.files() == whole


async def an_empty_answer_many_times_an_hour(folder: Path) -> None:
    stage = Stage(folder / "target", library(), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    whole = stage.files()
    stage.tree.faults["/lib/Shows/A/S1"] = mediatree.empty
    for _ in range(6):
        await stage.run()
        stage.clock.seconds += 60
    assert stage.files() == whole


async def the_source_goes_while_a_run_is_down(folder: Path) -> None:
    stage = Stage(folder / "target", library(), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    whole = stage.files()
    stage.tree.remove("/lib/Shows/A/S1/e0.mkv")
    assert await break_off(stage)
    stage.tree.faults["/lib"] = mediatree.server_error
    await stage.run()
    assert stage.files() == whole


async def a_film_goes_below_a_directory_that_does_not_come_whole(folder: Path) -> None:
    stage = Stage(folder / "target", library(), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    whole = stage.files()
    stage.tree.faults["/lib/Shows"] = mediatree.short_page
    stage.tree.remove("/lib/Shows/A/S1/e0.mkv")
    for _ in range(3):
        await stage.run()
        stage.clock.seconds += 24 * HOUR
    assert "/lib/Shows/A/S1" in stage.tree.listed
    assert stage.files() == whole


async def other_names_for_a_while(folder: Path) -> None:
    stage = Stage(folder / "target", library(), prune={"mode": "Report"})
    stage.tree.add("/lib/What?/e1.mkv", "/lib/What?/e2.mkv")
    await stage.run()
    stage.spec["target"] = {"root": {"name": "media"}, "nameProfile": "Portable"}
    await stage.run()
    whole = {name: content for name, content in stage.files().items() if not name.startswith("What_")}
    stage.spec["target"] = {"root": {"name": "media"}}
    stage.spec["prune"] = {"mode": "Delete", "maxPercent": 100, "maxCount": 1000}
    await stage.run()
    assert stage.files() == whole


async def a_kill_between_intent_and_file(folder: Path) -> None:
    """The process ends at the first file; the next one must make all of them, in the same run."""

    class Killed(BaseException):
        pass

    stage = Stage(folder / "target", library())
    with pytest.MonkeyPatch.context() as patch:

        def die(*_: Any) -> None:
            raise Killed

        patch.setattr(Batch, "_write_link", die)
        with pytest.raises(Killed):
            await stage.run()
    await stage.run()
    assert len(stage.files()) == len(stage.tree.files)


MUTANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[Path], Any]]] = [
    (every_listing_is_whole, matrix),
    (one_scan_is_enough, histories),
    (whatever_has_our_name_is_ours, histories),
    (the_roots_content_is_believed, matrix),
    (every_scan_counts_and_age_does_not, an_empty_answer_many_times_an_hour),
    (a_failed_root_is_forgotten, the_source_goes_while_a_run_is_down),
    (what_lies_above_is_believed_to_be_whole, a_film_goes_below_a_directory_that_does_not_come_whole),
    (limits_do_not_hold, an_outage_that_lasts),
    (the_source_is_believed_to_say_what_it_said, histories),
    (files_are_believed_to_lie_where_they_lay, histories),
    (the_new_name_is_believed_to_hold_all, histories),
    (a_place_may_have_two_owners, other_names_for_a_while),
    (proofs_are_stored_before_the_files, a_kill_between_intent_and_file),
]


@pytest.mark.parametrize(("mutant", "check"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
async def test_a_planted_bug_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Callable[..., None], check: Callable[[Path], Any]
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        await check(tmp_path)


@pytest.mark.parametrize("check", list(dict.fromkeys(check for _, check in MUTANTS)))
async def test_without_a_planted_bug_the_same_check_finds_nothing(tmp_path: Path, check: Callable[[Path], Any]) -> None:
    await check(tmp_path)
