"""The target tree by file descriptors: every path is opened segment by segment from the root, following no link.

So neither a symbolic link in the tree nor `..` in a name can lead a write or a removal outside, whatever happens to the
tree between two calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from pantograph.providers.media.below import DIRECTORY, open_below
from pantograph.strm.errors import StrmError

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MAX_STRM_BYTES: Final = 64 * 1024
"""A larger `.strm` is none."""
_LAST_NS: Final = 2**63 - 1
_NOREPLACE: Final = 1
"""RENAME_NOREPLACE of `linux/fs.h`."""
_UNKNOWN: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system, or a kernel, answers that cannot rename so."""
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES)


class Obstructed(OSError):
    """Something that is no directory of the tree (a link, a file) stands where a directory should be."""


class OnDisk(NamedTuple):
    """A name in a directory as `lstat` sees it."""

    regular: bool
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, state: os.stat_result) -> Self:
        return cls(stat.S_ISREG(state.st_mode), state.st_size, time_of(state))


def time_of(state: os.stat_result) -> int:
    """When it was modified, in nanoseconds. A time that SQLite cannot hold (after 2262) is the last that it can."""
    return min(state.st_mtime_ns, _LAST_NS)


class Target:
    """Directories below one root. Not for threads: the last chain of directories is kept open."""

    def __init__(self, root: Path, *, above: Path | None = None, dir_mode: int = 0o755) -> None:
        """Raises StrmError if `root` is no directory, or a link stands between it and its volume `above`.

        `above` itself, or `root` if it is None, may be a link: the person named it.
        """
        self.root = root
        self._dir_mode = dir_mode
        try:
            self.fd = open_below(above or root, root)
        except OSError as error:
            raise StrmError(
                "TargetUnusable",
                f"target {root} cannot be opened: {error.strerror}",
                remedy=f"mkdir -p {root}"
                if error.errno == errno.ENOENT
                else f"namei -l {root} shows what stands there",
            ) from error
        self.is_remote = os.major(os.fstat(self.fd).st_dev) == 0
        """Without a block device (NFS and its like): states may come from a cache, contents are asked for anew."""
        self._chain: list[tuple[str, int]] = []
        """Open directories, each in the one before it; paths end with a slash."""
        self._path: str | None = None
        """What the chain leads to, if it was asked for last."""

    def close(self) -> None:
        self._unchain("")
        os.close(self.fd)

    def forget(self) -> None:
        """Open everything anew from here on: directories may have been removed."""
        self._unchain("")

    def open(self, path: str, *, make: bool = False) -> int | None:
        """The directory `path` (relative, `""` the root), valid until the next call; None if there is none.

        `make`: make it, and its parents. Raises Obstructed.
        """
        if path == self._path:
            return self._chain[-1][1]
        self._unchain(f"{path}/")
        above, fd = self._chain[-1] if self._chain else ("", self.fd)
        rest = path[len(above) :]
        for segment in rest.split("/") if rest else ():
            opened = self._step(fd, segment, make=make)
            if opened is None:
                return None
            above, fd = f"{above}{segment}/", opened
            self._chain.append((above, fd))
        self._path = path or None
        return fd

    def _step(self, fd: int, segment: str, *, make: bool) -> int | None:
        if segment in ("", ".", ".."):
            raise Obstructed(errno.EINVAL, "not the name of a directory", segment)
        if make:
            try:
                self._make(segment, fd)
            except FileExistsError:
                make = False
        try:
            opened = os.open(segment, DIRECTORY, dir_fd=fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Obstructed(error.errno, "a link or a file stands where a directory should be", segment) from error
            raise
        if make:
            self.open_up(opened)
        return opened

    def _make(self, name: str, above: int) -> None:
        """With its mode from the first moment: a run that is killed before `open_up` leaves no closed directory."""
        before = os.umask(0)
        try:
            os.mkdir(name, self._dir_mode, dir_fd=above)
        finally:
            os.umask(before)

    def open_up(self, fd: int) -> None:
        """Give a new directory its mode; that its group is handed down stays as it took it from the one above."""
        os.fchmod(fd, self._dir_mode | os.fstat(fd).st_mode & stat.S_ISGID)

    def _unchain(self, path: str) -> None:
        """Close what does not lie on the way to `path` (with its slash); `""`: all."""
        self._path = None
        while self._chain and not path.startswith(self._chain[-1][0]):
            os.close(self._chain.pop()[1])


def scan(fd: int) -> Iterator[os.DirEntry[str]]:
    """The names in the open directory."""
    with os.scandir(fd) as entries:
        yield from entries


def scan_all(fd: int) -> dict[str, OnDisk]:
    """Every name in the directory, with its state."""
    found: dict[str, OnDisk] = {}
    for entry in scan(fd):
        try:
            state = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        found[entry.name] = OnDisk.of(state)
    return found


def look(fd: int, name: str) -> OnDisk | None:
    """One name in the directory; None if nothing has it."""
    try:
        state = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return OnDisk.of(state)


def move(name: str, new_name: str, *, source: int, directory: int) -> None:
    """Give a file or directory in `source` a name in `directory` that nothing has. Raises FileExistsError, OSError.

    A plain `rename` would replace what has appeared meanwhile. Where the file system cannot be told not to (NFS),
    `link` does not; where it knows no second names either (most FUSE, directories), a last look must do.
    """
    try:
        rename_anew(name, new_name, source=source, directory=directory)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        _link_anew(name, new_name, source=source, directory=directory)


def rename_anew(name: str, new_name: str, *, source: int, directory: int) -> None:
    """`renameat2(2)` that replaces nothing; Python has no name for it. Raises FileExistsError, OSError."""
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), new_name)
    if _renameat2(source, os.fsencode(name), directory, os.fsencode(new_name), _NOREPLACE) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), new_name)


