"""A file of the target that cannot be had is told by its name and keeps nothing else from being done; a target that
fails as a whole ends the run, and the next one lists the source anew."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pantograph.strm import target
from pantograph.strm.relinking import Relinking
from pantograph.strm.target import Target
from tests.simulation.strm.bench import ROOT, Stage, films

FILM = "film 0012.strm"
PLACE = f"shelf0/show1/{FILM}"


def failing(original: Callable[..., Any], name: str, code: int) -> Callable[..., Any]:
    """The same, but for a file of this name."""

    def call(path: Any, *arguments: Any, **places: Any) -> Any:
        if path == name:
            raise OSError(code, os.strerror(code), path)
        return original(path, *arguments, **places)

    return call


async def lost_two(place: Path, **prune: Any) -> Stage:
    """A library of which two films have gone; the first of them, by name, makes trouble."""
    stage = Stage(place, films(60), prune={"mode": "Delete", **prune})
    await stage.run()
    for film in ("shelf0/show1/film 0012", "shelf1/show5/film 0051"):
        stage.tree.remove(f"{ROOT}/{film}.mkv")
    return stage


@pytest.mark.parametrize(
    ("mode", "where", "call"), [("Delete", os, "unlink"), ("Trash", target, "rename_anew"), ("Delete", os, "open")]
)
@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EBUSY])
async def test_a_file_that_cannot_be_removed_is_named_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, where: ModuleType, call: str, code: int
) -> None:
    stage = await lost_two(tmp_path, mode=mode, maxPercent=50)
    with monkeypatch.context() as patch:
        patch.setattr(where, call, failing(getattr(where, call), FILM, code))
        report = await stage.run()
        assert (report.result, report.pruned, report.failed) == ("Degraded", 1, 1)
        (issue,) = [each for each in report.samples if each.reason == "RemoveFailed"]
        assert issue.path == PLACE
        assert os.strerror(code) in issue.message
        assert report.message.startswith(f"0 directories incomplete, 1 files failed: {PLACE}: ")
        assert PLACE in stage.names()
        stage.tree.add(f"{ROOT}/shelf0/show3/new.mkv")
        assert (await stage.run()).created == 1, "the mirror lives on"
    assert (await stage.run()).pruned == 1
    assert PLACE not in stage.names()


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        (errno.EROFS, "TargetUnusable", "findmnt"),
        (errno.EIO, "TargetUnusable", "kernel's log"),
        (errno.ENOTCONN, "TargetUnusable", "kernel's log"),
        (errno.ENOSPC, "TargetFull", "make room"),
        (errno.EDQUOT, "TargetFull", "make room"),
    ],
)
async def test_a_target_that_fails_as_a_whole_ends_the_run_and_does_not_freeze_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str, remedy: str
) -> None:
    stage = await lost_two(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing(os.unlink, FILM, code))
        for round_number in range(3):
            stage.tree.add(f"{ROOT}/shelf0/show3/new{round_number}.mkv")
            report = await stage.run()
            assert (report.result, report.reason, report.created, report.failed) == ("Failed", reason, 1, 0)
            assert str(tmp_path) in report.message
            assert remedy in report.remedy
    assert (await stage.run()).pruned == 2


async def test_a_target_that_cannot_be_opened_says_who_must_be_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, films(10))
    monkeypatch.setattr(os, "open", failing(os.open, "lock", errno.EACCES))
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "TargetUnusable")
    assert report.message == (
        f"target {tmp_path} cannot be used: Permission denied; it must be open to user {os.geteuid()} (lock)"
    )
    assert f"ls -ld {tmp_path}" in report.remedy


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOTDIR])
async def test_a_directory_that_is_closed_before_its_files_are_written_anew_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    stage = Stage(tmp_path, films(60), update={"maxRewritePercent": 100})
    await stage.run()
    stage.spec["link"] = {"publicBase": "http://other.lan"}
    target_open, plan, closed = Target.open, Relinking.plan, False

    def opening(self: Target, path: str, *, make: bool = False) -> int | None:
        if closed and path == "shelf0/show1":
            raise OSError(code, os.strerror(code))
        return target_open(self, path, make=make)

    async def planned(self: Relinking) -> int:
        nonlocal closed
        count = await plan(self)
        closed = True
        return count

    with monkeypatch.context() as patch:
        patch.setattr(Target, "open", opening)
        patch.setattr(Relinking, "plan", planned)
        report = await stage.run(rewrite_only=True)
    assert report.updated == 50
    if code == errno.EACCES:
        assert (report.result, report.failed) == ("Degraded", 10)
        assert {each.reason for each in report.samples} == {"WriteFailed"}
        assert report.samples[0].path == "shelf0/show1/film 0010.strm"
    else:
        assert (report.failed, report.skipped) == (0, 10)
    closed = False
    assert (await stage.run(rewrite_only=True)).updated == 10
