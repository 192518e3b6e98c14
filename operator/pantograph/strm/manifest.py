"""What we own below the target, what is still to be listed, and what earlier runs saw: SQLite beside the files.

Rollback journal, not WAL: the target may be on a network file system. Rows of files are written twice: before the file
(`intent`: what it is about to hold) and after it is durable (`digest`). So after a kill at any point a file is known as
ours by its content, and one that holds something else is known to be somebody's.
"""

# ruff: noqa: S608 - what is put into statements are this module's own column names

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from pantograph.providers.media.port import Entry
from pantograph.strm.errors import StrmError
from pantograph.strm.manifest_faults import fault_of, unreadable
from pantograph.strm.wanted import Kind

_INVENTORY: Final = "inventory"
RETIRED: Final = "\x01"
"""Begins the path of a directory that lies under another name now; no name that is not refused holds it."""
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE dirs (
  id INTEGER PRIMARY KEY, parent INTEGER, path TEXT NOT NULL UNIQUE, local TEXT NOT NULL,
  mount INTEGER NOT NULL DEFAULT 0,  -- another storage began here when it was last listed
  made INTEGER NOT NULL DEFAULT 0,   -- the directory on disk is ours
  proved_run INTEGER,                -- last run that listed it, and all above it, completely
  listing BLOB,                      -- digest of that listing, if nothing was left to do
  stats TEXT,                        -- JSON {name: [size, mtime_ns]} of our files then
  renew_at REAL,
  reason TEXT, scans INTEGER NOT NULL DEFAULT 0, since REAL, counted REAL
);
CREATE INDEX dirs_parent ON dirs (parent);
CREATE INDEX dirs_missing ON dirs (reason) WHERE reason IS NOT NULL;
CREATE TABLE files (
  dir INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, remote TEXT NOT NULL,
  digest BLOB, intent BLOB, size INTEGER, mtime_ns INTEGER, remote_size INTEGER, remote_time REAL,
  reason TEXT, confirm INTEGER NOT NULL DEFAULT 0, scans INTEGER NOT NULL DEFAULT 0, since REAL, counted REAL,
  PRIMARY KEY (dir, name)
) WITHOUT ROWID;
CREATE INDEX files_missing ON files (reason) WHERE reason IS NOT NULL;
CREATE TABLE frontier (path TEXT PRIMARY KEY, local TEXT NOT NULL, depth INTEGER, proved INTEGER) WITHOUT ROWID;
CREATE TABLE rewrites (
  dir INTEGER NOT NULL, name TEXT NOT NULL, text BLOB NOT NULL, remote TEXT NOT NULL, remote_size INTEGER,
  remote_time REAL, reason TEXT NOT NULL, PRIMARY KEY (dir, name)
) WITHOUT ROWID;
CREATE TABLE runs (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, trigger TEXT, scope TEXT, shape TEXT, started REAL, state TEXT NOT NULL,
  incomplete INTEGER NOT NULL DEFAULT 0, dirs INTEGER, result TEXT
);
CREATE TABLE candidates (
  run INTEGER NOT NULL, path TEXT NOT NULL, digest BLOB NOT NULL, dir INTEGER NOT NULL, name TEXT NOT NULL,
  reason TEXT NOT NULL, ready INTEGER NOT NULL, PRIMARY KEY (run, path)
) WITHOUT ROWID;
CREATE TABLE prunes (at REAL NOT NULL, count INTEGER NOT NULL);
"""
_STEPS: Final = (
    _SCHEMA,
    """
ALTER TABLE dirs ADD COLUMN times TEXT;       -- of a leaf and its copy, when nothing was left to do
ALTER TABLE frontier ADD COLUMN modified REAL;
ALTER TABLE rewrites ADD COLUMN found BLOB;   -- digest of what is to be replaced
""",
    """
CREATE TABLE changes (server TEXT NOT NULL, path TEXT NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (server, path))
 WITHOUT ROWID;  -- folders of which a media server is still to be told
CREATE TABLE tellings (server TEXT PRIMARY KEY, at REAL NOT NULL, failures INTEGER NOT NULL) WITHOUT ROWID;
""",
    """
