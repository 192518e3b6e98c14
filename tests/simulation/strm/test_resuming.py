"""A run that was stopped goes on where it was: nothing is listed twice, nothing is counted wrong, nothing is believed
that nobody has looked at since."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pantograph.providers.errors import Busy
from pantograph.providers.media.port import Entry, Listing
from pantograph.strm import target
from pantograph.strm.report import Progress, Report
from tests.fakes import mediatree
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import ROOT, Stage, films

DIRECTORIES = 1 + 6 + 30
"""Of a library of three hundred films."""


class Stop:
    """Ends a run when it has taken up so many directories."""

    def __init__(self, count: int) -> None:
        self.left = count + 1  # the first word is that the phase begins

    def on_progress(self, _: Progress) -> None:
        self.left -= 1

    def is_set(self) -> bool:
        return self.left <= 0


async def cut(stage: Stage, count: int, **more: Any) -> Report:
    stop = Stop(count)
    return await stage.run(cancelled=stop.is_set, on_progress=stop.on_progress, **more)


async def stopped(stage: Stage, count: int = 15, **more: Any) -> Report:
    report = await cut(stage, count, **more)
    assert report.result == "Cancelled", report
    return report


async def test_the_run_after_a_stop_lists_only_the_rest(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await stopped(stage, 20)
    made = len(stage.names())
    stage.tree.listed.clear()
    report = await stage.run()
    assert (report.result, report.created) == ("Succeeded", 300 - made)
    assert len(stage.names()) == 300
    assert len(stage.tree.listed) <= DIRECTORIES - 20 + 4, "the rest, the root, and what was asked for ahead"


async def test_a_library_that_takes_longer_than_the_deadline_is_mirrored_to_its_tail(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await run_in_parts(stage)
    assert len(stage.names()) == 300


async def run_in_parts(stage: Stage) -> None:
    """Each goes on where the one before it was stopped, until one comes to the end."""
    for _ in range(10):
        report = await cut(stage, 10)
        if report.result != "Cancelled":
            assert report.result == "Succeeded"
            return
    pytest.fail("the same directories again and again")


async def test_what_the_spec_wants_no_more_in_every_directory_is_not_looked_at_by_every_part(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300), prune={"mode": "Report", "maxPercent": 100})
    await stage.run()
    stage.spec["filter"] = {"exclude": ["film ???5.mkv"]}
    await run_in_parts(stage)
    assert (await stage.run()).prune_candidates == 30


async def test_what_nobody_has_seen_yet_comes_before_what_was_found_gone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300), prune={"mode": "Report"})
    await stage.run()
    for number in range(30):
        stage.tree.remove(f"{ROOT}/shelf{number // 5}/show{number}/film {number * 10:04}.mkv")
        stage.tree.add(f"{ROOT}/shelf{number // 5}/show{number}/new.mkv")
    for _ in range(6):
        await cut(stage, 10)
    assert sum(name.endswith("new.strm") for name in stage.names()) == 30


async def test_a_stop_is_no_reason_to_list_all_of_the_next_run_but_one(tmp_path: Path) -> None:
    """What went on ends; the run after it sees what came meanwhile to directories that were listed before the stop."""
    stage = Stage(tmp_path, films(300))
    await stopped(stage, 20)
    stage.tree.add(f"{ROOT}/shelf2/show10/late.mkv")
    assert (await stage.run()).result == "Succeeded"
    assert (await stage.run()).created == 1


async def test_another_scope_or_spec_does_not_go_on_there(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await stopped(stage, 20)
    stage.spec["filter"] = {"exclude": ["show9"]}
    stage.tree.listed.clear()
    assert (await stage.run()).result == "Succeeded"
    assert len(set(stage.tree.listed)) == DIRECTORIES - 1


async def test_what_is_shown_of_a_run_that_goes_on_counts_what_was_listed_before(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await stage.run()
    await stopped(stage, 20)
    shown: list[int] = []
    counts: list[tuple[int, int]] = []

    def see(progress: Progress) -> None:
        shown.append(progress.percent or 0)
        counts.append((progress.dirs_done, progress.dirs_known))

    report = await stage.run(on_progress=see)
    assert report.result == "Succeeded"
    listing = [each for each in shown if each]
    assert 40 < listing[0] < listing[-1] <= 99
    assert counts[-1] == (DIRECTORIES, DIRECTORIES)
    shown.clear()
    await stage.run(on_progress=see)
    assert next(each for each in shown if each) < 10, "the library has not shrunk to what the second life listed"


async def test_what_could_not_be_listed_before_the_stop_is_asked_for_once_more_and_counted_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    for locked in ("shelf0", "shelf2/show11"):
        stage.tree.faults[f"{ROOT}/{locked}"] = mediatree.forbidden
    report = await stopped(stage)
    assert report.incomplete_dirs == 2
    report = await stage.run()
    assert (report.result, report.incomplete_dirs) == ("Degraded", 2)
    await stopped(stage)
    stage.tree.heal()
    report = await stage.run()
    assert (report.result, report.incomplete_dirs) == ("Succeeded", 0)
    assert len(stage.names()) == 300


async def test_what_was_not_written_and_what_collided_before_the_stop_is_still_told_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = films(300).add(f"{ROOT}/shelf2/show10/film 0103.mp4", f"{ROOT}/top.mkv", f"{ROOT}/top.mp4")
    stage, rename = Stage(tmp_path, tree), target.rename_anew

    def failing(name: str, new_name: str, **places: Any) -> None:
        if new_name in ("show10", "film 0105.strm"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        rename(name, new_name, **places)

    with monkeypatch.context() as patch:
        patch.setattr(target, "rename_anew", failing)
        first = await stopped(stage)
    assert (first.failed, first.collisions) == (1, 2)
    report = await stage.run()
    assert (report.result, report.failed, report.collisions) == ("Degraded", 1, 2)
    report = await stage.run()
    assert (report.result, report.created, report.collisions) == ("Succeeded", 1, 2)


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_what_is_back_before_the_run_goes_on_is_not_removed(tmp_path: Path, end: str) -> None:
    stage = Stage(tmp_path, films(300))
    await stage.run()
    whole = stage.files()
    film, show = f"{ROOT}/shelf2/show10/film 0103.mkv", f"{ROOT}/shelf2/show12"
    kept = {path: file for path, file in stage.tree.files.items() if path == film or path.startswith(f"{show}/")}
    stage.tree.remove(film)
    stage.tree.remove(show)
    await cut_short(stage, end)
    stage.tree.files |= kept
    stage.tree.mkdir(show)
    stage.tree.listed.clear()
    report = await stage.run()
    assert (report.result, report.pruned, report.prune_candidates) == ("Succeeded", 0, 0)
    assert stage.files() == whole
    assert stage.tree.listed.count(f"{ROOT}/shelf2/show10") == 1, "looked at once more"
    assert len(stage.tree.listed) < DIRECTORIES - 10, "as little else as before"


async def test_what_is_still_gone_when_the_run_goes_on_is_removed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await stage.run()
    for film in ("shelf2/show10/film 0103", "shelf5/show29/film 0299"):
        stage.tree.remove(f"{ROOT}/{film}.mkv")
    await stopped(stage)
    assert len(stage.names()) == 300
    assert (await stage.run()).pruned == 2


async def cut_short(stage: Stage, end: str) -> None:
    if end == "stopped":
        await stopped(stage, 22)
        return

    class Killed(BaseException):
        pass

    def kill(path: str) -> None:
        if path.endswith("show20"):
            raise Killed

    stage.tree.on_list = kill
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pantograph.strm.batch.MAX_DIRECTORIES", 1)
        with pytest.raises(Killed):
            await stage.run()
    stage.tree.on_list = lambda _: None


async def test_records_that_are_made_anew_and_interrupted_are_not_begun_once_more(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await stage.run()
    records, aside = tmp_path / ".pantograph/manifest.sqlite", tmp_path / ".pantograph/manifest.sqlite.aside"
    original = records.read_bytes()
    for _ in range(2):
        await stopped(stage, 12, rebuild_manifest=True)
    stage.tree.listed.clear()
    report = await stage.run(rebuild_manifest=True)
    assert (report.result, report.inventory_strm) == ("Succeeded", 300)
    assert len(stage.tree.listed) < DIRECTORIES - 15
    assert aside.read_bytes() == original
    rebuilt = records.read_bytes()
    await stage.run(rebuild_manifest=True)
    assert aside.read_bytes() == rebuilt, "that one had ended: this is another"


async def test_damaged_records_of_an_interrupted_rebuild_can_be_made_anew(tmp_path: Path) -> None:
    stage = Stage(tmp_path, MediaTree().add(*(f"{ROOT}/a{n}/film.mkv" for n in range(30))))
    await stopped(stage, rebuild_manifest=True)
    (tmp_path / ".pantograph/manifest.sqlite").write_bytes(b"no database at all" * 500)
    assert (await stage.run()).reason == "ManifestUnreadable"
    assert (await stage.run(rebuild_manifest=True)).result == "Succeeded"


async def test_a_ban_that_comes_again_and_again_does_not_keep_the_rest_from_being_mirrored(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    for _ in range(15):
        stage.tree.faults["*"] = Ban(after=6)
        report = await stage.run()
        if report.result == "Succeeded":
            break
        assert (report.result, report.reason) == ("Failed", "RateLimited")
    assert len(stage.names()) == 300


async def test_what_a_ban_kept_from_being_copied_is_copied_by_the_run_that_goes_on_and_not_tried_during_the_ban(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = films(300)
    tree.add(*(f"{ROOT}/shelf{n // 5}/show{n}/film {n * 10:04}.srt" for n in range(30)), content=b"text")
    stage, read = Stage(tmp_path, tree, sidecars={}), MediaTree.read
    asked: list[str] = []

    def reading(self: MediaTree, entry: Entry) -> AsyncIterator[bytes]:
        asked.append(entry.name)
        return read(self, entry)

    monkeypatch.setattr(MediaTree, "read", reading)
    stage.tree.faults["*"] = Ban(after=20)
    report = await stage.run()
    assert (report.reason, report.created, asked) == ("RateLimited", len(stage.names()), [])
    assert report.created >= 100
    stage.tree.heal()
    report = await stage.run()
    assert (report.result, len(asked), len(stage.names())) == ("Succeeded", 30, 330)


class Ban:
    """The server answers so many questions, and then wants to be left alone for an hour."""

    def __init__(self, *, after: int) -> None:
        self.left = after

    def __call__(self, _: MediaTree, path: str, honest: Listing) -> Listing:
        self.left -= 1
        if self.left < 0:
            raise Busy("429 slow down", retry_after_s=3600.0)
        return honest


async def test_ten_directories_that_the_user_may_not_see_hide_none_of_the_others(tmp_path: Path) -> None:
    tree = MediaTree().add(*(f"{ROOT}/{name}{n:02}/film.mkv" for name in ("locked", "open") for n in range(15)))
    for number in range(15):
        tree.faults[f"{ROOT}/locked{number:02}"] = mediatree.forbidden
    stage = Stage(tmp_path, tree)
    report = await stage.run()
    assert (report.result, report.incomplete_dirs) == ("Degraded", 15)
    assert stage.names() == {f"open{n:02}/film.strm" for n in range(15)}
    assert [each.path for each in report.incomplete_samples] == [f"/locked{n:02}" for n in range(10)]


async def test_ten_directories_that_cannot_be_listed_are_named_by_the_last_and_the_rest_is_mirrored_in_the_end(
    tmp_path: Path,
) -> None:
    tree = MediaTree().add(*(f"{ROOT}/{name}{n:02}/film.mkv" for name in ("broken", "sound") for n in range(15)))
    for number in range(15):
        tree.faults[f"{ROOT}/broken{number:02}"] = mediatree.server_error
    stage = Stage(tmp_path, tree)
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "SourceUnusable")
    assert "/broken09" in report.message
    report = await stage.run()
    assert (report.result, len(stage.names())) == ("Degraded", 15)


async def test_a_root_that_fails_when_a_run_goes_on_does_not_send_it_back_to_the_beginning(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await stopped(stage, 20)
    stage.tree.faults[ROOT] = mediatree.server_error
    assert (await stage.run()).reason == "SourceUnusable"
    stage.tree.faults.clear()
    stage.tree.listed.clear()
    assert (await stage.run()).result == "Succeeded"
    assert len(stage.tree.listed) <= DIRECTORIES - 20 + 4
    assert len(stage.names()) == 300
