"""Files come to be: written beside the tree, complete, then renamed into it. Nobody ever sees a torn or empty one.

A directory that is new comes with its files, in one rename: a media server that watches never sees it half full.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from pantograph.providers.media.below import DIRECTORY
from pantograph.providers.media.port import Entry, MediaSource
from pantograph.strm.merge import DIGEST_BYTES
from pantograph.strm.naming import STATE_DIR
from pantograph.strm.state import StateDir
from pantograph.strm.target import OnDisk, Target, look, move, time_of
from pantograph.strm.wanted import WantedFile

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE_BITS: Final = 0o7777
_DEFAULT_ACL: Final = "system.posix_acl_default"
_NEW: Final = "new"
_NEW_DIRECTORY: Final = "new.d"


class NotWritten(Exception):
    """One file was not written; the text says why."""


def write_all(handle: int, content: bytes) -> None:
    """Until all is out: near a quota, or on a network file system, one `write` may take a part only."""
    done = os.write(handle, content)
    while done < len(content):
        done += os.write(handle, memoryview(content)[done:])


class Staged(NamedTuple):
    """A content that lies beside the tree, ready to be renamed into it."""

    digest: bytes
    state: OnDisk


class Hand(Protocol):
    """Makes one file after another, or (in a dry run) only tells of it."""

    def make_directory(self, directory: str, links: Sequence[WantedFile]) -> list[int] | None:
        """Make the new `directory` with these `.strm`, all at once; the time of each, in ns. None: only one by one."""
        ...

    def stage(self, content: bytes, digest: bytes) -> Staged:
        """Have `content`, of that digest, ready beside the tree."""
        ...

    async def fetch(self, source: MediaSource, entry: Entry) -> Staged:
        """Have a remote file's content ready beside the tree. Raises NotWritten if it is not as it was listed."""
        ...

    def discard(self) -> None:
        """Drop what is ready, if anything is."""
        ...

    def place(self, staged: Staged, directory: str, name: str, *, expected: OnDisk | None, remote: Entry) -> OnDisk:
        """Give it its name, whose state must still be `expected`; how it lies there. Raises NotWritten, OSError."""
        ...


