"""From one remote listing to the names and contents that the directory should hold on disk."""

from __future__ import annotations

import hashlib
import marshal
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Literal

from pantograph.providers.errors import Rejected
from pantograph.providers.media.port import Entry, Listing, MediaSource
from pantograph.strm.naming import (
    SIDECAR_SEPARATORS,
    RefusedName,
    extension_of,
    sidecar_name,
    split_extension,
    strm_name,
)
from pantograph.strm.report import Issue
from pantograph.strm.spec import Job

Kind = Literal["strm", "sidecar"]
_AT_ONCE: Final = 1000
"""Entries that are made ready for a digest together: of a huge directory never all."""
_PLAIN: Final = 2
"""The newest format of marshal in which equal things look equal: later ones tell of how they lie in memory."""
MAX_PATH_BYTES = 3500
"""Below PATH_MAX (4096) with room for the target's own path: deeper is a loop, or cannot be opened by players."""


@dataclass(slots=True)  # not frozen: one a file, and frozen ones take twice as long to make
class WantedFile:
    """A file that should be there."""

    name: str
    kind: Kind
    entry: Entry
    text: bytes
    """The whole content of a `.strm`; empty for a sidecar, which is fetched when it is copied."""


Claim = tuple[str, Kind, Entry]
"""A local name, and for what."""
_by_name: Final = attrgetter("name")
_sign: Final = attrgetter("sign")
_facts: Final = attrgetter("name", "is_dir", "size_bytes", "pickcode", "is_mount", "is_locked")


@dataclass(slots=True)
class Wanted:
    """What a directory should hold, and what must be left alone in it."""

    files: dict[str, WantedFile] = field(default_factory=dict)
    dirs: dict[str, str] = field(default_factory=dict)
    """Remote name to local name, of the directories to descend into; nothing below the others may be judged."""
    excluded: set[str] = field(default_factory=set)
    """Remote names of directories that the spec leaves out."""
    protected: set[str] = field(default_factory=set)
    """Local names that are not wanted as they are, and must not be pruned either."""
    listed: set[str] = field(default_factory=set)
    """Every remote name that came."""
    folders: set[str] = field(default_factory=set)
    """Of these, the directories."""
    unseen: set[str] = field(default_factory=set)
    """Of these, what the source could not show: a link whose disk is away, a name that nobody can address."""
    mounts: set[str] = field(default_factory=set)
    issues: list[Issue] = field(default_factory=list)
    collisions: int = 0


def judge_listing(listing: Listing, *, job: Job, source: MediaSource, path: str, depth: int) -> Wanted:
    """Filter, name, and settle collisions. `path` is relative to the source root, `""` the root itself."""
    wanted = Wanted(
        listed={entry.name for entry in listing.entries},
        folders={entry.name for entry in listing.entries if entry.is_dir},
        unseen={skipped.name for skipped in listing.skipped},
    )
    wanted.listed |= wanted.unseen
    for skipped in listing.skipped:
        wanted.issues.append(Issue("NameRefused", below(path, skipped.name), skipped.why))
    claims = _Claims(job, wanted, path)
    # In the order of names, so that the same listing in another order has the same outcome.
    for entry in sorted(listing.entries, key=_by_name):
        if entry.is_dir:
            claims.directory(entry, descend=job.max_depth is None or depth < job.max_depth)
        else:
            claims.file(entry)
    claims.sidecars()
    for name, kind, entry in claims.settle():
        try:
            text = job.links.text(source, entry) if kind == "strm" else b""
        except Rejected as error:
            wanted.protected.add(name)
            wanted.issues.append(Issue("NoLink", below(path, entry.name), error.message))
        else:
            wanted.files[name] = WantedFile(name, kind, entry, text)
    return wanted


def listing_digest(listing: Listing, *, shape: str, with_times: bool) -> bytes:
    """Of all that decides what a directory should hold; equal digests want equal files. `shape`: the spec's.

    A signature that expires is new in every listing, so it does not count: `renew_at` says when it must be looked at.
    """
    digest = hashlib.blake2b(shape.encode(), digest_size=16)
    entries = sorted(listing.entries, key=_by_name)
    for first in range(0, len(entries), _AT_ONCE):
        some = entries[first : first + _AT_ONCE]
        facts = [*map(_facts, some)]
        signs = [_lasting(entry.sign) for entry in some] if any(map(_sign, some)) else []
        times = [entry.modified and entry.modified.timestamp() for entry in some] if with_times else []
        digest.update(marshal.dumps((facts, signs, times), _PLAIN))
    if listing.skipped:
        digest.update(marshal.dumps([(skipped.name, skipped.why) for skipped in listing.skipped], _PLAIN))
    return digest.digest()


def _lasting(sign: str) -> str:
    return sign if sign.endswith(":0") or ":" not in sign else "expires"


def below(path: str, name: str) -> str:
    """`name` in the directory `path`; both relative."""
    return f"{path}/{name}" if path else name


