"""The end of a job: what it made goes, what people made or changed stays, whatever interrupts it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.strm import purge as module
from pantograph.strm.purge import purge
from pantograph.strm.purged import forget_word
from pantograph.strm.report import Report
from pantograph.strm.spec import compile_job
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import ROOT, Stage, films


async def purged(stage: Stage, *, recorded: bool = True, **options: Any) -> Report:
    """`recorded`: whether anybody hears of the result."""
    body = {"metadata": {"name": stage.name, "namespace": "media"}, "spec": stage.spec}
    job = compile_job(StrmSyncJob.parse(body))
    report = await purge(job, run="purge", root=stage.target, volume=None, clock=stage.clock, **options)
    if recorded and report.result == "Succeeded":
        forget_word(stage.target, above=None)
    return report


def left(target: Path) -> set[str]:
    return {str(path.relative_to(target)) for path in target.rglob("*")}


async def test_everything_that_the_job_made_goes_without_a_question_to_the_source(tmp_path: Path) -> None:
    tree = films(40).add(f"{ROOT}/shelf0/show0/film 0001.srt", content=b"text")
    stage = Stage(tmp_path, tree, sidecars={})
    await stage.run()
    tree.listed.clear()
    report = await purged(stage)
    assert (report.result, report.pruned, report.skipped) == ("Succeeded", 41, 0)
    assert left(tmp_path) == set()
    assert tree.listed == []


async def test_what_people_made_or_changed_stays_with_its_directories(tmp_path: Path) -> None:
    (tmp_path / "shelf0/show3").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/etc")
    stage = Stage(tmp_path, films(40))
    await stage.run()
    (tmp_path / "shelf0/show1/film 0011.strm").write_text("http://mine")
    (tmp_path / "shelf0/show2/poster.jpg").write_bytes(b"mine")
    (tmp_path / "shelf0/show2/film 0020.strm").unlink()
    report = await purged(stage)
    assert (report.result, report.pruned, report.skipped) == ("Succeeded", 38, 1)
    assert report.message == "1 files stay: somebody changed them"
    assert [each.path for each in report.samples] == ["shelf0/show1/film 0011.strm"]
    assert left(tmp_path) == {
        "link",
        "shelf0",
        "shelf0/show1",
        "shelf0/show1/film 0011.strm",
        "shelf0/show2",
        "shelf0/show2/poster.jpg",
        "shelf0/show3",
    }


async def test_the_trash_goes_with_its_owner(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Trash", "maxPercent": 50})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0012.mkv")
    assert (await stage.run()).pruned == 1
    assert (await purged(stage)).pruned == 39
    assert left(tmp_path) == set()


async def test_a_target_of_another_job_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10))
    await stage.run()
    whole = left(tmp_path)
    assert (await purged(stage, installation="elsewhere")).reason == "OwnedByAnother"
    stage.name = "series"
    report = await purged(stage)
    assert (report.result, report.reason, report.pruned) == ("Failed", "OwnedByAnother", 0)
    assert left(tmp_path) == whole


async def test_a_target_without_records_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "film.strm").write_text("http://mine")
    report = await purged(Stage(tmp_path))
    assert (report.result, report.pruned) == ("Succeeded", 0)
    assert left(tmp_path) == {"film.strm"}


async def test_the_word_to_adopt_is_none_to_remove_what_another_job_made(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10), target={"root": {"name": "media"}, "adopt": True})
    await stage.run()
    whole = left(tmp_path)
    assert (await purged(stage, installation="elsewhere")).reason == "OwnedByAnother"
    stage.name = "series"
    assert (await purged(stage)).reason == "OwnedByAnother"
    assert left(tmp_path) == whole


async def test_a_target_that_should_hold_records_and_holds_none_is_not_taken_for_a_purged_one(tmp_path: Path) -> None:
    report = await purged(Stage(tmp_path), expect_records=True)
    assert (report.result, report.reason) == ("Failed", "TargetUnusable")
    assert "not mounted" in report.message
    assert f"findmnt --target {tmp_path}" in report.remedy


@pytest.mark.parametrize("call", ["read", "stat", "rmdir"])
async def test_a_target_that_fails_to_answer_keeps_the_records_of_what_is_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    stage = Stage(tmp_path, films(10))
    await stage.run()
    if call == "stat":
        (tmp_path / "shelf0/show0/film 0003.strm").write_text("http://mine")
    whole = left(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        report = await purged(stage)
    assert (report.result, report.reason) == ("Failed", "TargetUnusable")
    assert "Input/output error" in report.message
    assert left(tmp_path) == whole or call != "read"
    assert (tmp_path / ".pantograph/manifest.sqlite").exists()
    assert (await purged(stage)).result == "Succeeded"


def failing(*_: Any, **__: Any) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_a_purge_can_be_stopped_and_the_next_one_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 10)
    stage = Stage(tmp_path, films(40))
    await stage.run()
    report = await purged(stage, cancelled=lambda: len(stage.names()) <= 20)
    assert (report.result, report.pruned) == ("Cancelled", 20)
    report = await purged(stage)
    assert (report.result, report.pruned) == ("Succeeded", 20)
    assert left(tmp_path) == set()


class Killed(BaseException):
    """The process ends here."""


def kill_before(patch: pytest.MonkeyPatch, point: int) -> None:
    """The process ends before its removal number `point`, of whatever."""
    count = 0

    def guarded(removal: Callable[..., None]) -> Callable[..., None]:
        def remove(*arguments: Any, **options: Any) -> None:
            nonlocal count
            if count >= point:
                raise Killed
            count += 1
            removal(*arguments, **options)

        return remove

    for name in ("unlink", "rmdir"):
        patch.setattr(os, name, guarded(getattr(os, name)))


async def test_a_purge_killed_before_any_of_its_removals_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for point in range(100):
        stage = Stage(tmp_path / str(point), MediaTree().add(*(f"{ROOT}/a/film{n}.mkv" for n in range(6))))
        await stage.run()
        (stage.target / "a/film3.strm").write_text("http://mine")
        with monkeypatch.context() as patch:
            kill_before(patch, point)
            try:
                undisturbed = (await purged(stage)).result == "Succeeded"
            except Killed:
                undisturbed = False
        assert (await purged(stage)).result == "Succeeded", point
        assert left(stage.target) == {"a", "a/film3.strm"}, point
        if undisturbed:
            break
    assert 10 < point < 99


async def test_a_purge_whose_result_was_lost_ends_well_and_says_the_same_once_more(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10))
    await stage.run()
    (tmp_path / "shelf0/show0/film 0003.strm").write_text("http://mine")
    lost = await purged(stage, recorded=False, expect_records=True)
    for _ in range(2):
        again = await purged(stage, recorded=False, expect_records=True)
        assert (
            (again.result, again.pruned, again.skipped)
            == ("Succeeded", lost.pruned, lost.skipped)
            == (
                "Succeeded",
                9,
                1,
            )
        )
        assert again.message == lost.message
    assert (await purged(stage, expect_records=True)).result == "Succeeded"
    assert left(tmp_path) == {"shelf0", "shelf0/show0", "shelf0/show0/film 0003.strm"}


async def test_a_volume_that_is_not_mounted_is_no_purged_one_even_after_a_purge(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "volume", films(10))
    await stage.run()
    await purged(stage, recorded=False, expect_records=True)
    (tmp_path / "volume").rename(tmp_path / "unmounted")
    (tmp_path / "volume").mkdir()
    assert (await purged(stage, expect_records=True)).reason == "TargetUnusable"
    (tmp_path / "volume").rmdir()
    (tmp_path / "unmounted").rename(tmp_path / "volume")
    assert (await purged(stage, expect_records=True)).result == "Succeeded"
    assert left(tmp_path / "volume") == set()


async def test_the_word_of_a_purge_is_no_excuse_for_a_later_life_of_the_job(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10))
    await stage.run()
    await purged(stage, recorded=False)
    await stage.run()
    assert len(stage.names()) == 10
    assert (await purged(stage)).pruned == 10
    assert left(tmp_path) == set()


async def test_the_word_of_a_purge_is_in_no_other_jobs_way_and_nobody_elses_excuse(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10))
    await stage.run()
    await purged(stage, recorded=False)
    stage.name = "series"
    assert (await purged(stage, recorded=False, expect_records=True)).reason == "TargetUnusable"
    assert (await purged(stage, recorded=False)).pruned == 0
    assert (await stage.run()).result == "Succeeded"
    forget_word(tmp_path, above=None)
    assert len(stage.names()) == 10
    assert (tmp_path / ".pantograph/owner.json").exists()
    stage.name = "films"
    assert (await purged(stage)).reason == "OwnedByAnother"


async def test_a_word_that_nobody_can_read_is_no_word(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10))
    await stage.run()
    await purged(stage, recorded=False)
    (tmp_path / ".pantograph/purged.json").write_text("{")
    assert (await purged(stage, expect_records=True)).result == "Succeeded"
    assert left(tmp_path) == set()


async def test_a_file_that_cannot_be_removed_keeps_the_records_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    unlink = os.unlink

    def refusing(path: Any, **places: Any) -> None:
        if path == "film 0012.strm":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
        unlink(path, **places)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refusing)
        report = await purged(stage)
    assert (report.result, report.reason, report.pruned) == ("Failed", "TargetUnusable", 39)
    assert "shelf0/show1/film 0012.strm: it stays: Permission denied" in report.message
    assert "ls -ld" in report.remedy
    report = await purged(stage)
    assert (report.result, report.pruned) == ("Succeeded", 1)
    assert not (tmp_path / "shelf0").exists()
