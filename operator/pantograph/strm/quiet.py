"""Directories in which nothing changed: almost all of them, in almost every run.

A row of `quiet` says what was true when nothing was left to do in a directory: what the source had answered, and which
of our files lay there, with their sizes and times (and contents, where `update.verify` is `Content`). It was stored
with, or after, the commit of those files. So if source, spec and files are the same again, judging, naming and
comparing every file would only come to the same end, and is left out. Whatever differs, however little, goes the
ordinary way, and so does a directory

- whose listing, or one above it, is not proved whole (the row proves nothing by itself);
- in which a signature must be renewed by now (`renew_at`);
- in which anything was missing, skipped, refused, somebody else's, or failed: it got no row, or lost its `listing`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from pantograph.providers.media.port import Listing, Unread
from pantograph.strm.manifest import FrontierItem, Manifest, QuietRow
from pantograph.strm.merge import DIGEST_BYTES, digest_of
from pantograph.strm.naming import STATE_DIR
from pantograph.strm.target import Target, read_exactly
from pantograph.strm.wanted import listing_digest

_SEPARATOR: Final = b"/"
"""No name holds it."""
_ANY: Final = bytes(DIGEST_BYTES)
"""Instead of a content's digest: only size and time count (sidecars)."""
_MOST_AT_ONCE: Final = 500
_MOST_NEAR: Final = 4000
"""Rows that are read before they are needed; each has the size of a small directory."""
_TYPE: Final = 0o170000
_REGULAR: Final = stat.S_IFREG
"""The bits of a mode that tell the type, and those of a file: a call less than `stat.S_ISREG`."""


Lying = tuple[int, int, bytes | None]
"""One of our files as we left it: its size, its time in nanoseconds, and of a `.strm` the digest of its content."""


@dataclass(slots=True, kw_only=True)
class Quieted:
    """What will be true of a directory once the files that are to be made in it are there."""

    directory: int
    listing: bytes
    answer: bytes
    renew_at: float | None
    times: str | None
    leaf: bool
    """No directory is, or was, in this one."""
    files: dict[str, Lying] = field(default_factory=dict)


class Quiet:
    """One run's look at the rows, and its way to make them."""

    def __init__(
        self,
        target: Target,
        manifest: Manifest,
        *,
        shape: str,
        with_times: bool,
        with_content: bool,
        now: Callable[[], float],
    ) -> None:
        """`shape`: of the spec, and of what else decides what files contain. `with_times`: so do the files' times."""
        self._target = target
        self._manifest = manifest
        self._shape = shape
        self._with_times = with_times
        self._with_content = with_content
        self._now = now
        self._is_remote = target.is_remote  # a directory's states are sent with its names, or else one by one
        self._near: dict[str, QuietRow] = {}
        self._any = manifest.directories.any_quiet()
        """What is remembered by this run is not asked for by it."""
        # Another release may read the same answer otherwise.
        self._prefix = hashlib.blake2b(f"{version('pantograph')} {shape}".encode(), digest_size=8).digest()

    def digest(self, listing: Listing) -> bytes:
        """Of what the listing says that concerns us."""
        return listing_digest(listing, shape=self._shape, with_times=self._with_times)

    def answer(self, answer: Listing | Unread) -> bytes:
        """Of all that the source sent; empty if the driver does not say."""
        return self._prefix + answer.fingerprint if answer.fingerprint else b""

    def known(self, item: FrontierItem) -> bytes:
        """The fingerprint of the last answer for the directory, if its row was read ahead and no directory is in it."""
        row = self._near.get(item.path)
        if row is None or not row.leaf or not row.answer.startswith(self._prefix):
            return b""
        return row.answer.removeprefix(self._prefix)

    def as_left(self, item: FrontierItem, answer: Listing | Unread) -> QuietRow | None:
        """The directory's row if it holds. The caller has seen to it that the answer is proved."""
        if not self._any:
            return None
        row = self._near.pop(item.path, None) or self._manifest.quiet(item.path)
        if row is None or row.local != item.local or (row.digests is None) == self._with_content:
            return None
        if row.renew_at is not None and self._now() >= row.renew_at:
            return None
        if not self._is_answered_alike(row, answer):
            return None
        try:
            fd = self._target.open(item.local)
            if fd is not None and self._is_remote:
                os.listdir(fd)  # noqa: PTH208 - by descriptor
            holds = not row.names if fd is None else _holds(fd, row)
        except OSError:
            return None
        return row if holds else None

    def near(self, directory: int, count: int) -> None:
        """The `count` directories in this one come soon: their rows are read at once."""
        if 1 < count <= _MOST_AT_ONCE and len(self._near) < _MOST_NEAR:
            self._near |= self._manifest.quiet_in(directory)

    def remember(self, quieted: Quieted, run: int) -> None:
        """Store what is true now."""
        files = sorted(quieted.files.items())
        numbers = array("q", [number for _, (size, mtime_ns, _) in files for number in (size, mtime_ns)])
        digests = b"".join([digest or _ANY for _, (_, _, digest) in files]) if self._with_content else None
        names = _SEPARATOR.join([name.encode() for name, _ in files])
        row = QuietRow(
            id=quieted.directory,
            local="",
            listing=quieted.listing,
            renew_at=quieted.renew_at,
            answer=quieted.answer,
            names=names,
            numbers=numbers.tobytes(),
            digests=digests,
            leaf=quieted.leaf,
        )
        self._manifest.remember(row, run=run, times=quieted.times, files=len(files))

    def _is_answered_alike(self, row: QuietRow, answer: Listing | Unread) -> bool:
        whole = self.answer(answer)
        if whole and whole == row.answer:
            return True
        if isinstance(answer, Unread) or row.listing != self.digest(answer):
            return False
        if whole:  # something changed that does not concern us
            self._manifest.answered(row.id, whole)
        return True


def _holds(fd: int, row: QuietRow) -> bool:
    """Whether the directory holds the row's files as they were left; what else it holds does not matter.

    One `stat` a name, relative to the directory, is cheaper than a scan that hands out every entry. Raises OSError.
    """
    # Another job's directory is not entered; from a leaf nothing is, and the root's state is our own.
    if row.local and not row.leaf and os.access(STATE_DIR, os.F_OK, dir_fd=fd, follow_symlinks=False):
        return False
    numbers = array("q")
    numbers.frombytes(row.numbers)
    names = row.names.split(_SEPARATOR) if row.names else []
    look = os.lstat
    for name, size, mtime_ns in zip(names, numbers[::2], numbers[1::2], strict=True):
        state = look(name, dir_fd=fd)
        if state.st_mtime_ns != mtime_ns or state.st_size != size or state.st_mode & _TYPE != _REGULAR:
            return False
    return row.digests is None or _contents_hold(fd, zip(names, numbers[::2], strict=True), row.digests)


def _contents_hold(fd: int, files: Iterable[tuple[bytes, int]], digests: bytes) -> bool:
    """Whether every `.strm` contains what it did. Read after its size and time were seen."""
    for position, (name, size) in enumerate(files):
        digest = digests[position * DIGEST_BYTES : (position + 1) * DIGEST_BYTES]
        if digest != _ANY and digest_of(read_exactly(fd, name, size)) != digest:
            return False
    return True
