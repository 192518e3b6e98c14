"""What is written is whole, and takes no place that somebody took in the last moment."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pantograph.strm import batch, target
from pantograph.strm.batch import Batch, Work
from pantograph.strm.manifest import Manifest
from pantograph.strm.merge import digest_of
from pantograph.strm.target import OnDisk
from pantograph.strm.writing import NotWritten, Staged, Writer
from tests.simulation.strm.bench import HOUR, ROOT, Stage, films
from tests.simulation.strm.older import announce_by_file

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


@pytest.mark.parametrize("is_new", [True, False], ids=["new directory", "old directory"])
async def test_a_file_that_could_not_be_written_is_written_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    stage = Stage(tmp_path, films(20))
    if not is_new:
        await stage.run()
        (tmp_path / FILM).unlink()
    place = Writer.place

    def refusing(writer: Writer, staged: Staged, directory: str, name: str, **more: Any) -> OnDisk:
        if name == Path(FILM).name:
            raise NotWritten("it has no room")
        return place(writer, staged, directory, name, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "place", refusing)
        patch.setattr(Writer, "make_directory", lambda *_: None)
        report = await stage.run()
    assert (report.result, report.failed) == ("Degraded", 1)
    assert (await stage.run()).created == 1
    assert len(stage.names()) == 20


@pytest.mark.parametrize("policy", ["Now", "Preserve", "Remote"])
async def test_a_time_that_no_record_can_hold_harms_nothing(tmp_path: Path, policy: str) -> None:
    """Nanoseconds since 1970 leave 64 bits in 2262; ext4 and XFS have later years, and a server may say any."""
    far = datetime(2300, 1, 1, tzinfo=UTC)
    tree = films(20).add(f"{ROOT}/shelf0/show0/far.mkv")
    tree.files[f"{ROOT}/shelf0/show0/far.mkv"].modified = far
    stage = Stage(tmp_path, tree, update={"mtimePolicy": policy})
    await stage.run()
    os.utime(tmp_path / FILM, (far.timestamp(), far.timestamp()))
    before = stage.files()
    for _ in range(3):
        report = await stage.run()
        assert (report.result, report.unchanged, stage.files()) == ("Succeeded", 21, before)
    tree.remove(f"{ROOT}/shelf0/show0/film 0003.mkv")
    for _ in range(3):
        stage.clock.seconds += 7 * HOUR
        await stage.run()
    assert FILM not in stage.names()


@pytest.mark.parametrize("unknown", [(), ("rename_anew",), ("rename_anew", "link")])
async def test_what_appears_at_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: tuple[str, ...]
) -> None:
    """`unknown`: what the file system cannot do."""
    stage = Stage(tmp_path, films(10))
    await stage.run()
    (tmp_path / FILM).unlink()
    (tmp_path / FILM).with_name("film 0004.strm").unlink()

    def before(new_name: str) -> None:
        if new_name == "film 0003.strm":
            (tmp_path / FILM).write_text("mine")

    interpose(monkeypatch, before, unknown)
    report = await stage.run()
    assert (report.created, report.failed) == (1, 1)
    assert stage.files()[FILM] == b"mine"
    assert list((tmp_path / ".pantograph/tmp").iterdir()) == []


@pytest.mark.parametrize("unknown", [(), ("rename_anew",), ("rename_anew", "link")])
async def test_a_directory_that_appears_at_the_last_moment_keeps_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: tuple[str, ...]
) -> None:
    stage = Stage(tmp_path, films(10))

    def before(new_name: str) -> None:
        if new_name == "show0":
            (tmp_path / FILM).parent.mkdir(exist_ok=True)
            (tmp_path / FILM).write_text("mine")

    interpose(monkeypatch, before, unknown)
    report = await stage.run()
    assert (report.created, report.failed) == (9, 1)
    assert stage.files()[FILM] == b"mine"
    assert list((tmp_path / ".pantograph/tmp").iterdir()) == []


def interpose(monkeypatch: pytest.MonkeyPatch, before: Callable[[str], None], unknown: tuple[str, ...]) -> None:
    """Have `before` called with every new name, by a file system that does not know how to do what is `unknown`."""
    for module, call in ((target, "rename_anew"), (os, "link")):
        original = getattr(module, call)

        def racing(
            name: str, new_name: str, call: str = call, original: Callable[..., None] = original, **places: Any
        ) -> None:
            before(new_name)
            if call in unknown:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            original(name, new_name, **places)

        monkeypatch.setattr(module, call, racing)


async def test_a_new_directory_is_never_seen_half_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_WRITES", 15)  # which ends in the middle of a directory
    stage, seen, write = Stage(tmp_path, films(30)), set[int](), os.write

    def looking(handle: int, content: bytes) -> int:
        seen.update(len(list(show.iterdir())) for show in tmp_path.glob("shelf*/show*"))
        return write(handle, content)

    monkeypatch.setattr(os, "write", looking)
    await stage.run()
    assert len(stage.names()) == 30
    assert seen == {10}


async def test_a_directory_of_very_many_files_is_taken_up_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"film {number:04}" for number in range(0, 10, 2)]
    tree = films(20)
    for name in names:
        tree.add(f"{ROOT}/shelf0/show0/{name}.nfo", content=name.encode())
    whole, parts = Stage(tmp_path / "whole", tree, sidecars={}), Stage(tmp_path / "parts", tree, sidecars={})
    await whole.run()
    monkeypatch.setattr(batch, "PAGE", 3)
    laid: list[tuple[str, int]] = []
    original = Writer.make_directory

    def make_directory(self: Writer, directory: str, links: Any) -> list[int] | None:
        laid.append((directory, len(links)))
        return original(self, directory, links)

    monkeypatch.setattr(Writer, "make_directory", make_directory)
    assert (await parts.run()).created == 25
    assert sorted(laid) == [("shelf0/show0", 3), ("shelf0/show1", 3)], "the others find it there"
    assert parts.files() == whole.files()
    assert (await parts.run()).unchanged == 25


@pytest.mark.parametrize("sidecars", [0, 10])
async def test_an_ordinary_batch_is_announced_and_stored_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sidecars: int
) -> None:
    tree, batches, original = films(50), list[int](), Batch._write
    for number in range(sidecars):
        tree.add(f"{ROOT}/shelf0/show0/{number}.nfo", content=b"text")
    monkeypatch.setattr(batch, "MAX_WRITES", 25)

    async def write(self: Batch, works: list[Work]) -> None:
        batches.append(sum(len(work.links) + len(work.sidecars) for work in works))
        await original(self, works)

    monkeypatch.setattr(Batch, "_write", write)
    assert (await Stage(tmp_path, tree, sidecars={}).run()).created == 50 + sidecars
    assert batches == ([20, 30, 10] if sidecars else [30, 20]), "sidecars fill a batch sooner"


async def test_others_have_their_turn_while_very_many_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, turns = Stage(tmp_path, films(50)), 0
    monkeypatch.setattr(batch, "TURN_S", -1.0)
    writing = asyncio.create_task(stage.run())
    original, seen = Writer.make_directory, set[int]()

    def make_directory(self: Writer, *words: Any) -> list[int] | None:
        seen.add(turns)
        return original(self, *words)

    monkeypatch.setattr(Writer, "make_directory", make_directory)
    while not writing.done():
        turns += 1
        await asyncio.sleep(0)
    assert writing.result().created == 50
    assert len(seen) == 5, "one between any two directories"


@pytest.mark.parametrize("make_older", [announce_by_file, lambda _: None], ids=["of an earlier release", ""])
async def test_what_a_killed_run_had_announced_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_older: Callable[[Path], None]
) -> None:
    class Killed(BaseException):
        pass

    stage, original = Stage(tmp_path, films(20)), Batch._write

    async def write(self: Batch, works: list[Work]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(self.manifest.files, "fulfil", die)
            await original(self, works)

    def die(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "_write", write)
        with pytest.raises(Killed):
            await stage.run()
    assert len(stage.names()) == 20
    make_older(tmp_path)
    with Manifest(tmp_path / ".pantograph/manifest.sqlite") as manifest:
        rows = manifest.select("SELECT d.local || '/' || f.name, f.intent FROM files f JOIN dirs d ON d.id = f.dir")
        assert dict(rows) == {name: digest_of(content) for name, content in stage.files().items()}


@pytest.mark.parametrize("where", ["", "shelf0"])
async def test_what_is_new_takes_its_group_from_the_directory_above(tmp_path: Path, where: str) -> None:
    group = another_group()
    above = tmp_path / where
    above.mkdir(exist_ok=True)
    os.chown(above, -1, group)
    above.chmod(0o2755)
    stage = Stage(tmp_path, films(10))
    assert (await stage.run()).created == 10
    show = (tmp_path / FILM).parent.stat()
    assert (show.st_gid, show.st_mode & 0o7777) == (group, 0o2755)


async def test_what_is_new_takes_its_access_list_from_the_directory_above(tmp_path: Path) -> None:
    # Owner rwx, user 4711 rwx, group r-x, mask rwx, others none: tag, permissions, id, as in posix_acl_xattr.h.
    entries = [(0x01, 7, -1), (0x02, 7, 4711), (0x04, 5, -1), (0x10, 7, -1), (0x20, 0, -1)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    above = tmp_path / "shelf0"
    above.mkdir()
    try:
        os.setxattr(above, "system.posix_acl_default", access)
    except OSError as error:
        pytest.skip(f"the file system of {tmp_path} holds no access lists ({error.strerror})")
    assert (await Stage(tmp_path, films(10)).run()).created == 10
    assert os.getxattr((tmp_path / FILM).parent, "system.posix_acl_default") == access


def another_group() -> int:
    """One that may be given to files, and is not the one that they get."""
    if os.geteuid() == 0:
        return 4711
    others = set(os.getgroups()) - {os.getegid()}
    if not others:
        pytest.skip("needs root, or a user of two groups")
    return others.pop()


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
        patch.setattr(target, "rename_anew", full)
        assert (await stage.run(cancelled=lambda: cancelled)).result != "Succeeded"
    assert (await stage.run()).created == 10
