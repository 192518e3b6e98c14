"""What the STRM engine asks of a media source, whatever it is, and how sure each answer is.

Every path here is absolute in the source, `/` its root, with no trailing slash, unencoded. A driver makes one attempt
a call (and logs in anew once when its session has ended): who calls decides about the next one. What goes wrong is a
`ProviderError`: `Unauthorized` and `MissingPrivilege` (mend the credentials), `Busy` (a ban or a limit; `retry_after_s`
says how long everybody must leave the server alone), `Unreachable`, `ProtocolError`, `NotFound`, `Rejected`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a driver can do; what is False is never asked of it."""

    watch: bool
    """`watch` tells of changes as they happen."""
    http: bool
    """A file has an address that a player can open."""
    mount: bool
    """A file can have a path on a file system that the player shares."""
    pickcode: bool
    """A file has an identity of its own, which its listing tells and its link holds: once another file has replaced it,
    the link is another one."""
    sign: bool
    """A link may need a signature."""
    proves_complete_listing: bool
    """A listing can be known to be whole; without that nothing may ever be deleted on its word."""
    directory_times: bool = False
    """A directory's `modified` changes whenever something is made, renamed or removed in it. Cloud providers differ
    (Quark, for one, does not on removal), so only a driver that knows better says so."""


@dataclass(slots=True)  # not frozen: one a file, and frozen ones take twice as long to make
class Entry:
    """One file or directory, as its directory's listing tells of it."""

    name: str
    parent: str
    """The directory that was listed; shared by all its entries, which keeps a big listing small."""
    is_dir: bool
    size_bytes: int | None = None
    modified: datetime | None = None
    sign: str = ""
    pickcode: str = ""
    """Empty unless the driver says that it has `pickcode`."""
    identity: str = ""
    """The provider's own name for this very file (an id); a replaced file has another one."""
    hashes: tuple[tuple[str, str], ...] = ()
    """(algorithm, hex digest) pairs, in the order of their algorithms."""
    is_mount: bool = False
    """Another storage begins here; this directory's listing does not depend on its parent's storage."""
    is_locked: bool = False
    """It is encrypted and nobody gave the key, or forbidden: it cannot be read, and what it holds is not known."""

    @property
    def path(self) -> str:
        return join(self.parent, self.name)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A name that a listing held and nobody can address: told, and left out."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What one directory holds, as far as this answer says."""

    path: str
    entries: tuple[Entry, ...]
    complete: bool
    """Proved to be everything. False: what is listed exists, and nothing can be said of what is not."""
    why: str
    """The proof, or what it lacks; one line for people."""
    mounts_only: bool = False
    """Only places where other storages are mounted came. OpenList answers so, with success, when the directory's own
    storage fails: not complete, unless the caller has never seen anything but mounts here."""
    skipped: tuple[Skipped, ...] = ()
    fingerprint: bytes = b""
    """Of all that the server sent: of equal ones everything else here is equal too. It may differ for no reason, and is
    empty where it would differ every time (signatures that expire)."""


@dataclass(frozen=True, slots=True)
class Unread:
    """An answer whose fingerprint the caller knew: what it says is what it said then, and was not taken apart again."""

    path: str
    fingerprint: bytes
    most_entries: int
    """It holds no more of them."""
    read: Callable[[], Listing]
    """For who needs to see them after all."""


class HintKind(StrEnum):
    CHANGED = "Changed"
    """Something appeared or changed at `path`: list its parent. A directory (`is_dir`) appeared: list all of it, for
    one of that name may be known, and this be another."""
    DELETED = "Deleted"
    """Something went from `path`: list its parent; never take this as proof."""
    RESCAN = "Rescan"
    """The watch begins here, anew perhaps: whatever happened below `path` before was not seen."""
    LOST = "Lost"
    """The watch broke; it tries again, and says RESCAN when it stands."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A change that was heard of. There is no order, no replay and no promise: only a reason to look."""

    kind: HintKind
    path: str
    is_dir: bool | None = None
    """None: it was not said."""
    why: str = ""


class SignMode(StrEnum):
    """Where the signature of an HTTP link comes from."""

    FROM_LISTING = "FromListing"
    COMPUTE = "Compute"
    """Made here, with the server's own key: OpenList's admin token as the credentials."""
    NONE = "None"