CREATE TABLE quiet (           -- directories in which nothing was left to do, while their `listing` is not NULL
  dir INTEGER PRIMARY KEY,
  answer BLOB NOT NULL,        -- what the source had sent
  names BLOB NOT NULL, numbers BLOB NOT NULL, digests BLOB  -- our files: names, sizes and times, contents
);
ALTER TABLE dirs DROP COLUMN stats;
ALTER TABLE dirs ADD COLUMN files INTEGER;  -- how many of ours it held then
""",
    """
ALTER TABLE runs ADD COLUMN existing INTEGER;  -- `.strm` files that were ours when it began
""",
)
"""From an empty file to the newest schema; `user_version` counts the steps that were made. Only ever appended to."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A thing that was ours and that the source no longer shows."""

    reason: str
    scans: int
    since: float
    counted: float
    """When the last scan that counts was; seconds since 1970."""


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


class Intent(NamedTuple):
    """What a file is about to hold."""

    dir: int
    name: str
    kind: Kind
    remote: str
    intent: bytes


class Record(NamedTuple):
    """What we left, or found, in a file. The fields are those of a `FileRow` that is not missing."""

    dir: int
    name: str
    kind: Kind
    remote: str
    digest: bytes | None
    size: int | None
    mtime_ns: int | None
    remote_size: int | None
    remote_time: float | None


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

    def record(self, directory: int) -> Record:
        """As it is stored."""
        return Record(
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

    def owns(self, digest: bytes) -> bool:
        """Whether content of this digest is ours."""
        return digest in (self.digest, self.intent)


class FrontierItem(NamedTuple):
    """A directory still to be listed."""

    path: str
    local: str
    depth: int
    proved: bool
    """Every directory above it was listed completely."""
    modified: float | None = None
    """As its parent's listing has it; seconds since 1970."""


class Manifest:
    """One transaction at a time, begun by the first change and ended by `commit`."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Raises StrmError if the file is no manifest of ours.

        To be used in a `with` statement: there what SQLite says of the file is a StrmError too, also in what iterates.
        """
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=TRUNCATE")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            self._db.execute("PRAGMA cache_size=-16384")
            self._create()
        except sqlite3.DatabaseError as error:
            raise fault_of(path, error) or unreadable(path, error) from error
        self.commits = 0
        self._is_counted = True
        """The inventory may be remembered."""

    def _create(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(_STEPS):
            raise StrmError(
                "ManifestUnreadable",
                f"the manifest is of version {version}, and this release knows {len(_STEPS)}",
                remedy="run a newer release of pantograph",
            )
        for number in range(version, len(_STEPS)):
            self._db.executescript(f"BEGIN; {_STEPS[number]} PRAGMA user_version={number + 1}; COMMIT;")

    def close(self) -> None:
        """What was not committed is dropped."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close()
        fault = fault_of(self._path, error) if isinstance(error, sqlite3.Error) else None
        if fault is not None:
            raise fault from error

    def execute(self, sql: str, parameters: Iterable[object] = ()) -> sqlite3.Cursor:
        """A change, or a question that no method asks."""
        if not self._db.in_transaction and not sql.startswith("SELECT"):
            self._db.execute("BEGIN")
        return self._db.execute(sql, tuple(parameters))

    def executemany(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN")
        self._db.executemany(sql, rows)

    def commit(self) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT")
            self.commits += 1

    def get(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        if self.get(key) != value:
            self.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))

    # Directories

    def directory(self, path: str) -> DirRow | None:
        row = self._db.execute(f"SELECT {_DIR} FROM dirs WHERE path=?", (path,)).fetchone()
        return None if row is None else _dir(row)

    def add_directory(self, path: str, local: str, *, parent: int | None, mount: bool) -> int:
        """Its id; a row that exists keeps its own, and learns where it lies now."""
        stored = self.execute(
            "INSERT INTO dirs (parent, path, local, mount) VALUES (?,?,?,?) ON CONFLICT (path) DO UPDATE SET"
            " local=excluded.local, mount=excluded.mount, parent=excluded.parent RETURNING id",
            (parent, path, local, mount),
        )
        return int(stored.fetchone()[0])

    def children(self, directory: int) -> list[DirRow]:
        rows = self._db.execute(f"SELECT {_DIR} FROM dirs WHERE parent=?", (directory,))
        return [_dir(row) for row in rows]

    def retire_directory(self, directory: int) -> None:
        """Its path, with all below, is free for another row; the rows stay, and are known by `RETIRED` in their paths.

        They are no longer wanted by the spec: what they own will be pruned as such.
        """
        self.execute(
            "WITH RECURSIVE below (id) AS (SELECT ? UNION SELECT d.id FROM dirs d JOIN below b ON d.parent = b.id)"
            " UPDATE dirs SET path = ? || path, listing = NULL WHERE id IN (SELECT id FROM below)",
            (directory, f"{RETIRED}{directory}/"),
        )

    def mark_directory(self, directory: int, missing: Missing | None) -> None:
        self.execute(
            "UPDATE dirs SET reason=?, scans=?, since=?, counted=? WHERE id=?", (*_missing_columns(missing), directory)
        )

    def settle_directory(self, directory: int, *, run: int | None) -> None:
        """Something is left to do there. `run` None: its listing was not proved."""
        self.execute("UPDATE dirs SET proved_run=?, listing=NULL, times=NULL WHERE id=?", (run, directory))

    def quiet(self, path: str) -> QuietRow | None:
        """What was true of the directory, if nothing was left to do there."""
        row = self._db.execute(_QUIET, (path,)).fetchone()
        return None if row is None else QuietRow._make(row)

    def quiet_in(self, directory: int) -> dict[str, QuietRow]:
        """By path, of the directories in this one."""
        return {path: QuietRow._make(row) for path, *row in self._db.execute(_QUIET_IN, (directory,))}

    def remember(self, row: QuietRow, *, run: int, times: str | None, files: int) -> None:
        """Nothing is left to do in the directory, whose listing was proved; `row.local` stays as it is."""
        self.execute(
            "UPDATE dirs SET proved_run=?, listing=?, renew_at=?, times=?, files=? WHERE id=?",
            (run, row.listing, row.renew_at, times, files, row.id),
        )
        self.execute(
            "INSERT OR REPLACE INTO quiet (dir, answer, names, numbers, digests) VALUES (?,?,?,?,?)",
            (row.id, row.answer, row.names, row.numbers, row.digests),
        )

    def answered(self, directory: int, answer: bytes) -> None:
        """The source sends something else, of the same meaning."""
        self.execute("UPDATE quiet SET answer=? WHERE dir=?", (answer, directory))

    def drop_short_cut(self, directory: int) -> None:
        """The directory is looked at in full next time."""
        self.execute("UPDATE dirs SET listing=NULL WHERE id=?", (directory,))

    def prove_directories(self, run: int, directories: Iterable[int]) -> None:
        self.executemany("UPDATE dirs SET proved_run=? WHERE id=?", ((run, each) for each in directories))

    def stamp_directory(self, directory: int, times: str | None) -> None:
        self.execute("UPDATE dirs SET times=? WHERE id=?", (times, directory))

    # Files

    def files(self, directory: int) -> dict[str, FileRow]:
        rows = self._db.execute(f"SELECT {_FILE} FROM files WHERE dir=?", (directory,))
        return {row[0]: _file(row) for row in rows}

    def file(self, directory: int, name: str) -> FileRow | None:
        row = self._db.execute(f"SELECT {_FILE} FROM files WHERE dir=? AND name=?", (directory, name)).fetchone()
        return None if row is None else _file(row)

    def intend(self, intents: Iterable[Intent]) -> None:
        """Files are about to hold something."""
        self._count_anew()
        self.executemany(
            "INSERT INTO files (dir, name, kind, remote, intent) VALUES (?,?,?,?,?)"
            " ON CONFLICT (dir, name) DO UPDATE SET intent=excluded.intent",
            intents,
        )

    def record(self, records: Iterable[Record]) -> None:
        """Files are durable, or were found, as it is said here; none of them is missing."""
        self._count_anew()
        self.executemany(
            "INSERT OR REPLACE INTO files (dir, name, kind, remote, digest, size, mtime_ns, remote_size, remote_time)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            records,
        )

    def mark_file(self, directory: int, name: str, missing: Missing | None, *, confirm: bool = False) -> None:
        self.execute(
            "UPDATE files SET reason=?, scans=?, since=?, counted=?, confirm=? WHERE dir=? AND name=?",
            (*_missing_columns(missing), confirm, directory, name),
        )

    def forget_file(self, directory: int, name: str) -> None:
        self._count_anew()
        self.execute("DELETE FROM files WHERE dir=? AND name=?", (directory, name))

    def inventory(self) -> dict[str, int]:
        """How many files we own, by kind: counted when some came or went, remembered otherwise."""
        remembered = self.get(_INVENTORY)
        if remembered is not None:
            counted: dict[str, int] = json.loads(remembered)
            return counted
        rows = self._db.execute("SELECT kind, count(*) FROM files WHERE digest IS NOT NULL GROUP BY kind")
        counted = {str(kind): int(count) for kind, count in rows}
        self.put(_INVENTORY, json.dumps(counted))
        self._is_counted = True
        return counted

    def _count_anew(self) -> None:
        """What was counted is dropped in the transaction that changes the count."""
        if self._is_counted:
            self.execute("DELETE FROM meta WHERE key=?", (_INVENTORY,))
            self._is_counted = False

    def defer_rewrite(
        self, directory: int, name: str, text: bytes, entry: Entry, *, reason: str, found: bytes | None
    ) -> None:
        """The file, which holds a content of digest `found`, is to hold `text`, once all rewrites are counted."""
        time = None if entry.modified is None else entry.modified.timestamp()
        self.execute(
            "INSERT OR REPLACE INTO rewrites (dir, name, text, remote, remote_size, remote_time, reason, found)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (directory, name, text, entry.name, entry.size_bytes, time, reason, found),
        )

    def drop_rewrites(self) -> None:
        self.execute("DELETE FROM rewrites")

    # The frontier

    def frontier(self) -> list[FrontierItem]:
        rows = self._db.execute("SELECT path, local, depth, proved, modified FROM frontier ORDER BY path DESC")
        return [
            FrontierItem(path, local, depth, bool(proved), modified) for path, local, depth, proved, modified in rows
        ]

    def move_frontier(self, *, done: Iterable[str], added: Iterable[FrontierItem]) -> None:
        self.executemany("DELETE FROM frontier WHERE path=?", ((path,) for path in done))
        self.executemany(
            "INSERT OR REPLACE INTO frontier (path, local, depth, proved, modified) VALUES (?,?,?,?,?)",
            ((item.path, item.local, item.depth, item.proved, item.modified) for item in added),
        )

    def clear_frontier(self) -> None:
        for table in ("frontier", "rewrites"):
            if self._db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                self.execute(f"DELETE FROM {table}")

    def select(self, sql: str, parameters: Iterable[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows, streamed; on a cursor of its own."""
        yield from self._db.execute(sql, tuple(parameters))


_DIR: Final = "id, path, local, mount, made, listing, renew_at, times, files, proved_run, reason, scans, since, counted"
_QUIET_ROW: Final = "d.id, d.local, d.listing, d.renew_at, q.answer, q.names, q.numbers, q.digests"
_QUIET_ROWS: Final = "FROM dirs d JOIN quiet q ON q.dir = d.id WHERE d.listing IS NOT NULL"
_QUIET: Final = f"SELECT {_QUIET_ROW} {_QUIET_ROWS} AND d.path=?"
_QUIET_IN: Final = f"SELECT d.path, {_QUIET_ROW} {_QUIET_ROWS} AND d.parent=?"
_FILE: Final = (
    "name, kind, remote, digest, intent, size, mtime_ns, remote_size, remote_time, reason, scans, since, counted"
)


def _dir(row: tuple[Any, ...]) -> DirRow:
    identity, path, local, mount, made, listing, renew_at, times, files, proved_run, *missing = row
    return DirRow(
        identity, path, local, bool(mount), bool(made), listing, renew_at, times, files, proved_run, _missing(missing)
    )


def _file(row: tuple[Any, ...]) -> FileRow:
    name, kind, remote, digest, intent, size, mtime_ns, remote_size, remote_time, *missing = row
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
        missing=_missing(missing),
    )


def _missing(columns: list[Any]) -> Missing | None:
    return None if columns[0] is None else Missing(*columns)


def _missing_columns(missing: Missing | None) -> tuple[str | None, int, float | None, float | None]:
    if missing is None:
        return (None, 0, None, None)
    return (missing.reason, missing.scans, missing.since, missing.counted)
