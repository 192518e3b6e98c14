"""The trash is kept as long as was promised, whatever the clock or the records go through; and can be given back."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pantograph.strm.changes import Changes
from pantograph.strm.manifest import Manifest
from pantograph.strm.removal import Remover, restore
from pantograph.strm.state import Owner, StateDir
from pantograph.strm.target import Target
from tests.simulation.strm.bench import HOUR, ROOT, Stage, films

DAY = 24 * HOUR


async def trashing(target: Path, **prune: object) -> Stage:
    """A library with one file in the trash of the run `took`."""
    stage = Stage(target, films(40), prune={"mode": "Trash", **prune})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0012.mkv")
    assert (await stage.run(name="took")).pruned == 1
    assert in_trash(target) == {"took/shelf0/show1/film 0012.strm"}
    return stage


def in_trash(target: Path) -> set[str]:
    trash = target / ".pantograph/trash"
    return {str(path.relative_to(trash)) for path in trash.rglob("*.strm")}


async def days_kept(stage: Stage, *, every: float = DAY, most: int = 40) -> float:
    """How long it stays from now, with a run `every` so many seconds."""
    for number in range(most):
        if not in_trash(stage.target):
            return number * every / DAY
        stage.clock.seconds += every
        await stage.run()
    pytest.fail("it stays for ever")


@pytest.mark.parametrize(("retention", "days"), [("168h", 7), ("48h", 2)])
async def test_the_trash_goes_when_its_time_is_over(tmp_path: Path, retention: str, days: int) -> None:
    assert await days_kept(await trashing(tmp_path, trashRetention=retention), every=6 * HOUR) == days


async def test_a_clock_that_is_put_right_does_not_empty_the_trash(tmp_path: Path) -> None:
    """A machine without a clock of its own begins in the past, and learns the time when the network is up."""
    stage = await trashing(tmp_path)
    for _ in range(3):
        stage.clock.jump += 400 * DAY
        await stage.run()
        assert in_trash(tmp_path), "each jump is at most a day of its age"
    assert await days_kept(stage) == 4


async def test_a_clock_that_goes_back_takes_nothing_from_the_trash_and_keeps_it_not_for_ever(tmp_path: Path) -> None:
    stage = await trashing(tmp_path)
    stage.clock.jump -= 400 * DAY
    await stage.run()
    assert await days_kept(stage) == 7


async def test_without_its_records_the_trash_counts_as_new(tmp_path: Path) -> None:
    stage = await trashing(tmp_path)
    for _ in range(5):
        stage.clock.seconds += DAY
        await stage.run()
    await stage.run(rebuild_manifest=True)
    assert await days_kept(stage) == 7


async def test_runs_that_are_rare_keep_it_for_longer_and_not_for_ever(tmp_path: Path) -> None:
    assert await days_kept(await trashing(tmp_path), every=7 * DAY) == 49


async def test_what_a_later_run_of_the_same_name_adds_is_kept_as_long(tmp_path: Path) -> None:
    stage = await trashing(tmp_path)
    for _ in range(6):
        stage.clock.seconds += DAY
        await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0013.mkv")
    assert (await stage.run(name="took")).pruned == 1
    assert await days_kept(stage) == 7


def give_back(stage: Stage, run: str) -> tuple[int, list[str]]:
    """How many files came back, and whose place was taken."""
    owner = Owner("local", "media", "films", ROOT)
    with (
        closing(Target(stage.target)) as target,
        closing(StateDir.open(target, owner, adopt=False)) as state,
        closing(Manifest(state.manifest, durable=False)) as manifest,
    ):
        return restore(target, state, run, changes=Changes(manifest))


async def test_it_gives_back_what_a_run_took(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={"mode": "Trash", "maxPercent": 50})
    await stage.run()
    whole = stage.files()
    stage.tree.remove(f"{ROOT}/shelf0/show1")
    for number in range(3):
        await stage.run(name=f"n{number}")
        stage.clock.seconds += 4 * HOUR
    assert len(stage.files()) == 30
    assert give_back(stage, "n2") == (10, [])
    assert stage.files() == whole
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 10 * HOUR
    assert stage.files() == whole, "what a person brought back is the person's"


async def test_what_cannot_be_read_of_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await trashing(tmp_path)
    stage.tree.remove(f"{ROOT}/shelf0/show2/film 0025.mkv")
    await stage.run(name="took")
    opening = os.open

    def failing(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "show1" and dir_fd is not None and "trash" in str(Path(f"/proc/self/fd/{dir_fd}").readlink()):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return opening(path, flags, mode, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        with pytest.raises(OSError, match="Input/output error"):
            give_back(stage, "took")
    assert "took/shelf0/show1/film 0012.strm" in in_trash(tmp_path)
    give_back(stage, "took")
    assert (len(stage.names()), in_trash(tmp_path)) == (40, set())


async def test_where_a_file_stands_in_the_place_of_a_directory_the_rest_comes_back(tmp_path: Path) -> None:
    stage = await trashing(tmp_path)
    stage.tree.remove(f"{ROOT}/shelf0/show2/film 0025.mkv")
    await stage.run(name="took")
    (tmp_path / "shelf0/show1").rename(tmp_path / "elsewhere")
    (tmp_path / "shelf0/show1").write_bytes(b"somebody's")
    assert give_back(stage, "took") == (1, ["shelf0/show1/film 0012.strm"])
    assert in_trash(tmp_path) == {"took/shelf0/show1/film 0012.strm"}
    assert "shelf0/show2/film 0025.strm" in stage.names()


async def test_what_a_killed_run_took_and_a_person_brought_back_is_the_persons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    stage = Stage(tmp_path, films(40), prune={"mode": "Trash"})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0012.mkv")
    to_trash = Remover._to_trash

    def dying(remover: Remover, state: StateDir, local: str, name: str) -> None:
        to_trash(remover, state, local, name)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "_to_trash", dying)
        with pytest.raises(Killed):
            await stage.run(name="took")
    assert give_back(stage, "took") == (1, [])
    for _ in range(2):
        await stage.run()
    assert "shelf0/show1/film 0012.strm" in stage.names()


async def test_a_later_run_of_the_same_name_replaces_nothing_in_it(tmp_path: Path) -> None:
    stage = await trashing(tmp_path)
    place = tmp_path / ".pantograph/trash/took/shelf0/show1/film 0012.strm"
    place.write_bytes(b"what lay there before")
    stage.tree.add(f"{ROOT}/shelf0/show1/film 0012.mkv")
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0012.mkv")
    report = await stage.run(name="took")
    assert (report.pruned, report.failed) == (0, 1)
    (message,) = [each.message for each in report.samples if each.reason == "RemoveFailed"]
    assert "give each run a name of its own" in message
    assert place.read_bytes() == b"what lay there before"
    assert (await stage.run()).pruned == 1
