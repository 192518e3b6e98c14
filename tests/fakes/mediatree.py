"""A media source in memory behind the engine's port; every fault that a real server was seen to have is a verb."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pantograph.providers.errors import (
    Busy,
    MissingPrivilege,
    NotFound,
    ProtocolError,
    Rejected,
    Unauthorized,
    Unreachable,
)
from pantograph.providers.media.port import (
    Capabilities,
    Entry,
    Hint,
    Link,
    Listing,
    ServerInfo,
    SignMode,
    Unread,
    join,
    parent_of,
)

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
Fault = Callable[["MediaTree", str, Listing], Listing]
"""What becomes of an honest answer for a path: another answer, or an exception."""


@dataclass
class MediaFile:
    size: int = 1_000_000
    modified: datetime = WHEN
    sign: str = ""
    content: bytes = b""
    pickcode: str = ""


@dataclass
class MediaTree:
    """Directories and files by absolute path."""

    files: dict[str, MediaFile] = field(default_factory=dict)
    dirs: set[str] = field(default_factory=lambda: {"/"})
    times: dict[str, datetime] = field(default_factory=dict)
    """Of directories: when something was made or removed in them."""
    _changes: int = 0
    mounts: set[str] = field(default_factory=set)
    faults: dict[str, Fault] = field(default_factory=dict)
    """By path; `*` for every path."""
    directory_times: bool = False
    base: str = "http://media.lan:5244"
    key: str = ""
    """What signatures are made with."""
    listed: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Of these, those whose answer was known and was not read."""
    proves: bool = True
    on_list: Callable[[str], None] = lambda _: None
    fingerprints: bool = True
    hints: list[Hint] = field(default_factory=list)
    caches: bool = False
    """A listing is remembered, and given again unless it is asked for afresh."""
    _remembered: dict[str, Listing] = field(default_factory=dict)

    def add(self, *paths: str, size: int = 1_000_000, content: bytes = b"", sign: str = "") -> MediaTree:
        for path in paths:
            self._bump(parent_of(path))
            self.files[path] = MediaFile(len(content) or size, sign=sign, content=content)
            self.mkdir(parent_of(path))
        return self

    def mkdir(self, path: str) -> None:
        while path not in self.dirs:
            self.dirs.add(path)
            path = parent_of(path)
            self._bump(path)

    def remove(self, path: str) -> None:
        """A file, or a directory with all below."""
        self._bump(parent_of(path))
        below = f"{path}/"
        self.files = {each: file for each, file in self.files.items() if each != path and not each.startswith(below)}
        self.dirs = {each for each in self.dirs if each != path and not each.startswith(below)}

    def _bump(self, directory: str) -> None:
        """As a file system does when something is made or removed in it; always another time, and long ago."""
        self._changes += 1
        self.times[directory] = WHEN - timedelta(days=1, seconds=-self._changes)

    def heal(self) -> None:
        self.faults.clear()

    # The port

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            watch=True,
            http=True,
            mount=True,
            pickcode=True,
            sign=True,
            proves_complete_listing=self.proves,
            directory_times=self.directory_times,
        )

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        self.listed.append(path)
        self.on_list(path)
        fault = self.faults.get(path) or self.faults.get("*")
        if path not in self.dirs:
            honest = Listing(path, (), False, "missing")
            if fault is None:
                raise NotFound(f"no directory {path}")
        else:
            entries = self.entries(path)
            honest = Listing(path, entries, True, "complete", fingerprint=self.fingerprint(entries))
        if self.caches and not refresh:
            honest = self._remembered.get(path, honest)
        self._remembered[path] = honest
        await asyncio.sleep(0)
        return honest if fault is None else fault(self, path, honest)

    async def list_unless_known(self, path: str, known: bytes, *, refresh: bool = False) -> Listing | Unread:
        listing = await self.list(path, refresh=refresh)
        holds_directory = any(each.is_dir for each in listing.entries)
        if not listing.complete or listing.fingerprint != known or holds_directory:
            return listing
        self.unread.append(path)
        return Unread(listing.path, known, len(listing.entries), lambda: listing)

    def fingerprint(self, entries: tuple[Entry, ...]) -> bytes:
        """As a driver makes it of all that the server sent."""
        return hashlib.blake2b(repr(entries).encode(), digest_size=16).digest() if self.fingerprints else b""

    def entries(self, path: str) -> tuple[Entry, ...]:
        dirs = [each for each in self.dirs if each != "/" and parent_of(each) == path]
        files = [each for each in self.files if parent_of(each) == path]
        return (
            *(
                Entry(_name(each), path, True, None, self.times.get(each, WHEN), is_mount=each in self.mounts)
                for each in sorted(dirs)
            ),
            *(
                Entry(_name(each), path, False, file.size, file.modified, file.sign, file.pickcode)
                for each, file in ((each, self.files[each]) for each in sorted(files))
            ),
        )

    async def stat(self, path: str) -> Entry:
        for entry in self.entries(parent_of(path)):
            if entry.path == path:
                return entry
        raise NotFound(f"nothing at {path}")

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        for hint in self.hints:
            yield hint

    def link(self, entry: Entry, *, sign: SignMode = SignMode.FROM_LISTING) -> Link:
        if sign is SignMode.COMPUTE and not self.key:
            raise Rejected("the credentials hold no key")
        signs = {SignMode.FROM_LISTING: entry.sign, SignMode.COMPUTE: f"{self.key}-{entry.path}:0", SignMode.NONE: ""}
        return Link(entry.path, self.base, "/d", signs[sign], entry.pickcode)

    async def read(self, entry: Entry) -> AsyncIterator[bytes]:
        yield self.files[join(entry.parent, entry.name)].content

    async def test_connection(self) -> ServerInfo:
        return ServerInfo(product="Tree", version="1", logged_in=True)

    async def close(self) -> None:
        return


