"""The directories that we know: where they lie, what is missing, and those in which nothing was left to do."""

# ruff: noqa: S608 - what is put into statements are this module's own column names

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pantograph.strm.manifest.marks import COLUMNS, Missing, columns_of, mark_of

if TYPE_CHECKING:
    from pantograph.strm.manifest.manifest import Manifest

RETIRED: Final = "\x01"
"""Begins the path of a directory that lies under another name now; no name that is not refused holds it."""
_DIR: Final = f"id, path, local, mount, made, listing, renew_at, times, files, proved_run, {COLUMNS}"
_QUIET_ROW: Final = "d.id, d.local, d.listing, d.renew_at, q.answer, q.names, q.numbers, q.digests, q.leaf"
_QUIET_ROWS: Final = "FROM dirs d JOIN quiet q ON q.dir = d.id WHERE d.listing IS NOT NULL"
_QUIET: Final = f"SELECT {_QUIET_ROW} {_QUIET_ROWS} AND d.path=?"
_QUIET_IN: Final = f"SELECT d.path, {_QUIET_ROW} {_QUIET_ROWS} AND d.parent=?"
_ADD: Final = (
    "INSERT INTO dirs (path, local, mount, parent) VALUES (?,?,?,?) ON CONFLICT (path) DO UPDATE SET"
    " local=excluded.local, mount=excluded.mount, parent=excluded.parent"
)


class DirRow(NamedTuple):
    id: int
    path: str
    local: str
    mount: bool
    made: bool
    listing: bytes | None
    renew_at: float | None
    times: str | None
    files: int | None
    """How many of ours were there, when nothing was left to do."""
    proved_run: int | None
    missing: Missing | None


class QuietRow(NamedTuple):
    """A directory in which nothing was left to do; see `quiet.py`."""

    id: int
    local: str
    listing: bytes
    renew_at: float | None
    answer: bytes
    names: bytes
    numbers: bytes
    digests: bytes | None
    leaf: int
    """1: no directory is, or was, in this one."""


