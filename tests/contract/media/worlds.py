"""A source of each kind with something real or faithful behind it, and the same verbs over all of them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import aiohttp
from yarl import URL

from pantograph.clock import Clock, SystemClock
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.clouddrive2 import CloudDrive2
from pantograph.providers.media.local import Local
from pantograph.providers.media.openlist import OpenList
from pantograph.providers.media.port import MediaSource
from pantograph.providers.media.settings import LocalSettings, ServerSettings
from pantograph.providers.media.webdav import WebDav
from tests.fakes import clouddrive2, openlist
from tests.fakes.library import Library
from tests.fakes.openlist.accounts import User
from tests.machine import require_command

USER, PASSWORD = "kodi", "secret"


class Shelf(Protocol):
    """Where the world's files are put."""

    def put(self, path: str, content: bytes = b"x") -> None: ...

    def mkdir(self, path: str) -> None: ...

    def remove(self, path: str) -> None: ...


class World:
    """`shelf` to change what is there, `source` to look at it."""

    def __init__(self, source: MediaSource, shelf: Shelf, bucket: RateBucket | None = None) -> None:
        self.source = source
        self.shelf = shelf
        self.bucket = bucket

    async def names(self, path: str) -> list[str]:
        return sorted(entry.name for entry in (await self.source.list(path)).entries)


class Folder:
    """A real tree."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: str, content: bytes = b"x") -> None:
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def mkdir(self, path: str) -> None:
        self._at(path).mkdir(parents=True, exist_ok=True)

    def remove(self, path: str) -> None:
        target = self._at(path)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")


class CachedFolder(Folder):
    """A real tree behind rclone, which is told to forget what it has seen after every change."""

    def __init__(self, root: Path, control: str) -> None:
        super().__init__(root)
        self._control = control

    def put(self, path: str, content: bytes = b"x") -> None:
        super().put(path, content)
        self._forget()

    def mkdir(self, path: str) -> None:
        super().mkdir(path)
        self._forget()

    def remove(self, path: str) -> None:
        super().remove(path)
        self._forget()

    def _forget(self) -> None:
        urllib.request.urlopen(f"{self._control}/vfs/forget", data=b"", timeout=10).close()


def bucket(clock: Clock | None = None, **limits: float) -> RateBucket:
    """Fast enough for tests, unless they say otherwise."""
    return RateBucket(
        "the server", clock or SystemClock(), Random(1), per_second=limits.get("per_second", 10_000), burst=100
    )


def secret(directory: Path, **values: str) -> Path:
    """A mounted Secret."""
    directory.mkdir(parents=True, exist_ok=True)
    for key, value in values.items():
        (directory / key).write_text(value)
    return directory


def settings(tmp_path: Path, endpoint: str, **secrets: str) -> ServerSettings:
    """Those of the user, unless other `secrets` are named."""
    directory = secret(tmp_path / "secret", **(secrets or {"username": USER, "password": PASSWORD}))
    return ServerSettings(name="DataServer media/server", endpoint=endpoint, credentials=directory, list_timeout_s=20)


@asynccontextmanager
async def openlist_world(tmp_path: Path) -> AsyncIterator[World]:
    fake = openlist.FakeOpenList()
    fake.accounts.add(User(USER, PASSWORD))
    shared = bucket()
    async with openlist.serving(fake):
        source = OpenList(settings(tmp_path, fake.base_url), bucket=shared, clock=SystemClock())
        assert isinstance(fake.library, Library)
        yield World(source, fake.library, shared)
        await source.close()


@asynccontextmanager
async def clouddrive2_world(tmp_path: Path) -> AsyncIterator[World]:
    fake = clouddrive2.FakeCloudDrive2()
    shared = bucket()
    async with clouddrive2.serving(fake):
        source = CloudDrive2(settings(tmp_path, fake.base_url), bucket=shared, clock=SystemClock())
        assert isinstance(fake.library, Library)
        yield World(source, fake.library, shared)
        await source.close()


@asynccontextmanager
async def local_world(tmp_path: Path) -> AsyncIterator[World]:
    root = tmp_path / "media"
    root.mkdir()
    source = Local(LocalSettings(name="DataServer media/disk", root=root), clock=SystemClock())
    yield World(source, Folder(root))
    await source.close()


@dataclass(frozen=True, slots=True)
class Rclone:
    """A real WebDAV server, with a password and below a sub-path."""

    root: Path
    address: str
    control: str

    @asynccontextmanager
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        """A folder of its own on it."""
        shelf = CachedFolder(self.root / tmp_path.name, self.control)
        shelf.mkdir("/")
        shared = bucket()
        source = WebDav(settings(tmp_path, f"{self.address}/{tmp_path.name}"), bucket=shared, clock=SystemClock())
        yield World(source, shelf, shared)
        await source.close()


@contextmanager
def rclone_webdav(root: Path) -> Iterator[Rclone]:
    """`rclone serve webdav` of `root`."""
    rclone = require_command("rclone", package="rclone")
    address, control = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    process = subprocess.Popen(
        [rclone, "serve", "webdav", root, "--addr", address, "--baseurl", "dav",
         "--rc", "--rc-addr", control, "--rc-no-auth"],
        env=os.environ | {"RCLONE_USER": USER, "RCLONE_PASS": PASSWORD, "RCLONE_CONFIG": "/dev/null"},
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        while b"Server started" not in (line := process.stderr.readline()):
            assert line, "rclone ended before it served"
        yield Rclone(root, f"http://{address}/dav", f"http://{control}")
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def fetch(url: str, **headers: str) -> bytes:
    """What a player gets at `url`, which it takes as it is written."""
    async with aiohttp.ClientSession() as session, session.get(URL(url, encoded=True), headers=headers) as answer:
        assert answer.status == 200, f"{url}: {answer.status} {await answer.text()}"
        return await answer.read()