def _name(path: str) -> str:
    return path.rpartition("/")[2]


# Faults


def empty(_: MediaTree, path: str, __: Listing) -> Listing:
    """Success and nothing: `content: null`, an unmounted folder, a rate limit answered as code 0."""
    return Listing(path, (), True, "complete")


def server_error(_: MediaTree, path: str, __: Listing) -> Listing:
    raise Unreachable(f"500 failed get objs: {path}")


def unmounted(_: MediaTree, path: str, __: Listing) -> Listing:
    raise Unreachable(f"{path}: the mount is gone", reason="MountMissing")


def short_page(_: MediaTree, path: str, honest: Listing) -> Listing:
    """Fewer entries than the announced total, or a stream that was cut."""
    return Listing(path, honest.entries[: len(honest.entries) // 2], False, "3 of 6 entries came")


def cut_after_one(_: MediaTree, path: str, honest: Listing) -> Listing:
    """A stream of which one entry came."""
    return Listing(path, honest.entries[:1], False, "the stream broke off")


def cut_before_the_last(_: MediaTree, path: str, honest: Listing) -> Listing:
    """A stream of which all but one came."""
    return Listing(path, honest.entries[:-1], False, "the stream broke off")


def html(_: MediaTree, path: str, __: Listing) -> Listing:
    raise ProtocolError(f"{path}: HTML where JSON should be")


def mounts_only(tree: MediaTree, path: str, honest: Listing) -> Listing:
    """The directory's own storage failed; places where others are mounted came, with success."""
    mounts = tuple(entry for entry in honest.entries if entry.is_mount)
    return Listing(path, mounts, False, "only mounts came", mounts_only=True)


def root_echoed(tree: MediaTree, path: str, __: Listing) -> Listing:
    """Another directory's content, claimed to be this one's."""
    root = min((each for each in tree.dirs if each != "/"), key=len, default="/")
    return Listing(path, tree.entries(root), True, "complete")


def wrong_path(tree: MediaTree, path: str, __: Listing) -> Listing:
    return Listing("/", tree.entries("/"), True, "complete")


def timeout(_: MediaTree, path: str, __: Listing) -> Listing:
    raise Unreachable(f"{path}: timed out in the middle of the answer")


def unauthorized(_: MediaTree, __: str, ___: Listing) -> Listing:
    raise Unauthorized("401 token is invalidated")


def forbidden(_: MediaTree, path: str, __: Listing) -> Listing:
    raise MissingPrivilege(f"403 {path}: you have no permission")


def banned(_: MediaTree, __: str, ___: Listing) -> Listing:
    raise Busy("405 your requests were blocked", retry_after_s=30.0)


def not_found(_: MediaTree, path: str, __: Listing) -> Listing:
    raise NotFound(f"{path}: object not found")


def refused(_: MediaTree, path: str, __: Listing) -> Listing:
    raise Rejected(f"{path} cannot be listed as it is")


def dirs_vanish(_: MediaTree, path: str, honest: Listing) -> Listing:
    """The directories of one cloud are missing, with success."""
    return Listing(path, tuple(entry for entry in honest.entries if not entry.is_dir), True, "complete")