class Directories:
    """Their rows, with the short cuts past those that are quiet."""

    def __init__(self, manifest: Manifest, db: sqlite3.Connection) -> None:
        """`db`: to ask; a change goes by the manifest, which begins its transaction."""
        self._manifest = manifest
        self._db = db

    def at(self, path: str) -> DirRow | None:
        row = self._db.execute(f"SELECT {_DIR} FROM dirs WHERE path=?", (path,)).fetchone()
        return None if row is None else _dir(row)

    def last(self) -> int:
        """The highest id; a directory that is added has a higher one."""
        (last,) = self._db.execute("SELECT max(id) FROM dirs").fetchone()
        return last or 0

    def any_quiet(self) -> bool:
        """Whether anything is remembered of any directory."""
        return self._db.execute("SELECT 1 FROM quiet LIMIT 1").fetchone() is not None

    def add(self, path: str, local: str, *, parent: int | None, mount: bool) -> int:
        """Its id; a row that exists keeps its own, and learns where it lies now."""
        stored = self._manifest.execute(f"{_ADD} RETURNING id", (path, local, mount, parent))
        return int(stored.fetchone()[0])

    def add_all(self, directories: Iterable[tuple[str, str, bool]], *, parent: int) -> None:
        """The same for those in `parent`: path, place in the target, and whether another storage begins there."""
        self._manifest.executemany(_ADD, ((*each, parent) for each in directories))

    def claim(self, directory: int) -> int | None:
        """The directory on disk will be ours. The id of the one that it is in, if that is known."""
        claimed = self._manifest.execute("UPDATE dirs SET made=1 WHERE id=? RETURNING parent", (directory,))
        parent: int | None = claimed.fetchone()[0]
        return parent

    def children(self, directory: int) -> list[DirRow]:
        rows = self._db.execute(f"SELECT {_DIR} FROM dirs WHERE parent=?", (directory,))
        return [_dir(row) for row in rows]

    def retire(self, directory: int) -> None:
        """Its path, with all below, is free for another row; the rows stay, and are known by `RETIRED` in their paths.

        They are no longer wanted by the spec: what they own will be pruned as such.
        """
        self._manifest.execute(
            "WITH RECURSIVE below (id) AS (SELECT ? UNION SELECT d.id FROM dirs d JOIN below b ON d.parent = b.id)"
            " UPDATE dirs SET path = ? || path, listing = NULL WHERE id IN (SELECT id FROM below)",
            (directory, f"{RETIRED}{directory}/"),
        )

    def take(self, directory: int, path: str) -> None:
        """What lies there is what the source has at `path`, which is free: it is there, and known by nothing more.

        What had been retired in it stays so.
        """
        (old,) = self._db.execute("SELECT path FROM dirs WHERE id=?", (directory,)).fetchone()
        self._manifest.execute(
            "WITH RECURSIVE below (id) AS (SELECT ? UNION SELECT d.id FROM dirs d JOIN below b ON d.parent = b.id)"
            " UPDATE dirs SET path = ? || substr(path, ?), listing = NULL, proved_run = NULL"
            " WHERE id IN (SELECT id FROM below) AND (path = ? OR substr(path, 1, ?) = ?)",
            (directory, path, len(old) + 1, old, len(old) + 1, f"{old}/"),
        )
        self.mark(directory, None)

    def mark(self, directory: int, missing: Missing | None) -> None:
        self._manifest.execute(
            "UPDATE dirs SET reason=?, scans=?, since=?, counted=? WHERE id=?", (*columns_of(missing), directory)
        )

    def settle(self, directory: int, *, run: int | None) -> None:
        """Something is left to do there. `run` None: its listing was not proved."""
        self._manifest.execute("UPDATE dirs SET proved_run=?, listing=NULL, times=NULL WHERE id=?", (run, directory))

    def quiet(self, path: str) -> QuietRow | None:
        """What was true of the directory, if nothing was left to do there."""
        row = self._db.execute(_QUIET, (path,)).fetchone()
        return None if row is None else QuietRow._make(row)

    def quiet_in(self, directory: int) -> dict[str, QuietRow]:
        """By path, of the directories in this one."""
        return {path: QuietRow._make(row) for path, *row in self._db.execute(_QUIET_IN, (directory,))}

    def remember(self, row: QuietRow, *, run: int, times: str | None, files: int) -> None:
        """Nothing is left to do in the directory, whose listing was proved; where it lies stays as it is."""
        self._manifest.execute(
            "UPDATE dirs SET proved_run=?, listing=?, renew_at=?, times=?, files=? WHERE id=?",
            (run, row.listing, row.renew_at, times, files, row.id),
        )
        self._manifest.execute(
            "INSERT OR REPLACE INTO quiet (dir, answer, names, numbers, digests, leaf) VALUES (?,?,?,?,?,?)",
            (row.id, row.answer, row.names, row.numbers, row.digests, row.leaf),
        )

    def answered(self, directory: int, answer: bytes) -> None:
        """The source sends something else, of the same meaning."""
        self._manifest.execute("UPDATE quiet SET answer=? WHERE dir=?", (answer, directory))

    def drop_short_cut(self, directory: int) -> None:
        """The directory is looked at in full next time."""
        self._manifest.execute("UPDATE dirs SET listing=NULL WHERE id=?", (directory,))

    def prove(self, run: int, directories: Iterable[int]) -> None:
        """Their listings were proved by the run."""
        self._manifest.executemany(
            "UPDATE dirs SET proved_run=? WHERE id BETWEEN ? AND ?",
            ((run, first, last) for first, last in _ranges(directories)),
        )

    def stamp(self, directory: int, times: str | None) -> None:
        self._manifest.execute("UPDATE dirs SET times=? WHERE id=?", (times, directory))


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of every unbroken series: directories that lie together were added together."""
    series = groupby(enumerate(sorted(numbers)), key=lambda each: each[1] - each[0])
    for _, members in series:
        found = [number for _, number in members]
        yield found[0], found[-1]


def _dir(row: tuple[Any, ...]) -> DirRow:
    identity, path, local, mount, made, listing, renew_at, times, files, proved_run, *missing = row
    return DirRow(
        identity, path, local, bool(mount), bool(made), listing, renew_at, times, files, proved_run, mark_of(missing)
    )
