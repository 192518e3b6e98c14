"""Each rule of pruning as a story with an end that could be another."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pantograph.providers.media.port import Listing, Skipped
from pantograph.strm import prune
from pantograph.strm.prune import Approval
from pantograph.strm.removal import Remover
from tests.fakes import mediatree
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import HOUR, ROOT, Stage, films


async def test_a_file_that_went_alone_goes_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0012.mkv")
    report = await stage.run()
    assert (report.pruned, report.result) == (1, "Succeeded")
    assert "shelf0/show1/film 0012.strm" not in stage.names()
    assert len(stage.names()) == 39


async def test_a_directory_that_went_needs_three_scans_and_six_hours(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    pruned = []
    for _ in range(5):
        pruned.append((await stage.run()).pruned)
        stage.clock.seconds += 3.1 * HOUR
    assert pruned == [0, 0, 10, 0, 0]
    assert not (tmp_path / "shelf0/show1").exists()


async def test_a_directory_that_lost_everything_stays_empty_where_the_spec_keeps_empty_ones(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 50, "emptyDirs": False})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 4 * HOUR
    assert list((tmp_path / "shelf0/show1").iterdir()) == []
    stage.spec["prune"] = {"mode": "Delete", "maxPercent": 50}
    await stage.run()
    assert not (tmp_path / "shelf0/show1").exists()
    assert len(stage.names()) == 30


@pytest.mark.parametrize(
    ("believed", "result", "pruned"), [(False, "Blocked", [0, 0, 0, 0]), (True, "Succeeded", [0, 0, 40, 0])]
)
async def test_an_empty_source_is_believed_where_the_spec_says_so_and_not_before_it_is_confirmed(
    tmp_path: Path, believed: bool, result: str, pruned: list[int]
) -> None:
    stage = Stage(
        tmp_path,
        films(40),
        source={"path": ROOT, "allowEmptySource": believed},
        prune={"mode": "Delete", "maxPercent": 100},
    )
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0")
    reports = []
    for _ in range(4):
        reports.append(await stage.run())
        stage.clock.seconds += 3.1 * HOUR
    assert [(report.result, report.pruned) for report in reports] == [(result, count) for count in pruned]
    assert len(stage.names()) == 40 - sum(pruned)


async def test_many_scans_in_a_minute_confirm_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    stage.tree.faults[f"{ROOT}/shelf0/show1"] = mediatree.empty
    for _ in range(10):
        assert (await stage.run()).pruned == 0
        stage.clock.seconds += 60
    stage.clock.jump += 100 * HOUR  # one jump of the clock passes for one scan
    for _ in range(10):
        assert (await stage.run()).pruned == 0
        stage.clock.seconds += 60


async def test_a_directory_that_came_back_starts_anew(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    for _ in range(4):
        stage.tree.faults[f"{ROOT}/shelf0/show1"] = mediatree.empty
        for _ in range(2):
            assert (await stage.run()).pruned == 0
            stage.clock.seconds += 10 * HOUR
        stage.tree.heal()
        await stage.run()
    assert len(stage.names()) == 40


async def test_more_than_the_limit_blocks_every_removal(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100))
    await stage.run()
    for number in (1, 12, 23, 34, 45, 56):
        stage.tree.remove(f"{ROOT}/shelf{number // 50}/show{number // 10}/film {number:04}.mkv")
    report = await stage.run()
    assert (report.result, report.reason, report.pruned) == ("Blocked", "PruneBlocked", 0)
    assert report.message == "6 of 100 files would be removed; the limits allow 5"
    assert len(stage.names()) == 100


async def test_small_runs_do_not_add_up_to_what_one_may_not_do(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100))
    await stage.run()
    for number in (1, 12, 23, 34, 45, 56, 67):
        stage.tree.remove(f"{ROOT}/shelf{number // 50}/show{number // 10}/film {number:04}.mkv")
        report = await stage.run(trigger="watch", paths=(f"shelf{number // 50}/show{number // 10}",), shallow=True)
        stage.clock.seconds += 60
    assert report.result == "Blocked"
    assert len(stage.names()) == 95


async def test_of_a_small_library_one_file_may_go_and_no_second(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(15), prune={"mode": "Delete", "maxPercent": 100})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show0/film 0001.mkv")
    assert (await stage.run()).pruned == 1
    stage.tree.remove(f"{ROOT}/shelf0/show0/film 0002.mkv")
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0011.mkv")
    stage.clock.seconds += 100 * HOUR
    report = await stage.run()
    assert (report.result, report.pruned) == ("Blocked", 0)


async def test_an_approval_removes_what_its_run_listed_and_nothing_newer(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    listed = await stage.run(name="listed")
    assert (listed.prune_candidates, listed.pending_confirmation) == (10, 10)
    stage.tree.remove(f"{ROOT}/shelf0/show2")
    (tmp_path / "shelf0/show1/film 0011.strm").write_text("mine now")
    refused = await stage.run(approve=Approval(run="listed", digest="0" * 64))
    assert (refused.pruned, refused.prune_blocked) == (0, "run listed listed other candidates than those approved")
    done = await stage.run(approve=Approval(run="listed", digest=listed.candidates_digest))
    # What was approved needs no confirmation any more; what is newer does.
    assert (done.pruned, done.prune_candidates, done.pending_confirmation) == (9, 19, 10)
    assert {name for name in stage.names() if "show1" in name} == {"shelf0/show1/film 0011.strm"}
    assert len([name for name in stage.names() if "show2" in name]) == 10


async def test_nothing_is_pending_once_all_of_it_was_approved(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    listed = await stage.run(name="listed")
    done = await stage.run(approve=Approval(run="listed", digest=listed.candidates_digest))
    assert (done.pruned, done.pending_confirmation) == (10, 0)


async def test_what_has_changed_between_the_look_and_the_removal_is_still_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    listed = await stage.run(name="listed")
    monkeypatch.setattr(Remover, "remove", lambda *_: False)
    done = await stage.run(approve=Approval(run="listed", digest=listed.candidates_digest))
    assert (done.pruned, done.pending_confirmation) == (0, 10)


async def test_an_approval_does_not_reach_what_came_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.tree.faults[ROOT] = mediatree.empty
    listed = await stage.run(name="listed")
    assert listed.prune_candidates == 40
    stage.tree.heal()
    done = await stage.run(approve=Approval(run="listed", digest=listed.candidates_digest))
    assert done.pruned == 0
    assert len(stage.names()) == 40


async def test_report_removes_nothing_and_lists_all(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0012.mkv")
    report = await stage.run()
    assert (report.pruned, report.prune_candidates, report.result) == (0, 1, "Succeeded")
    assert report.samples[0].path == "shelf0/show1/film 0012.strm"
    assert len(stage.names()) == 40


async def test_report_asks_where_more_is_gone_than_the_limits_allow(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100), prune={})
    await stage.run()
    for number in range(6):
        stage.tree.remove(f"{ROOT}/shelf{number // 5}/show{number}/film {number * 10:04}.mkv")
    report = await stage.run(name="asked")
    assert (report.result, report.reason, report.pruned) == ("Blocked", "PruneBlocked", 0)
    assert report.message == "6 of 100 files would be removed; the limits allow 5"
    assert (await stage.run(approve=Approval(run="asked", digest=report.candidates_digest))).pruned == 6
    assert len(list((tmp_path / ".pantograph/trash").rglob("*.strm"))) == 6


async def test_off_removes_nothing_however_long_it_is_gone_and_whoever_approves_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Report", "maxPercent": 100})
    await stage.run()
    whole = stage.names()
    for gone in ("shelf0/show1/film 0012.mkv", "shelf0/show2"):
        stage.tree.remove(f"{ROOT}/{gone}")
    listed = await stage.run(name="listed")
    assert listed.prune_candidates == 11
    stage.spec["prune"] = {"mode": "Off", "maxPercent": 100}
    for _ in range(4):
        report = await stage.run()
        assert (report.result, report.pruned, report.prune_candidates) == ("Succeeded", 0, 0)
        stage.clock.seconds += 10 * HOUR
    for digest in (None, listed.candidates_digest):
        report = await stage.run(approve=Approval(run="listed", digest=digest))
        assert (report.result, report.reason, report.pruned) == ("Blocked", "PruneBlocked", 0)
        assert report.message == "prune.mode is Off: nothing is removed, approved or not"
    assert stage.names() == whole
    stage.spec["prune"] = {"mode": "Delete", "maxPercent": 100}
    assert (await stage.run()).pruned == 11, "nothing but the mode kept them"


async def test_what_people_keep_there_stays(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    show = tmp_path / "shelf0/show1"
    (show / "poster.jpg").write_bytes(b"mine")
    (show / "film 0010.nfo").write_bytes(b"mine")
    (show / "other.strm").write_bytes(b"http://somewhere/else")
    (show / "film 0013.strm").write_bytes(b"http://edited/by/hand")
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 4 * HOUR
    left = {path.name for path in show.iterdir()}
    assert left == {"poster.jpg", "film 0010.nfo", "other.strm", "film 0013.strm"}


async def test_a_changed_filter_drops_files_as_reconfigured_after_the_new_ones_exist(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 100, "maxCount": 100})
    await stage.run()
    stage.spec["target"] = {"root": {"name": "media"}, "onCollision": "KeepExt"}
    seen: list[set[str]] = []
    stage.tree.on_list = lambda _: seen.append(stage.names())
    report = await stage.run()
    assert (report.created, report.pruned) == (40, 40)
    assert {each.reason for each in report.samples} == {"PruneReconfigured"}
    assert stage.names() == {f"shelf0/show{n // 10}/film {n:04}.mkv.strm" for n in range(40)}


async def test_what_a_spec_that_was_blocked_leaves_out_stays_blocked_until_somebody_says_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 10})
    await stage.run()
    stage.spec["filter"] = {"exclude": ["film 000*"]}
    for number in range(4):
        report = await stage.run(name=f"run{number}")
        assert (report.result, report.prune_candidates, report.pending_confirmation) == ("Blocked", 10, 0)
        stage.clock.seconds += HOUR
    assert (await stage.run(approve=Approval(run="run3"))).pruned == 10
    assert (await stage.run()).result == "Succeeded"


def left_out(*names: str) -> mediatree.Fault:
    """What a link is whose disk is away: a name without anything behind it."""

    def fault(_: MediaTree, __: str, honest: Listing) -> Listing:
        shown = tuple(entry for entry in honest.entries if entry.name not in names)
        return replace(
            honest, entries=shown, skipped=tuple(Skipped(name, "leads nowhere") for name in names), fingerprint=b""
        )

    return fault


async def test_what_the_source_cannot_show_is_not_gone_whatever_the_spec_becomes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100), prune={"mode": "Delete", "maxPercent": 100, "confirmScans": 1, "minAge": "1h"})
    await stage.run()
    before = stage.names()
    stage.tree.faults[f"{ROOT}/shelf0"] = left_out("show2")
    stage.tree.faults[f"{ROOT}/shelf0/show1"] = left_out("film 0012.mkv", "film 0013.mkv")
    for exclude in ([], ["nothing like it"], ["nothing like it"], ["nothing at all"]):
        stage.spec["filter"] = {"exclude": exclude}
        stage.clock.seconds += 10 * HOUR
        report = await stage.run()
        assert (report.prune_candidates, report.pending_confirmation) == (0, 0)
    assert stage.names() == before
    stage.tree.heal()
    assert (await stage.run()).unchanged == 100


async def test_a_directory_that_became_a_file_is_gone(tmp_path: Path) -> None:
    tree = films(40).add(f"{ROOT}/Heat.mkv/disc.mkv")
    stage = Stage(tmp_path, tree, prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    tree.remove(f"{ROOT}/Heat.mkv")
    tree.add(f"{ROOT}/Heat.mkv")
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 4 * HOUR
    assert {name for name in stage.names() if "Heat" in name} == {"Heat.strm"}


async def test_an_excluded_directory_is_reconfigured_and_below_a_depth_limit_nothing_is_judged(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100), prune={"mode": "Delete", "maxPercent": 100, "maxCount": 1000})
    await stage.run()
    stage.spec["source"] = {"path": ROOT, "maxDepth": 1}
    for _ in range(4):
        report = await stage.run()
        stage.clock.seconds += 10 * HOUR
    assert (report.prune_candidates, len(stage.names())) == (0, 100)
    stage.spec["source"] = {"path": ROOT}
    stage.spec["filter"] = {"exclude": ["show1"]}
    report = await stage.run()
    assert report.pruned == 10
    assert len(stage.names()) == 90


async def test_sidecars_go_with_their_film_and_not_before(tmp_path: Path) -> None:
    tree = MediaTree().add(*(f"{ROOT}/a/film{n}.mkv" for n in range(30)))
    tree.add(f"{ROOT}/a/film1.zh.srt", f"{ROOT}/a/film2.nfo", f"{ROOT}/a/folder.jpg", content=b"text")
    stage = Stage(tmp_path, tree, sidecars={}, prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    assert (tmp_path / "a/film1.zh.srt").read_bytes() == b"text"
    (tmp_path / "a/film2.nfo").write_bytes(b"edited")
    for gone in ("film1.zh.srt", "folder.jpg"):
        tree.remove(f"{ROOT}/a/{gone}")
    await stage.run()
    assert {"a/film1.zh.srt", "a/folder.jpg"} <= stage.names()
    for gone in ("film1.mkv", "film2.mkv", "film2.nfo"):
        tree.remove(f"{ROOT}/a/{gone}")
    await stage.run()
    assert stage.names() & {"a/film1.strm", "a/film1.zh.srt", "a/film2.strm"} == set()
    assert {"a/film2.nfo", "a/folder.jpg"} <= stage.names()


@pytest.mark.parametrize("gone", ["film1.mkv", "", "film2.mkv"], ids=["the film", "its directory", "another film"])
async def test_what_belongs_to_a_film_that_somebody_changed_stays_with_it(tmp_path: Path, gone: str) -> None:
    tree = films(40).add(*(f"{ROOT}/a/film{number}.mkv" for number in range(3)))
    tree.add(f"{ROOT}/a/film1.srt", content=b"text")
    stage = Stage(tmp_path, tree, sidecars={}, prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    (tmp_path / "a/film1.strm").write_bytes(b"http://mine.lan/film1")
    tree.remove(f"{ROOT}/a/film1.srt")
    tree.remove(f"{ROOT}/a/{gone}".rstrip("/"))
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 4 * HOUR
    assert {"a/film1.strm", "a/film1.srt"} <= stage.names()


async def test_mounts_only_is_believed_where_there_never_was_anything_else(tmp_path: Path) -> None:
    tree = MediaTree().add(*(f"{ROOT}/m{n}/film{f}.mkv" for n in range(3) for f in range(10)))
    tree.mounts |= {f"{ROOT}/m{n}" for n in range(3)}
    tree.faults[ROOT] = mediatree.mounts_only
    stage = Stage(tmp_path, tree)
    assert (await stage.run()).result == "Succeeded"
    tree.remove(f"{ROOT}/m1/film3.mkv")
    report = await stage.run()
    assert (report.result, report.pruned) == ("Succeeded", 1)


async def test_an_approval_is_good_although_many_small_runs_came_between(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    for number in range(5):
        stage.tree.remove(f"{ROOT}/shelf0/show1/film 001{number}.mkv")
    assert (await stage.run(name="asked")).result == "Blocked"
    for _ in range(60):
        await stage.run(trigger="watch", paths=("shelf0/show0",), shallow=True)
    assert (await stage.run(approve=Approval(run="asked"))).pruned == 5


async def test_a_target_that_fails_to_answer_is_no_word_that_the_files_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    film = f"{ROOT}/shelf0/show1/film 0012.mkv"
    stage.tree.remove(film)

    def failing(*_: Any) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", failing)
        report = await stage.run()
    assert (report.result, report.reason, report.pruned) == ("Failed", "TargetUnusable", 0)
    report = await stage.run()
    assert (report.result, report.pruned) == ("Succeeded", 1)


async def test_candidates_are_logged_by_name_when_they_are_new_and_not_without_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pantograph.strm.prune.MAX_LOGGED", 3)
    caplog.set_level("INFO", logger="pantograph.strm")
    stage = Stage(tmp_path, films(40))
    await stage.run()
    for number in range(5):
        stage.tree.remove(f"{ROOT}/shelf0/show1/film 001{number}.mkv")
    await stage.run(name="first")
    assert [record.getMessage() for record in caplog.records] == [
        *(f"candidate PruneGone shelf0/show1/film 001{number}.strm: its source is gone" for number in range(3)),
        "5 candidates (logged: the first 3); pantograph strm candidates first",
    ]
    caplog.clear()
    await stage.run(name="second")
    (line,) = caplog.records
    assert line.getMessage() == "5 candidates (logged: no others than before); pantograph strm candidates second"


@pytest.mark.parametrize("at", ["before it has judged", "while it removes"])
async def test_pruning_stops_between_two_pages_and_says_what_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 100})
    await stage.run()
    for number in [each for each in range(30) if each % 10]:
        stage.tree.remove(f"{ROOT}/shelf0/show{number // 10}/film {number:04}.mkv")
    monkeypatch.setattr(prune, "_PAGE", 10)
    pruning: list[str] = []

    def stopped() -> bool:
        if not pruning:
            return False
        return at == "before it has judged" or len(stage.names()) <= 30

    report = await stage.run(
        cancelled=stopped, on_progress=lambda progress: pruning.extend(["Prune"] * (progress.phase == "Prune"))
    )
    expected = 0 if at == "before it has judged" else 10
    assert (report.result, report.pruned, len(stage.names())) == ("Cancelled", expected, 40 - expected)
    assert (await stage.run()).pruned == 27 - expected


async def test_what_went_before_the_target_failed_counts_for_the_limits_of_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 5})
    await stage.run()
    for number in (1, 12):
        stage.tree.remove(f"{ROOT}/shelf0/show{number // 10}/film {number:04}.mkv")
    unlink = os.unlink

    def failing(name: str, **place: Any) -> None:
        if name == "film 0012.strm":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(name, **place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing)
        report = await stage.run()
    assert (report.result, report.reason, report.pruned) == ("Failed", "TargetUnusable", 1)
    assert (await stage.run()).pruned == 1
    stage.tree.remove(f"{ROOT}/shelf0/show2/film 0023.mkv")
    report = await stage.run()
    assert (report.result, report.pruned) == ("Blocked", 0)
    assert "after 2 removed lately" in report.prune_blocked
