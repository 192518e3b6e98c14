"""The files that we own, or are about to: known before they are written, and once they are durable."""

# ruff: noqa: S608 - what is put into statements are this module's own column names

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pantograph.strm.manifest.marks import COLUMNS, Missing, columns_of, mark_of
from pantograph.strm.wanted import Kind

if TYPE_CHECKING:
    from pantograph.strm.manifest.manifest import Manifest

_INVENTORY: Final = "inventory"
_SEPARATOR: Final = "/"
"""No name holds it."""
_FILE: Final = f"name, kind, remote, digest, intent, size, mtime_ns, remote_size, remote_time, confirm, {COLUMNS}"


class Intent(NamedTuple):
    """What a file is about to hold."""

    dir: int
    name: str
    kind: Kind
    remote: str
    intent: bytes


class Announced(NamedTuple):
    """What the links of a directory are about to hold: three lists of the same length, never empty."""

    dir: int
    names: list[str]
    remotes: list[str]
    digests: list[bytes]


Record = tuple[int, str, Kind, str, bytes | None, int | None, int | None, int | None, float | None]
"""What we left, or found, in a file: its directory, and the columns of a `FileRow` that is not missing.

No named tuple: one a file, and naming costs four times as much as making.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    name: str
    kind: Kind
    remote: str
    digest: bytes | None
    """Of the content that we left; None while the first write is under way."""
    intent: bytes | None = None
    size: int | None = None
    mtime_ns: int | None = None
    remote_size: int | None = None
    remote_time: float | None = None
    missing: Missing | None = None
    confirm: bool = False
    """That it is missing is not believed before further scans confirm it."""

    def record(self, directory: int) -> Record:
        """As it is stored."""
        return (
            directory,
            self.name,
            self.kind,
            self.remote,
            self.digest,
            self.size,
            self.mtime_ns,
            self.remote_size,
            self.remote_time,
        )

    @property
    def known_digest(self) -> bytes | None:
        """Of what it holds if nobody changed it; None while a write is under way."""
        return self.digest if self.intent is None else None

    def owns(self, digest: bytes) -> bool:
        """Whether content of this digest is ours."""
        return digest in (self.digest, self.intent)


class Files:
    """Their rows, and how many they are."""

    def __init__(self, manifest: Manifest, db: sqlite3.Connection) -> None:
        """`db`: to ask; a change goes by the manifest, which begins its transaction."""
        self._manifest = manifest
        self._db = db
        self._is_counted = True
        """The inventory may be remembered."""
        self._announced: list[Announced] = []

    def of(self, directory: int) -> dict[str, FileRow]:
        rows = self._db.execute(f"SELECT {_FILE} FROM files WHERE dir=?", (directory,))
        return {row[0]: _file(row) for row in rows}

    def at(self, directory: int, name: str) -> FileRow | None:
        row = self._db.execute(f"SELECT {_FILE} FROM files WHERE dir=? AND name=?", (directory, name)).fetchone()
        return None if row is None else _file(row)

    def announce(self, announced: list[Announced]) -> None:
        """Links are about to be written, until `fulfil` says what became of them.

        One row says it of a directory: a row each would be written only to be replaced at once.
        """
        announced = [each for each in announced if each.names]
        self._announced = announced
        self._manifest.executemany(
            "INSERT INTO announced VALUES (?,?,?,?)",
            (
                (directory, _SEPARATOR.join(names), _SEPARATOR.join(remotes), b"".join(digests))
                for directory, names, remotes, digests in announced
            ),
        )

    def fulfil(self, records: list[Record]) -> None:
        """These files lie there, durable when this is; of what else was announced nobody knows how it does."""
        self.record(records)
        if [record[2] for record in records].count("strm") < sum(len(each.names) for each in self._announced):
            done = {record[:2] for record in records}
            self.intend(intent for each in self._announced for intent in _intents(each) if intent[:2] not in done)
        self._manifest.execute("DELETE FROM announced")
        self._announced = []

    def take_over(self) -> None:
        """What an earlier process announced, and was killed before it could say more, is intended."""
        announced = self._db.execute("SELECT dir, names, remotes, digests FROM announced").fetchall()
        if not announced:
            return
        for directory, joined, remotes, digests in announced:
            names = joined.split(_SEPARATOR)
            each = Announced(directory, names, remotes.split(_SEPARATOR), _cut(digests, pieces=len(names)))
            self.intend(_intents(each))
        self._manifest.execute("DELETE FROM announced")

    def intend(self, intents: Iterable[Intent]) -> None:
        """Files are about to hold something."""
        self._count_anew()
        self._manifest.executemany(
            "INSERT INTO files (dir, name, kind, remote, intent) VALUES (?,?,?,?,?)"
            " ON CONFLICT (dir, name) DO UPDATE SET intent=excluded.intent",
            intents,
        )

    def record(self, records: Iterable[Record]) -> None:
        """Files are durable, or were found, as it is said here; none of them is missing."""
        self._count_anew()
        self._manifest.executemany(
            "INSERT OR REPLACE INTO files (dir, name, kind, remote, digest, size, mtime_ns, remote_size, remote_time)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            records,
        )

    def mark(self, directory: int, name: str, missing: Missing | None, *, confirm: bool = False) -> None:
        self._manifest.execute(
            "UPDATE files SET reason=?, scans=?, since=?, counted=?, confirm=? WHERE dir=? AND name=?",
            (*columns_of(missing), confirm, directory, name),
        )

    def forget(self, directory: int, name: str) -> None:
        self._count_anew()
        self._manifest.execute("DELETE FROM files WHERE dir=? AND name=?", (directory, name))

    def disown(self, local: str, names: Iterable[str]) -> None:
        """These files in a directory of the target are somebody's own."""
        for (directory,) in self._db.execute("SELECT id FROM dirs WHERE local=?", (local,)).fetchall():
            for name in names:
                self.forget(directory, name)

    def inventory(self) -> dict[str, int]:
        """How many files we own, by kind: counted when some came or went, remembered otherwise."""
        remembered = self._manifest.get(_INVENTORY)
        if remembered is not None:
            counted: dict[str, int] = json.loads(remembered)
            return counted
        rows = self._db.execute("SELECT kind, count(*) FROM files WHERE digest IS NOT NULL GROUP BY kind")
        counted = {str(kind): int(count) for kind, count in rows}
        self._manifest.put(_INVENTORY, json.dumps(counted))
        self._is_counted = True
        return counted

    def _count_anew(self) -> None:
        """What was counted is dropped in the transaction that changes the count."""
        if self._is_counted:
            self._manifest.execute("DELETE FROM meta WHERE key=?", (_INVENTORY,))
            self._is_counted = False


def _cut(whole: bytes, *, pieces: int) -> list[bytes]:
    size = len(whole) // pieces
    return [whole[first : first + size] for first in range(0, len(whole), size)]


def _intents(announced: Announced) -> Iterator[Intent]:
    for name, remote, digest in zip(announced.names, announced.remotes, announced.digests, strict=True):
        yield Intent(announced.dir, name, "strm", remote, digest)


def _file(row: tuple[Any, ...]) -> FileRow:
    name, kind, remote, digest, intent, size, mtime_ns, remote_size, remote_time, confirm, *missing = row
    return FileRow(
        name=name,
        kind=kind,
        remote=remote,
        digest=digest,
        intent=intent,
        size=size,
        mtime_ns=mtime_ns,
        remote_size=remote_size,
        remote_time=remote_time,
        missing=mark_of(missing),
        confirm=bool(confirm),
    )