class Writer:
    """The hand that writes into one target."""

    def __init__(
        self,
        target: Target,
        state: StateDir,
        *,
        file_mode: int,
        mtime_policy: Literal["Now", "Preserve", "Remote"],
        max_bytes: int,
    ) -> None:
        """`max_bytes`: a sidecar that turns out larger is not copied."""
        self._target = target
        self._tmp = state.tmp_fd
        self._mode = file_mode
        self._mtime_policy = mtime_policy
        self._max_bytes = max_bytes
        self._heritage = _heritage(self._tmp)

    def make_directory(self, directory: str, links: Sequence[WantedFile]) -> list[int] | None:
        """Lay it beside the tree, whole, and rename it to its place, where nothing is.

        None if that fails, and nothing was made: one by one the files may succeed, or it turns out which does not.
        """
        if directory.split("/", 1)[0] == STATE_DIR:
            return None
        parent, _, name = directory.rpartition("/")
        try:
            above = self._target.open(parent, make=True)
            assert above is not None, "made"
            if _heritage(above) != self._heritage:
                return None
            times = self._stage_directory(links)
            move(_NEW_DIRECTORY, name, source=self._tmp, directory=above)
        except (NotWritten, OSError):
            shutil.rmtree(_NEW_DIRECTORY, ignore_errors=True, dir_fd=self._tmp)
            return None
        return times

    def _stage_directory(self, links: Sequence[WantedFile]) -> list[int]:
        os.mkdir(_NEW_DIRECTORY, 0o700, dir_fd=self._tmp)
        fd = os.open(_NEW_DIRECTORY, DIRECTORY, dir_fd=self._tmp)
        try:
            times = [self._lay(link.name, link.text, fd, self._time_for(None, link.entry)) for link in links]
            self._target.open_up(fd)
        finally:
            os.close(fd)
        return times

    def stage(self, content: bytes, digest: bytes) -> Staged:
        """Lay `content` beside the tree."""
        return Staged(digest, OnDisk(True, len(content), self._lay(_NEW, content, self._tmp, None)))

    async def fetch(self, source: MediaSource, entry: Entry) -> Staged:
        """Lay a remote file's content beside the tree. Raises NotWritten if it is not of the size that was listed."""
        digest, size = hashlib.blake2b(digest_size=DIGEST_BYTES), 0
        handle = os.open(_NEW, _CREATE, self._mode, dir_fd=self._tmp)
        try:
            pieces: AsyncIterator[bytes] = source.read(entry)
            async for piece in pieces:
                size += len(piece)
                if size > self._max_bytes:
                    raise NotWritten(f"larger than {self._max_bytes} bytes")
                write_all(handle, piece)
                digest.update(piece)
            mtime_ns = self._seal(handle, size)
        finally:
            os.close(handle)
        if size != entry.size_bytes:
            raise NotWritten(f"{size} bytes came, {entry.size_bytes} were listed")
        return Staged(digest.digest(), OnDisk(True, size, mtime_ns))

    def discard(self) -> None:
        """Drop what lies beside the tree, if anything does."""
        try:
            os.unlink(_NEW, dir_fd=self._tmp)
        except FileNotFoundError:
            return

    def place(self, staged: Staged, directory: str, name: str, *, expected: OnDisk | None, remote: Entry) -> OnDisk:
        """Rename it to `name` in `directory`, whose state must still be `expected`. Raises NotWritten, OSError.

        What appears under a name that nothing had is not replaced, not even in the last moment.
        """
        if directory.split("/", 1)[0] == STATE_DIR:
            raise NotWritten(f"{STATE_DIR} is our own directory")
        fd = self._target.open(directory, make=True)
        assert fd is not None, "made"
        found = look(fd, name) if expected is not None else None  # where nothing is expected, `_move` replaces nothing
        if found != expected:
            raise NotWritten("it changed while it was about to be written; the next run looks again")
        time = self._time_for(found, remote)
        if time is not None:  # before the rename, so that nobody sees another one
            os.utime(_NEW, ns=(time, time), dir_fd=self._tmp, follow_symlinks=False)
        if found is None:
            self._move(name, fd)
        else:
            os.rename(_NEW, name, src_dir_fd=self._tmp, dst_dir_fd=fd)
        if time is None:
            return staged.state
        state = look(fd, name)
        if state is None:
            raise NotWritten("somebody removed it at once")
        return state

    def _move(self, name: str, directory: int) -> None:
        try:
            move(_NEW, name, source=self._tmp, directory=directory)
        except FileExistsError as error:
            raise NotWritten("it appeared while it was about to be written; the next run looks again") from error

    def _lay(self, name: str, content: bytes, directory: int, time: int | None) -> int:
        """Its time of modification, in nanoseconds: `time`, or None: that of its writing."""
        handle = os.open(name, _CREATE, self._mode, dir_fd=directory)
        try:
            write_all(handle, content)
            if time is not None:
                os.utime(handle, ns=(time, time))
            return self._seal(handle, len(content))
        finally:
            os.close(handle)

    def _seal(self, handle: int, size: int) -> int:
        """All of it is there, with the mode that was wanted whatever the umask says; its time. Raises NotWritten."""
        state = os.fstat(handle)
        if state.st_size != size:
            raise NotWritten(f"{size} bytes were written, {state.st_size} are there")
        if state.st_mode & _MODE_BITS != self._mode:
            os.fchmod(handle, self._mode)
        return time_of(state)

    def _time_for(self, found: OnDisk | None, remote: Entry) -> int | None:
        """The file's time, by the policy, in nanoseconds; None: that of its writing."""
        if self._mtime_policy == "Preserve" and found is not None:
            return found.mtime_ns
        if self._mtime_policy == "Remote" and remote.modified is not None:
            return int(remote.modified.timestamp() * 1e9)
        return None


def _heritage(directory: int) -> tuple[int | None, bytes]:
    """What is made in the directory takes from it: its group, and its access list."""
    state = os.fstat(directory)
    try:
        access = os.getxattr(directory, _DEFAULT_ACL)
    except OSError:  # it has none, or its file system knows none
        access = b""
    return (state.st_gid if state.st_mode & stat.S_ISGID else None), access
