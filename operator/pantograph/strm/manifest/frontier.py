"""What the run at work has still to do, so that a killed one goes on: directories to list, files to write anew."""

# ruff: noqa: S608 - what is put into statements are this module's own table names

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from pantograph.providers.media.port import Entry

if TYPE_CHECKING:
    from pantograph.strm.manifest.manifest import Manifest


class FrontierItem(NamedTuple):
    """A directory still to be listed."""

    path: str
    local: str
    depth: int
    proved: bool
    """Every directory above it was listed completely."""
    modified: float | None = None
    """As its parent's listing has it; seconds since 1970."""


class Frontier:
    """As it is stored; the walk has it in memory."""

    def __init__(self, manifest: Manifest, db: sqlite3.Connection) -> None:
        """`db`: to ask; a change goes by the manifest, which begins its transaction."""
        self._manifest = manifest
        self._db = db

    def items(self) -> list[FrontierItem]:
        rows = self._db.execute("SELECT path, local, depth, proved, modified FROM frontier ORDER BY path DESC")
        return [
            FrontierItem(path, local, depth, bool(proved), modified) for path, local, depth, proved, modified in rows
        ]

    def move(self, *, done: Iterable[str], added: Iterable[FrontierItem]) -> None:
        self._manifest.executemany("DELETE FROM frontier WHERE path=?", ((path,) for path in done))
        self._manifest.executemany(
            "INSERT OR REPLACE INTO frontier (path, local, depth, proved, modified) VALUES (?,?,?,?,?)",
            ((item.path, item.local, item.depth, item.proved, item.modified) for item in added),
        )

    def clear(self) -> None:
        """Nothing is left of it."""
        for table in ("frontier", "rewrites"):
            if self._db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                self._manifest.execute(f"DELETE FROM {table}")

    def defer_rewrite(
        self, directory: int, name: str, text: bytes, entry: Entry, *, reason: str, found: bytes | None
    ) -> None:
        """The file, which holds a content of digest `found`, is to hold `text`, once all rewrites are counted."""
        time = None if entry.modified is None else entry.modified.timestamp()
        self._manifest.execute(
            "INSERT OR REPLACE INTO rewrites (dir, name, text, remote, remote_size, remote_time, reason, found)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (directory, name, text, entry.name, entry.size_bytes, time, reason, found),
        )

    def drop_rewrites(self) -> None:
        self._manifest.execute("DELETE FROM rewrites")