class Link(NamedTuple):
    """The raw parts of what a `.strm` line holds for a file; `links.py` puts them together and encodes them."""

    path: str
    """As the player's address has it: absolute on the server (OpenList: below its user's base path), unencoded."""
    base: str = ""
    """scheme://host[:port][/sub-path] of the server, no trailing slash; what players see may be another one."""
    prefix: str = ""
    """Between base and path, verbatim; `{scheme}` and `{host}` stand for those of the base (CloudDrive2)."""
    sign: str = ""
    pickcode: str = ""
    """The entry's; it stands in the link as `pickcode=`."""
    mount_prefix: str = ""
    """Where the source's root is on the file system, when the driver knows; `Mount` mode puts it before `path`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a server says of itself when it is asked for a test."""

    product: str
    version: str
    """Empty: it does not tell."""
    logged_in: bool
    """Its credentials work, and it can be listed now."""
    user: str = ""
    base_path: str = "/"
    """Where the user's root lies in the server's tree."""
    volume: str = ""
    """`Local`: the device the root lies on, to be recorded and given to the next run."""
    notes: tuple[str, ...] = ()
    """What works but is worth a word: thing, fault, remedy."""


class MediaSource(Protocol):
    """One source of media, with one connection and one rate bucket."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        """One directory. `refresh`: past the server's cache, if it has one and lets us.

        Raises when nothing usable came (`NotFound`: no such directory, as far as this answer says; confirm by listing
        the parent). What came before an answer broke off is returned, not `complete`.
        """
        ...

    async def stat(self, path: str) -> Entry:
        """One file or directory; raises `NotFound`. May cost as much as a listing of the parent."""
        ...

    def watch(self, path: str) -> AsyncIterator[Hint]:
        """Hints of changes below `path`, for ever: `RESCAN` first and after every reconnect. Capability `watch`.

        Raises only what another attempt cannot mend (`Unauthorized`, `MissingPrivilege`, `Rejected`).
        """
        ...

    def link(self, entry: Entry, *, sign: SignMode = SignMode.FROM_LISTING) -> Link:
        """The parts of the file's link; asks nobody. Raises `Rejected` when `sign` cannot be had."""
        ...

    def read(self, entry: Entry) -> AsyncIterator[bytes]:
        """The content, in pieces; for small files such as subtitles. Raises `Unreachable` when it breaks off."""
        ...

    async def test_connection(self) -> ServerInfo:
        """Ask the server who it is and whether it can be used."""
        ...

    async def close(self) -> None:
        """Let go of connections; further calls are not allowed."""
        ...


@runtime_checkable
class Recognizing(Protocol):
    """A source that can tell an answer by its fingerprint, before it takes it apart: which is much dearer."""

    async def list_unless_known(self, path: str, known: bytes, *, refresh: bool = False) -> Listing | Unread:
        """`list`; but an answer with the fingerprint `known`, of a complete listing, may be left unread.

        Never one that holds directories: they are what tells whether it is another directory's.
        """
        ...


def join(parent: str, name: str) -> str:
    """The path of `name` in the directory `parent`."""
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def parent_of(path: str) -> str:
    """The directory that holds `path`; the root's is the root."""
    return path.rpartition("/")[0] or "/"


def size_of(told: object) -> int | None:
    """A file's size as a server tells it, a number or its digits; None: none that a file can have (64 bits)."""
    if isinstance(told, str) and told.isdecimal() and len(told) < 20:
        told = int(told)
    return told if type(told) is int and 0 <= told < 1 << 63 else None


def name_fault(name: str) -> str | None:
    """Why `name` cannot be a name in a directory, or None. Anything else is legal, and the engine's to judge."""
    if name in ("", ".", ".."):
        return "not the name of an entry"
    found = _UNADDRESSABLE.search(name)
    if found is None:
        return None
    return {"/": "holds a slash", "\0": "holds a NUL"}.get(found[0], "is not UTF-8")


_UNADDRESSABLE = re.compile("[/\0\ud800-\udfff]")
"""Surrogates are the file system's bytes that were no UTF-8 (PEP 383); a .strm line cannot hold them."""
