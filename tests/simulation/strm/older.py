"""Today's records as an earlier release would have left them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

_SIXTH = """
CREATE TABLE old (
  run INTEGER NOT NULL, path TEXT NOT NULL, digest BLOB NOT NULL, dir INTEGER NOT NULL, name TEXT NOT NULL,
  reason TEXT NOT NULL, ready INTEGER NOT NULL, PRIMARY KEY (run, path)
) WITHOUT ROWID;
INSERT INTO old SELECT run, path, l.digest, l.dir, f.name, l.reason, ready
 FROM lists JOIN listed l ON id BETWEEN first AND last JOIN files f ON f.dir = l.dir AND l.path LIKE '%/' || f.name;
DROP TABLE candidates; DROP TABLE listed; DROP TABLE lists; DROP TABLE trash; DROP TABLE announced;
ALTER TABLE rewrites DROP COLUMN size; ALTER TABLE rewrites DROP COLUMN mtime_ns;
ALTER TABLE old RENAME TO candidates;
PRAGMA user_version=6
"""
_FIRST = """
ALTER TABLE dirs DROP COLUMN times; ALTER TABLE frontier DROP COLUMN modified; ALTER TABLE rewrites DROP COLUMN found;
ALTER TABLE runs DROP COLUMN existing;
ALTER TABLE dirs DROP COLUMN files; ALTER TABLE dirs ADD COLUMN stats TEXT;
DROP TABLE changes; DROP TABLE tellings; DROP TABLE quiet;
PRAGMA user_version=1
"""


_ELEVENTH = """
DROP TABLE announced;
CREATE TABLE announced (files TEXT NOT NULL);
PRAGMA user_version=11
"""


def announce_by_file(target: Path) -> None:
    """Take the records of `target` back to version 11, which announced all files in one row, each by itself."""
    with closing(sqlite3.connect(target / ".pantograph/manifest.sqlite")) as database:
        files = []
        for directory, names, remotes, digests in database.execute("SELECT * FROM announced"):
            each = zip(
                names.split("/"),
                remotes.split("/"),
                [digests[first : first + 16] for first in range(0, len(digests), 16)],
                strict=True,
            )
            files += [[directory, name, "strm", remote, digest.hex()] for name, remote, digest in each]
        database.executescript(_ELEVENTH)
        database.execute("INSERT INTO announced VALUES (?)", (json.dumps(files),))
        database.commit()


def make_older(target: Path, *, version: int = 6, and_then: str = "") -> None:
    """Take the records of `target` back to version 6 or 1. `and_then`: what that release would have left in them."""
    with closing(sqlite3.connect(target / ".pantograph/manifest.sqlite")) as database:
        database.executescript(_SIXTH)
        if version == 1:
            database.executescript(_FIRST)
        database.executescript(and_then)
