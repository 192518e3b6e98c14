"""Directories in which nothing changed are passed at a glance, and never when anything did."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pantograph.providers.media.port import Listing, Unread
from pantograph.strm.walk import Walk
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import ROOT, Stage, films

FILM = "shelf0/show0/film 0003.strm"


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Directories that were not passed at a glance."""
    seen: list[str] = []
    original = Walk._merge

    def merge(self: Walk, item, listing):  # type: ignore[no-untyped-def]
        seen.append(item.path)
        return original(self, item, listing)

    monkeypatch.setattr(Walk, "_merge", merge)
    return seen


@pytest.fixture(params=[True, False], ids=["fingerprints", "no fingerprints"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """A library that was mirrored once."""
    stage = Stage(tmp_path, films(60))
    stage.tree.fingerprints = request.param
    assert (await stage.run()).created == 60
    return stage


@pytest.mark.parametrize("verify", ["Stat", "Content", "DirMtime"])
async def test_a_run_that_finds_everything_as_it_was_judges_no_file(
    stage: Stage, merged: list[str], verify: str
) -> None:
    stage.spec["update"] = {"verify": verify}
    await stage.run()
    merged.clear()
    before = stage.digest()
    assert (await stage.run()).unchanged == 60
    assert merged == []
    assert stage.digest() == before


async def test_already_the_run_after_the_first_judges_no_file(stage: Stage, merged: list[str]) -> None:
    merged.clear()
    assert (await stage.run()).unchanged == 60
    assert merged == []


async def test_answers_that_are_known_are_not_read(stage: Stage) -> None:
    await stage.run()
    shows = {f"{ROOT}/shelf0/show{number}" for number in range(5)}  # shelf1 has one, whose row nobody reads ahead
    assert set(stage.tree.unread) == (shows if stage.tree.fingerprints else set())


async def test_of_a_part_of_the_source_every_answer_is_read(stage: Stage) -> None:
    await stage.run(paths=("shelf0",))
    assert stage.tree.unread == []


async def test_by_a_run_that_goes_on_every_answer_is_read(stage: Stage) -> None:
    stage.tree.listed.clear()
    stopped = await stage.run(cancelled=lambda: len(stage.tree.listed) > 4)
    assert stopped.result == "Cancelled"
    stage.tree.unread.clear()
    assert (await stage.run()).result == "Succeeded"
    assert stage.tree.unread == []


async def test_an_unread_answer_for_another_directory_proves_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MediaTree.list_unless_known

    async def astray(self: MediaTree, path: str, known: bytes, *, refresh: bool = False) -> Listing | Unread:
        answer = await original(self, path, known, refresh=refresh)
        if isinstance(answer, Listing):
            return answer
        other = replace(answer.read(), path=f"{ROOT}/elsewhere")
        return replace(answer, path=other.path, read=lambda: other)

    monkeypatch.setattr(MediaTree, "list_unless_known", astray)
    assert (await stage.run()).incomplete_dirs == (5 if stage.tree.fingerprints else 0)


def edit(path: Path) -> None:
    path.write_bytes(b"http://somebody/else")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


@pytest.mark.parametrize("change", [edit, cut, Path.unlink, link])
async def test_a_file_that_somebody_changed_is_looked_at(
    stage: Stage, merged: list[str], change: Callable[[Path], None]
) -> None:
    merged.clear()
    change(stage.target / FILM)
    await stage.run()
    assert merged == ["shelf0/show0"]


async def test_content_that_changed_behind_size_and_time_is_found_by_looking_at_content(
    stage: Stage, merged: list[str]
) -> None:
    stage.spec["update"] = {"verify": "Content"}
    await stage.run()
    merged.clear()
    path = stage.target / FILM
    state = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    report = await stage.run()
    assert merged == ["shelf0/show0"]
    assert [each.reason for each in report.samples] == ["Modified"]


async def test_what_does_not_concern_us_costs_one_look_and_no_more(tmp_path: Path, merged: list[str]) -> None:
    stage = Stage(tmp_path, films(60))
    await stage.run()
    merged.clear()
    path = f"{ROOT}/shelf0/show0"
    stage.tree.times[path] = stage.clock.now()  # without sidecars nobody cares for times
    await stage.run()
    assert merged == []


@pytest.mark.parametrize("column", ["answer", "names", "numbers"])
async def test_a_row_with_something_of_another_directory_is_not_believed(
    stage: Stage, merged: list[str], column: str
) -> None:
    with closing(sqlite3.connect(stage.target / ".pantograph/manifest.sqlite")) as database, database:
        rows = dict(database.execute(f"SELECT dir, {column} FROM quiet"))
        leaves = [each for (each,) in database.execute("SELECT dir FROM quiet WHERE names <> x'' ORDER BY dir")]
        for one, other in zip(leaves, leaves[1:] + leaves[:1], strict=True):
            database.execute(f"UPDATE quiet SET {column}=? WHERE dir=?", (rows[other], one))
    before = stage.digest()
    merged.clear()
    report = await stage.run()
    assert (report.created, report.updated, report.pruned, report.skipped, report.unchanged) == (0, 0, 0, 0, 60)
    assert stage.digest() == before
    if column != "answer":  # the listing's own digest tells as much, only slower
        assert len(merged) == 6


async def test_a_film_that_came_while_the_row_was_stale_is_made(stage: Stage) -> None:
    """The row is that of before the last change, as in a manifest that was restored beside newer files."""
    file = stage.target / ".pantograph/manifest.sqlite"
    old = file.read_bytes()
    stage.tree.add(f"{ROOT}/shelf0/show0/new.mkv")
    await stage.run()
    file.write_bytes(old)
    stage.tree.remove(f"{ROOT}/shelf0/show0/film 0003.mkv")
    stage.tree.add(f"{ROOT}/shelf0/show0/newer.mkv")
    report = await stage.run()
    assert (report.created, report.updated) == (1, 0)
    assert {"shelf0/show0/new.strm", "shelf0/show0/newer.strm"} <= stage.names()
