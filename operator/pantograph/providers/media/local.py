"""A folder of this machine, which may be a network or FUSE mount, and then may be gone and look empty, or hang.

Whatever asks the kernel about the folder does so in a thread of the driver's own, within `LocalSettings.list_timeout_s`
(a hung mount answers neither with success nor with an error, and its threads cannot be stopped). So it holds at most
`LocalSettings.concurrent` threads, and nobody who shares the event loop or its default threads. Once it holds all of
them, every further call fails at once, until one comes back.

Nothing is followed out of the root: every directory is opened from its parent, and a link is only what it leads to
when that is a file below the root.
"""

from __future__ import annotations

import errno
import os
import stat as statmodes
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

from pantograph.clock import Clock
from pantograph.providers.errors import NotFound, ProviderError, Rejected, Unreachable
from pantograph.providers.executor import CallExecutor, CallNotFinished
from pantograph.providers.media.below import device, opened_below
from pantograph.providers.media.local_watch import sees_nothing, watch_folder
from pantograph.providers.media.polling import poll_tree
from pantograph.providers.media.port import (
    Capabilities,
    Entry,
    Hint,
    Link,
    Listing,
    ServerInfo,
    SignMode,
    Skipped,
    join,
    name_fault,
    parent_of,
)
from pantograph.providers.media.settings import LocalSettings

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not to wait for whoever writes into a pipe
_PIECE_BYTES = 1 << 20

T = TypeVar("T")


class _File(NamedTuple):
    """Tells a file from the one that has taken its place; not by inode, which some FUSE mounts number anew."""

    size: int
    mtime_ns: int


