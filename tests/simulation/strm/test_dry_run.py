"""A dry run tells what a run would do, and leaves no trace of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.simulation.strm.bench import ROOT, Stage, films

Trace = dict[str, tuple[int, int, int, bytes]]


def everything(target: Path) -> Trace:
    """Inode, times and content of all there is, our own directory with it."""
    found = {}
    for path in sorted([target, *target.rglob("*")]):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (state.st_ino, state.st_mtime_ns, state.st_ctime_ns, content)
    return found


async def test_a_first_dry_run_tells_every_file_and_makes_not_even_a_directory(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(30))
    before = everything(tmp_path)
    report = await stage.run(dry_run=True)
    assert (report.result, report.reason, report.created) == ("Succeeded", "DryRun", 30)
    assert report.message == "nothing was written: 30 files would be made, 0 written anew, 0 removed"
    assert [(each.reason, each.path) for each in report.samples[:1]] == [
        ("WouldCreate", "shelf0/show0/film 0000.strm"),
    ]
    assert report.as_json()["dryRun"] is True
    assert everything(tmp_path) == before
    assert everything(tmp_path).keys() == {str(tmp_path)}


async def test_a_dry_run_tells_what_the_run_after_it_does(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100), sidecars={}, prune={"mode": "Delete", "maxPercent": 10})
    await stage.run()
    stage.tree.add(f"{ROOT}/shelf0/show0/new.mkv", f"{ROOT}/shelf7/new.mkv")
    stage.tree.add(f"{ROOT}/shelf0/show0/new.srt", content=b"text")
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0012.mkv")
    stage.tree.add(f"{ROOT}/shelf0/show2/film 0020.mp4", size=10**9)
    before = everything(tmp_path)
    would = await stage.run(dry_run=True)
    assert everything(tmp_path) == before
    did = await stage.run()
    assert (would.created, would.updated, would.pruned) == (did.created, did.updated, did.pruned) == (3, 1, 1)
    assert would.candidates_digest == did.candidates_digest != ""
    assert would.inventory_strm == did.inventory_strm


async def test_a_job_that_says_dry_run_never_writes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10), dryRun=True)
    assert (await stage.run()).created == 10
    assert (await stage.run()).created == 10
    assert everything(tmp_path).keys() == {str(tmp_path)}


async def test_a_dry_run_meets_the_limits_that_a_run_would(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    report = await stage.run(dry_run=True)
    assert (report.result, report.reason, report.updated) == ("Blocked", "RewriteLimit", 0)
    report = await stage.run(dry_run=True, approve_rewrite=report.run)
    assert (report.result, report.reason) == ("Blocked", "RewriteLimit"), "what a dry run asked cannot be approved"
    await stage.run()
    report = await stage.run(dry_run=True, approve_rewrite=True)
    assert (report.result, report.updated) == ("Succeeded", 40)
    assert all(text.startswith(b"http://player.lan/") for text in stage.files().values())


async def test_a_dry_run_confirms_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    for _ in range(5):
        assert (await stage.run(dry_run=True)).pending_confirmation == 10
        stage.clock.seconds += 10 * 3600
    assert (await stage.run()).pruned == 0


async def test_a_dry_run_leaves_an_interrupted_run_where_it_stopped(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))

    class Killed(BaseException):
        pass

    def kill(_: str) -> None:
        if len(stage.tree.listed) > 10:
            raise Killed

    stage.tree.on_list = kill
    try:
        await stage.run()
    except Killed:
        stage.tree.on_list = lambda _: None
    before = everything(tmp_path)
    would = await stage.run(dry_run=True)
    assert everything(tmp_path) == before
    assert would.created + would.unchanged == 300
    assert (await stage.run()).result == "Succeeded"
    assert len(stage.names()) == 300


async def test_a_target_of_somebody_else_is_refused_by_a_dry_run_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10))
    await stage.run()
    stage.name = "series"
    assert (await stage.run(dry_run=True)).reason == "OwnedByAnother"


async def test_a_dry_run_without_room_for_its_copy_says_so_before_it_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    size = (tmp_path / ".pantograph/manifest.sqlite").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * size - 1))
    report = await stage.run(dry_run=True)
    assert (report.result, report.reason) == ("Failed", "NoRoomForDryRun")
    assert "TMPDIR" in report.remedy
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * size))
    assert (await stage.run(dry_run=True)).result == "Succeeded"
