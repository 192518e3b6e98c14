"""A folder that may be a mount: gone, it looks empty; and nothing in it leads out of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from pantograph.clock import SystemClock
from pantograph.providers.errors import NotFound, ProviderError, Rejected, Unreachable
from pantograph.providers.media.links import mount_line
from pantograph.providers.media.local import Local
from pantograph.providers.media.local_watch import sees_nothing
from pantograph.providers.media.port import Hint, HintKind
from pantograph.providers.media.settings import LocalSettings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "media"
    (found / "Movies").mkdir(parents=True)
    (found / "Movies" / "Heat.mkv").write_bytes(b"x")
    (found / ".volume").touch()
    return found


@pytest.fixture
def with_sentinel(root: Path) -> LocalSettings:
    return LocalSettings(name="DataServer media/disk", root=root, sentinel=".volume")


async def test_without_its_sentinel_a_folder_is_unreachable_and_never_empty(
    root: Path, with_sentinel: LocalSettings
) -> None:
    source = Local(with_sentinel, clock=SystemClock())
    assert (await source.list("/Movies")).complete
    (root / ".volume").unlink()
    for path in ("/", "/Movies"):
        with pytest.raises(Unreachable) as caught:
            await source.list(path)
        assert caught.value.reason == "MountMissing"
        assert caught.value.remedy is not None
        assert caught.value.remedy.startswith(f"findmnt --target {root}")


async def test_a_sentinel_lies_in_the_folder_and_no_link_leads_to_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Rejected):
        Local(LocalSettings(name="disk", root=root, sentinel="../elsewhere/file"), clock=SystemClock())
    linked = Local(LocalSettings(name="disk", root=root, sentinel="link/file"), clock=SystemClock())
    with pytest.raises(Unreachable):
        await linked.list("/")
    deeper = Local(LocalSettings(name="disk", root=root, sentinel="Movies/Heat.mkv"), clock=SystemClock())
    assert (await deeper.list("/")).complete


@pytest.mark.parametrize("holds", [True, False])
async def test_only_who_holds_to_a_volume_refuses_another_device_in_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    settings = LocalSettings(name="DataServer media/disk", root=root, holds_volume=holds)
    source = Local(settings, clock=SystemClock())
    volume = (await source.test_connection()).volume
    assert (await source.list("/")).complete
    monkeypatch.setattr("pantograph.providers.media.local.device", lambda _: "beef")
    if not holds:
        assert (await source.list("/")).complete
        return
    with pytest.raises(Unreachable, match=f"lies on device beef, and lay on {volume}"):
        await source.list("/")


async def test_a_root_that_is_gone_is_unreachable(root: Path) -> None:
    source = Local(LocalSettings(name="DataServer media/disk", root=root / "gone"), clock=SystemClock())
    with pytest.raises(Unreachable):
        await source.list("/")


async def test_a_directory_that_may_not_be_read_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())

    def refuse(_: int) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(Unreachable, match="Permission denied"):
        await source.list("/Movies")


async def test_links_that_lead_out_are_left_out_and_those_to_files_inside_are_files(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.mkv").write_bytes(b"secret")
    movies = root / "Movies"
    (movies / "out.mkv").symlink_to(tmp_path / "secret.mkv")
    (movies / "up").symlink_to("..")
    (movies / "etc").symlink_to("/etc")
    (movies / "broken.mkv").symlink_to("nowhere")
    (movies / "same.mkv").symlink_to("Heat.mkv")
    os.mkfifo(movies / "pipe.mkv")
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    listing = await source.list("/Movies")
    assert sorted(entry.name for entry in listing.entries) == ["Heat.mkv", "same.mkv"]
    assert sorted(skipped.name for skipped in listing.skipped) == ["broken.mkv", "etc", "out.mkv", "pipe.mkv", "up"]
    for path in ("/Movies/etc", "/Movies/up", "/Movies/up/Movies"):
        with pytest.raises(NotFound):
            await source.list(path)
    with pytest.raises(ProviderError):
        await source.stat("/Movies/out.mkv")


@pytest.mark.parametrize("path", ["/..", "/Movies/../..", "/Movies/.", "/a\0b"])
async def test_a_path_that_leads_elsewhere_is_refused(root: Path, path: str) -> None:
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    with pytest.raises(Rejected):
        await source.list(path)


@pytest.mark.parametrize("swap", ["link", "pipe"])
async def test_what_is_swapped_between_look_and_read_is_neither_followed_nor_waited_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    film, resolve = root / "Movies/Heat.mkv", os.path.realpath
    (tmp_path / "secret").write_bytes(b"secret")

    def swapping(path: Path) -> str:
        found = resolve(path)
        if path == film:
            film.unlink()
            if swap == "link":
                film.symlink_to(tmp_path / "secret")
            else:
                os.mkfifo(film)
        return found

    monkeypatch.setattr(os.path, "realpath", swapping)
    pieces = source.read(await source.stat("/Movies/Heat.mkv"))
    with pytest.raises(NotFound):
        await anext(pieces)


async def test_names_that_are_not_utf8_are_left_out_and_told(root: Path) -> None:
    (Path(os.fsencode(root).decode()) / os.fsdecode(b"\xff\xfe.mkv")).touch()
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    listing = await source.list("/")
    assert [skipped.why for skipped in listing.skipped] == ["is not UTF-8"]


async def test_a_link_is_the_path_of_the_file(root: Path) -> None:
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    entry = await source.stat("/Movies/Heat.mkv")
    assert mount_line(source.link(entry)) == str(root / "Movies" / "Heat.mkv")
    assert mount_line(source.link(entry), mount_prefix="/mnt/media/") == "/mnt/media/Movies/Heat.mkv"


@pytest.mark.parametrize("polling", [False, True])
async def test_changes_are_heard_as_they_happen(root: Path, polling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if polling:
        monkeypatch.setattr("pantograph.providers.media.local.sees_nothing", lambda _: True)
    settings = LocalSettings(name="DataServer media/disk", root=root, poll_interval_s=0.1)
    watch = Local(settings, clock=SystemClock()).watch("/Movies")
    async with asyncio.timeout(30):
        assert (await anext(watch)).kind is HintKind.RESCAN
        (root / "elsewhere.mkv").touch()
        (root / "Movies" / "new.mkv").touch()
        assert await heard(watch, HintKind.CHANGED) == "/Movies/new.mkv"
        (root / "Movies" / "Heat.mkv").unlink()
        assert await heard(watch, HintKind.DELETED) == "/Movies/Heat.mkv"
    await close(watch)


async def test_a_volume_that_goes_is_heard_as_lost_and_its_return_as_a_rescan(
    root: Path, with_sentinel: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pantograph.providers.media.local_watch._RETRY_S", 0.05)
    watch = Local(with_sentinel, clock=SystemClock()).watch("/")
    async with asyncio.timeout(30):
        assert (await anext(watch)).kind is HintKind.RESCAN
        (root / ".volume").unlink()
        assert await heard(watch, HintKind.LOST) == "/"
        (root / ".volume").touch()
        assert await heard(watch, HintKind.RESCAN) == "/"
    await close(watch)


def test_the_kernel_is_trusted_on_disks_and_not_on_network_file_systems(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 22 0:50 / {tmp_path}/nas rw - nfs4 nas:/media rw\n"
        f"24 22 0:51 / {tmp_path}/my\\040cloud rw shared:1 - fuse.rclone cloud: rw\n"
        f"25 23 8:2 / {tmp_path}/nas/disk rw - xfs /dev/sdb1 rw\n"
    )
    assert not sees_nothing(tmp_path / "films", mounts)
    assert sees_nothing(tmp_path / "nas" / "films", mounts)
    assert sees_nothing(tmp_path / "my cloud", mounts)
    assert not sees_nothing(tmp_path / "nas" / "disk", mounts)


async def test_what_the_times_of_directories_tell_is_known_once_the_folder_was_looked_at(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    assert not source.capabilities.directory_times
    await source.test_connection()
    assert source.capabilities.directory_times
    monkeypatch.setattr("pantograph.providers.media.local.sees_nothing", lambda _: True)
    await source.test_connection()
    assert not source.capabilities.directory_times


async def test_a_large_file_comes_whole_and_never_in_pieces_of_two_files(root: Path) -> None:
    film, content = root / "Movies/Heat.mkv", os.urandom((2 << 20) + 1)
    film.write_bytes(content)
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    entry = await source.stat("/Movies/Heat.mkv")
    assert b"".join([piece async for piece in source.read(entry)]) == content
    pieces = source.read(entry)
    await anext(pieces)
    film.write_bytes(content + b"more")
    with pytest.raises(Unreachable, match="was replaced while it was read"):
        await anext(pieces)


async def test_an_empty_file_is_read_as_one(root: Path) -> None:
    (root / "empty.nfo").touch()
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    assert [piece async for piece in source.read(await source.stat("/empty.nfo"))] == []


async def heard(watch: AsyncIterator[Hint], kind: HintKind) -> str:
    """The path of the next hint of that kind."""
    while (hint := await anext(watch)).kind is not kind:
        pass
    return hint.path


async def close(watch: AsyncIterator[Hint]) -> None:
    assert isinstance(watch, AsyncGenerator)
    await watch.aclose()