class Local:
    """Asks the kernel in threads of its own, for a network mount may hang."""

    OF_ANY: ClassVar = Capabilities(
        watch=True, http=False, mount=True, pickcode=False, sign=False, proves_complete_listing=True
    )
    """What can be had from a folder, whichever it is."""

    def __init__(self, settings: LocalSettings, *, clock: Clock) -> None:
        self._name = settings.name
        self._root = settings.root
        self._above = settings.above or settings.root
        self._sentinel = settings.sentinel and "/".join(_segments(settings.sentinel))
        self._holds_volume = settings.holds_volume
        self._volume: str | None = None
        self._directory_times = False
        self._poll_interval_s = settings.poll_interval_s
        self._list_timeout_s = settings.list_timeout_s
        self._calls = CallExecutor("local", size=settings.concurrent)
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        """`directory_times` is known once `test_connection` has looked at the folder."""
        return replace(self.OF_ANY, directory_times=self._directory_times)

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        return await self._in_time(partial(self._list, path))

    async def stat(self, path: str) -> Entry:
        return await self._in_time(partial(self._stat, path))

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        watching = watch_folder(
            self._root.joinpath(*_segments(path)),
            path,
            mount_fault=self._mount_fault,
            is_blind=self._is_blind,
            poll=partial(poll_tree, self.list, path, clock=self._clock, interval_s=self._poll_interval_s),
            clock=self._clock,
        )
        async with aclosing(watching) as hints:
            async for hint in hints:
                yield hint

    def link(self, entry: Entry, *, sign: SignMode = SignMode.FROM_LISTING) -> Link:
        if sign is SignMode.COMPUTE:
            raise Rejected(f"{self._name} is a folder; there is nothing to sign")
        return Link(entry.path, mount_prefix=str(self._root))

    async def read(self, entry: Entry) -> AsyncIterator[bytes]:
        done, first = 0, None
        while True:
            piece, file = await self._in_time(partial(self._piece, entry.path, done))
            if file != (first := first or file):
                raise Unreachable(f"{self._name}: {entry.path} was replaced while it was read")
            if piece:
                yield piece
            done += len(piece)
            if not piece or done >= file.size:
                return

    async def test_connection(self) -> ServerInfo:
        volume = await self._in_time(self._look)
        notes = []
        if self._sentinel is None:
            notes.append(
                "no sentinel file is named: only the device's number tells the mounted volume from an empty folder,"
                " and network mounts get another number each time"
            )
        return ServerInfo(product="Local", version="", logged_in=True, volume=volume, notes=tuple(notes))

    async def close(self) -> None:
        """Waits for nothing that hangs."""
        self._calls.close()

    async def _in_time(self, call: Callable[[], T]) -> T:
        """What the call returns or raises. Raises `Unreachable` (reason `MountHung`) if that does not come in time."""
        if self._calls.is_stuck:
            raise self._hung("what was asked before has not come back")
        try:
            return await self._calls.run(call, timeout_s=self._list_timeout_s)
        except CallNotFinished as fault:
            raise self._hung(str(fault)) from None

    def _look(self) -> str:
        """The volume that is there; what lies behind a network or FUSE mount may be a cloud, with times of its own."""
        volume = self._ensure_mounted()
        self._directory_times = not sees_nothing(self._root)
        return volume

    def _list(self, path: str) -> Listing:
        before = self._ensure_mounted()
        entries: list[Entry] = []
        skipped: list[Skipped] = []
        with self._opened(path) as fd, os.scandir(fd) as found:
            device = os.fstat(fd).st_dev
            for item in found:
                fault = name_fault(item.name)
                entry = None if fault else self._entry(path, item.name, fd, device)
                if entry is None:
                    skipped.append(Skipped(item.name, fault or "neither a file nor a directory below the root"))
                else:
                    entries.append(entry)
        # Unmounted in between, the folder underneath would have been read to its end just as well.
        if self._ensure_mounted() != before:
            raise Unreachable(f"{self._name}: {self._root} was mounted anew while it was read", reason="MountMissing")
        how = f"sentinel {self._sentinel} is there" if self._sentinel else f"device {before} holds"
        return Listing(path, tuple(entries), complete=True, why=f"read to its end; {how}", skipped=tuple(skipped))

    def _stat(self, path: str) -> Entry:
        self._ensure_mounted()
        if path == "/":
            return Entry("", "/", is_dir=True)
        parent, name = parent_of(path), path.rpartition("/")[2]
        with self._opened(parent) as fd:
            entry = self._entry(parent, name, fd, os.fstat(fd).st_dev)
        if entry is None:
            raise NotFound(f"{self._name}: there is no {path}")
        return entry

    def _entry(self, parent: str, name: str, parent_fd: int, device: int) -> Entry | None:
        """None for what is not ours to see: gone meanwhile, a socket, a link to somewhere else."""
        try:
            seen = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            if statmodes.S_ISLNK(seen.st_mode):
                seen = self._link_target(parent, name)
        except FileNotFoundError:
            return None
        is_dir = statmodes.S_ISDIR(seen.st_mode)
        if not is_dir and not statmodes.S_ISREG(seen.st_mode):
            return None
        return Entry(
            name,
            parent,
            is_dir,
            size_bytes=None if is_dir else seen.st_size,
            modified=datetime.fromtimestamp(seen.st_mtime, UTC),
            is_mount=is_dir and seen.st_dev != device,
        )

    def _link_target(self, parent: str, name: str) -> os.stat_result:
        """What a link leads to. Raises FileNotFoundError unless that is a file below the root: no loops, no way out."""
        target = Path(os.path.realpath(self._root.joinpath(*_segments(join(parent, name)))))
        if not target.is_relative_to(os.path.realpath(self._root)):
            raise FileNotFoundError
        seen = target.stat(follow_symlinks=False)
        if not statmodes.S_ISREG(seen.st_mode):
            raise FileNotFoundError
        return seen

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """The directory, reached without a link on the way; its faults typed, also those of reading it inside."""
        try:
            with opened_below(self._above, self._root.joinpath(*_segments(path))) as fd:
                yield fd
        except OSError as error:
            raise self._error(path, error) from error

    def _piece(self, path: str, offset: int) -> tuple[bytes, _File]:
        """Opened for each piece anew: nothing stays open that would hang when it is closed."""
        fd = self._open_file(path)
        try:
            seen = os.fstat(fd)
            if not statmodes.S_ISREG(seen.st_mode):
                raise NotFound(f"{self._name}: {path} is no file any more")
            return os.pread(fd, _PIECE_BYTES, offset), _File(seen.st_size, seen.st_mtime_ns)
        except OSError as error:
            raise self._error(path, error) from error
        finally:
            os.close(fd)

    def _open_file(self, path: str) -> int:
        entry = self._stat(path)
        if entry.is_dir:
            raise Rejected(f"{self._name}: {path} is a directory")
        # A link is what it leads to, reached from the root as everything is: what was seen may have changed.
        leads_to = Path(os.path.realpath(self._root.joinpath(*_segments(path))))
        try:
            place = leads_to.relative_to(os.path.realpath(self._root))
        except ValueError:
            raise NotFound(f"{self._name}: {path} leads out of the folder") from None
        with self._opened("/".join(place.parts[:-1])) as folder:
            return os.open(place.name, _FILE, dir_fd=folder)

    async def _is_blind(self) -> bool:
        return await self._in_time(lambda: sees_nothing(self._root))

    async def _mount_fault(self) -> str | None:
        """None while the volume is there, or what is wrong."""
        try:
            await self._in_time(self._ensure_mounted)
        except ProviderError as error:
            return error.message
        return None

    def _ensure_mounted(self) -> str:
        """The volume that is there. Raises `Unreachable` (reason `MountMissing`) unless it is the real one."""
        try:
            with opened_below(self._above, self._root) as fd:
                volume = device(fd)
            if self._sentinel is not None:
                sentinel = self._root / self._sentinel
                with opened_below(self._above, sentinel.parent) as fd:
                    os.stat(sentinel.name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            what = f"{self._root} cannot be read" if self._sentinel is None else f"{self._sentinel} is not there"
            raise self._missing(f"{what} ({error.strerror})") from error
        if self._holds_volume and self._sentinel is None:
            self._volume = self._volume or volume
            if volume != self._volume:
                raise self._missing(f"it lies on device {volume}, and lay on {self._volume}")
        return volume

    def _missing(self, fault: str) -> Unreachable:
        return Unreachable(
            f"{self._name}: {self._root} does not hold the volume: {fault}",
            reason="MountMissing",
            remedy=f"findmnt --target {self._root}; then mount it, or name a sentinel file that is on the volume",
        )

    def _hung(self, fault: str) -> Unreachable:
        return Unreachable(
            f"{self._name}: the mount of {self._root} does not answer: {fault}",
            reason="MountHung",
            remedy="findmnt shows what is mounted there: bring back what serves it, or umount --lazy and mount it anew",
        )

    def _error(self, path: str, error: OSError) -> ProviderError:
        if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno == errno.ELOOP:
            return NotFound(f"{self._name}: there is no directory {path} ({error.strerror})")
        return Unreachable(f"{self._name}: {path} cannot be read: {error.strerror}")


def _segments(path: str) -> tuple[str, ...]:
    """The names on the way. Raises `Rejected` for one that leads elsewhere."""
    names = tuple(name for name in path.split("/") if name)
    if any(name_fault(name) for name in names):
        raise Rejected(f"{path!r} is no path in a source")
    return names
