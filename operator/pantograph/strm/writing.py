"""Files come to be: written beside the tree, complete, then renamed into it. Nobody ever sees a torn or empty one."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncIterator
from typing import Final, Literal, NamedTuple, Protocol

from pantograph.providers.media.port import Entry, MediaSource
from pantograph.strm.merge import DIGEST_BYTES
from pantograph.strm.naming import STATE_DIR
from pantograph.strm.state import StateDir
from pantograph.strm.target import OnDisk, Target, look, move

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = "new"


class NotWritten(Exception):
    """One file was not written; the text says why."""


def write_all(handle: int, content: bytes) -> None:
    """Until all is out: near a quota, or on a network file system, one `write` may take a part only."""
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]


class Staged(NamedTuple):
    """A content that lies beside the tree, ready to be renamed into it."""

    digest: bytes
    state: OnDisk


class Hand(Protocol):
    """Makes one file after another, or (in a dry run) only tells of it."""

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

    def stage(self, content: bytes, digest: bytes) -> Staged:
        """Lay `content` beside the tree."""
        handle = os.open(_NEW, _CREATE, self._mode, dir_fd=self._tmp)
        try:
            write_all(handle, content)
            state = self._seal(handle, len(content))
        finally:
            os.close(handle)
        return Staged(digest, OnDisk(True, len(content), state.st_mtime_ns))

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
            state = self._seal(handle, size)
        finally:
            os.close(handle)
        if size != entry.size_bytes:
            raise NotWritten(f"{size} bytes came, {entry.size_bytes} were listed")
        return Staged(digest.digest(), OnDisk(True, size, state.st_mtime_ns))

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
        is_set = self._set_time(found, remote)
        if found is None:
            self._move(name, fd)
        else:
            os.rename(_NEW, name, src_dir_fd=self._tmp, dst_dir_fd=fd)
        if not is_set:
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

    def _seal(self, handle: int, size: int) -> os.stat_result:
        """All of it is there, with the mode that was wanted whatever the umask says; its state. Raises NotWritten."""
        state = os.fstat(handle)
        if state.st_size != size:
            raise NotWritten(f"{size} bytes were written, {state.st_size} are there")
        if stat.S_IMODE(state.st_mode) != self._mode:
            os.fchmod(handle, self._mode)
        return state

    def _set_time(self, found: OnDisk | None, remote: Entry) -> bool:
        """The file's time, by the policy; before the rename, so that nobody sees another one. False: it stays."""
        if self._mtime_policy == "Preserve" and found is not None:
            time = found.mtime_ns
        elif self._mtime_policy == "Remote" and remote.modified is not None:
            time = int(remote.modified.timestamp() * 1e9)
        else:
            return False
        os.utime(_NEW, ns=(time, time), dir_fd=self._tmp, follow_symlinks=False)
        return True
