"""What is written is whole, and takes no place that somebody took in the last moment."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pantograph.strm import batch
from tests.simulation.strm.bench import ROOT, Stage, films

FILM = "shelf0/show0/film 0003.strm"


async def test_a_target_that_takes_writes_in_parts_gets_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = films(10).add(f"{ROOT}/shelf0/show0/film 0003.nfo", content=b"some text")
    whole, parts = Stage(tmp_path / "whole", tree, sidecars={}), Stage(tmp_path / "parts", tree, sidecars={})
    await whole.run()
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, bytes(content)[:7]))
    assert (await parts.run()).result == "Succeeded"
    assert parts.files() == whole.files()


async def test_a_file_that_lost_bytes_on_its_way_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, write = Stage(tmp_path, films(10)), os.write

    def losing(handle: int, content: bytes) -> int:
        write(handle, bytes(content)[:7])
        return len(content)

    monkeypatch.setattr(os, "write", losing)
    report = await stage.run()
    assert (report.result, report.failed, stage.files()) == ("Degraded", 10, {})
    assert "7 are there" in report.samples[0].message


@pytest.mark.parametrize("links", [True, False])
async def test_what_appears_at_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    stage, link = Stage(tmp_path, films(10)), os.link

    def racing(name: str, new_name: str, **places: Any) -> None:
        if new_name == "film 0003.strm":
            (tmp_path / FILM).write_text("mine")
        if not links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        link(name, new_name, **places)

    monkeypatch.setattr(os, "link", racing)
    report = await stage.run()
    assert (report.created, report.failed) == (9, 1)
    assert stage.files()[FILM] == b"mine"
    assert list((tmp_path / ".pantograph/tmp").iterdir()) == []


async def test_what_found_no_room_while_the_run_was_cancelled_is_made_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, cancelled = Stage(tmp_path, films(10)), False

    def full(*_: object, **__: object) -> None:
        nonlocal cancelled
        cancelled = True
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(batch, "MAX_WRITES", 10)  # so that it writes as soon as all are planned
        patch.setattr(os, "link", full)
        assert (await stage.run(cancelled=lambda: cancelled)).result != "Succeeded"
    assert (await stage.run()).created == 10
