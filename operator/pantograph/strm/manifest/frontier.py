"""What the run at work has still to do, so that a killed one goes on: directories to list, files to write anew."""

# ruff: noqa: S608 - what is put into statements are this module's own table names

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

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


class Deferred(NamedTuple):
    """A file that is to hold `text`, once all rewrites are counted."""

    dir: int
    name: str
    text: bytes
    remote: str
    remote_size: int | None
    remote_time: float | None
    reason: str
    found: bytes | None
    """Digest of what it held when it was compared."""
    size: int | None
    """As it lay there then; None: an earlier release compared it, and did not say."""
    mtime_ns: int | None


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

    def defer(self, rewrites: Iterable[Deferred]) -> None:
        """To be written anew, in place of what was planned for these files before."""
        self._manifest.executemany(
            f"INSERT OR REPLACE INTO rewrites ({', '.join(Deferred._fields)})"
            f" VALUES ({','.join('?' * len(Deferred._fields))})",
            rewrites,
        )

    def deferred(self, most: int) -> list[tuple[Deferred, str, str]]:
        """The first of what is left to be written anew, each with its directory's paths: at the source, on disk."""
        rows = self._db.execute(
            f"SELECT {', '.join(f'r.{column}' for column in Deferred._fields)}, d.path, d.local"
            " FROM rewrites r JOIN dirs d ON d.id=r.dir ORDER BY r.dir, r.name LIMIT ?",
            (most,),
        )
        return [(Deferred._make(columns), path, local) for *columns, path, local in rows]

    def drop_rewrites(self, last: Deferred | None = None) -> None:
        """Up to `last`, or all."""
        if last is None:
            self._manifest.execute("DELETE FROM rewrites")
        else:
            self._manifest.execute("DELETE FROM rewrites WHERE (dir, name) <= (?,?)", (last.dir, last.name))