def _link_anew(name: str, new_name: str, *, source: int, directory: int) -> None:
    try:
        os.link(name, new_name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if look(directory, new_name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name) from error
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=directory)
        return
    os.unlink(name, dir_fd=source)


def read_small(fd: int, name: str) -> bytes | None:
    """The content of a regular file that may be a `.strm`; None if it is too large, gone, or no regular file."""
    found = look_into(fd, name)
    return None if found is None else found[1]


def look_into(fd: int, name: str) -> tuple[OnDisk, bytes] | None:
    """The same with the file's state."""
    try:
        handle = os.open(name, _READ, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.ENAMETOOLONG):
            return None
        raise
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or state.st_size >= MAX_STRM_BYTES:
            return None
        return OnDisk.of(state), os.read(handle, MAX_STRM_BYTES)
    finally:
        os.close(handle)


def read_exactly(fd: int, name: str | bytes, size: int) -> bytes:
    """The content of a file that was seen to have `size` bytes, and perhaps more of it. Raises OSError."""
    handle = os.open(name, _READ, dir_fd=fd)
    try:
        return os.read(handle, size + 1)
    finally:
        os.close(handle)


def pieces(fd: int, name: str) -> Iterator[bytes]:
    """The content of a regular file, piece by piece. Raises OSError; Obstructed for what is no regular file."""
    handle = os.open(name, _READ, dir_fd=fd)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Obstructed(errno.EINVAL, "not a regular file", name)
        while piece := os.read(handle, 1 << 18):
            yield piece
    finally:
        os.close(handle)


def sync_filesystem(fd: int) -> None:
    """Everything written to the file system of `fd` is durable: one call a batch, since one a file costs 30 times more.

    `syncfs(2)`; Python has no name for it. Where it fails (some network file systems) the whole machine is synced.
    """
    if _libc.syncfs(fd) != 0:
        os.sync()


_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)
"""Not every C library has it."""