class _Claims:
    """Who wants which local name."""

    def __init__(self, job: Job, wanted: Wanted, path: str) -> None:
        self._job = job
        self._wanted = wanted
        self._path = path
        self._taken: dict[str, str] = {}
        self._first: dict[str, Claim] = {}
        self._rivals: dict[str, list[Claim]] = defaultdict(list)
        self._media: list[str] = []
        self._films: dict[str, list[str]] = defaultdict(list)
        """By their names without extensions; empty where no sidecar asks for them."""
        self._sidecars: list[Entry] = []

    def directory(self, entry: Entry, *, descend: bool) -> None:
        wanted, path = self._wanted, below(self._path, entry.name)
        if not self._job.paths.enters(path):
            wanted.excluded.add(entry.name)
            return
        if entry.is_mount:
            wanted.mounts.add(entry.name)
        try:
            local = self._job.names.local(entry.name)
            _refuse_depth(path)
        except RefusedName as error:
            wanted.issues.append(Issue("NameRefused", path, str(error)))
            return
        fold = self._job.names.fold(local)
        if self._taken.setdefault(fold, entry.name) != entry.name:
            wanted.collisions += 1
            wanted.issues.append(Issue("Collision", path, f"{self._taken[fold]!r} has the same name on this target"))
        elif descend and not entry.is_locked:
            wanted.dirs[entry.name] = local

    def file(self, entry: Entry) -> None:
        job, name = self._job, entry.name
        media = job.filter.is_media(name, entry.size_bytes)
        if not media and not job.filter.is_sidecar(name, entry.size_bytes):
            return
        if not (job.paths.takes_all or job.paths.takes(below(self._path, name))):
            return
        if not media:
            self._sidecars.append(entry)
            return
        self._media.append(name)
        try:
            local = strm_name(name, job.names, keep_extension=job.on_collision == "KeepExt")
        except RefusedName as error:
            self._refuse(entry, error)
            return
        self._claim(entry, "strm", local)

    def sidecars(self) -> None:
        """Claims of the sidecars: their names follow the films', which are all known now."""
        if self._sidecars and self._job.on_collision == "KeepExt":
            for film in self._media:
                self._films[split_extension(film)[0]].append(film)
        for entry in self._sidecars:
            for name in self._sidecar_names(entry.name):
                try:
                    local = sidecar_name(name, self._job.names)
                except RefusedName as error:
                    self._refuse(entry, error)
                    continue
                self._claim(entry, "sidecar", local)

    def _refuse(self, entry: Entry, error: RefusedName) -> None:
        self._wanted.issues.append(Issue("NameRefused", below(self._path, entry.name), str(error)))

    def _claim(self, entry: Entry, kind: Kind, name: str) -> None:
        if entry.is_locked:
            self._wanted.protected.add(name)
            return
        claim, fold = (name, kind, entry), self._job.names.fold(name)
        if self._first.setdefault(fold, claim) is not claim:
            self._rivals[fold].append(claim)

    def _sidecar_names(self, name: str) -> list[str]:
        """`a.zh.srt` of `a.mkv` is `a.mkv.zh.srt` beside `a.mkv.strm`: players match names. One for each such film."""
        if self._job.on_collision != "KeepExt":
            return [name]
        for end in range(len(name) - 1, 0, -1):
            if name[end] not in SIDECAR_SEPARATORS:
                continue
            stem = name[:end]
            if stem in self._films.get(split_extension(stem)[0], ()):
                return [name]
            if films := self._films.get(stem):
                return [film + name[end:] for film in films]
        return [name]

    def settle(self) -> Iterable[Claim]:
        """The winners, once every claim is known."""
        for fold, first in self._first.items():
            if fold not in self._taken and fold not in self._rivals:
                yield first
                continue
            claims = sorted([first, *self._rivals.get(fold, ())], key=self._preference)
            if fold in self._taken:
                self._lose(claims, f"directory {self._taken[fold]!r} has the same name")
                continue
            if self._job.on_collision == "Fail":
                self._lose(claims, f"{claims[0][2].name!r} and {claims[1][2].name!r} want the same name")
                continue
            self._lose(claims[1:], f"{claims[0][2].name!r} was preferred", protect=False)
            yield claims[0]

    def _preference(self, claim: Claim) -> tuple[int, int, int, str]:
        _, kind, entry = claim
        order = self._job.filter.extensions
        extension = extension_of(entry.name)
        rank = order.index(extension) if extension in order else len(order)
        return (kind != "strm", -(entry.size_bytes or 0), rank, entry.name)

    def _lose(self, claims: list[Claim], why: str, *, protect: bool = True) -> None:
        for name, _, entry in claims:
            self._wanted.collisions += 1
            self._wanted.issues.append(Issue("Collision", below(self._path, entry.name), why))
            if protect:
                self._wanted.protected.add(name)


def _refuse_depth(path: str) -> None:
    size = len(path.encode())
    if size > MAX_PATH_BYTES:
        raise RefusedName(f"path of {size} bytes is too long")
