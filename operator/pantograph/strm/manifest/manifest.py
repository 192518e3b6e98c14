"""The open file: one transaction at a time, and what earlier runs noted by a key. Its rows are the other modules'."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from pantograph.strm.manifest.directories import Directories
from pantograph.strm.manifest.faults import fault_of, unreadable
from pantograph.strm.manifest.files import Files
from pantograph.strm.manifest.frontier import Frontier
from pantograph.strm.manifest.schema import bring_up_to_date


class Manifest:
    """One transaction at a time, begun by the first change and ended by `commit`."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Raises StrmError if the file is no manifest of ours.

        To be used in a `with` statement: there what SQLite says of the file is a StrmError too, also in what iterates.
        """
        self._path = path
        self.commits = 0
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=TRUNCATE")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            self._db.execute("PRAGMA cache_size=-16384")
            bring_up_to_date(self._db)
            self.directories = Directories(self, self._db)
            self.files = Files(self, self._db)
            self.frontier = Frontier(self, self._db)
            self.files.take_over()
            self.commit()
        except sqlite3.DatabaseError as error:
            raise fault_of(path, error) or unreadable(path, error) from error
        # Quiet runs ask these for every directory, hence without a call in between.
        self.quiet = self.directories.quiet
        self.quiet_in = self.directories.quiet_in
        self.remember = self.directories.remember
        self.answered = self.directories.answered

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
        # SQLite's module asks a named tuple for its items one by one, which makes an INSERT half as dear again.
        self._db.executemany(sql, map(tuple, rows))

    def select(self, sql: str, parameters: Iterable[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows, streamed; on a cursor of its own."""
        yield from self._db.execute(sql, tuple(parameters))

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
