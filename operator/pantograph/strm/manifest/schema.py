"""The tables, and the steps from every earlier release's to today's."""

from __future__ import annotations

import sqlite3
from typing import Final

from pantograph.strm.errors import StrmError

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
    """
ALTER TABLE quiet ADD COLUMN leaf INTEGER NOT NULL DEFAULT 0;  -- no directory is, or was, in this one
DELETE FROM quiet;  -- of these it is not known: all is looked at once more
""",
    # A place in the target had two rows where names had changed, and the older's mark would have taken the newer's
    # files. Of such places nothing is known any more: what is wanted there is found there, and becomes ours again.
    """
UPDATE runs SET state = 'Abandoned' WHERE state = 'Running'
 AND EXISTS (SELECT 1 FROM dirs GROUP BY local HAVING count(*) > 1);
DELETE FROM quiet WHERE EXISTS (SELECT 1 FROM dirs GROUP BY local HAVING count(*) > 1);
WITH RECURSIVE twice (id) AS (
 SELECT id FROM dirs WHERE local IN (SELECT local FROM dirs GROUP BY local HAVING count(*) > 1)
 UNION SELECT d.id FROM dirs d JOIN twice t ON d.parent = t.id)
DELETE FROM files WHERE dir IN (SELECT id FROM twice);
WITH RECURSIVE twice (id) AS (
 SELECT id FROM dirs WHERE local IN (SELECT local FROM dirs GROUP BY local HAVING count(*) > 1)
 UNION SELECT d.id FROM dirs d JOIN twice t ON d.parent = t.id)
DELETE FROM dirs WHERE id IN (SELECT id FROM twice);
DELETE FROM meta WHERE key = 'inventory';
""",
    """
CREATE TABLE trash (run TEXT PRIMARY KEY, age REAL NOT NULL, looked REAL NOT NULL) WITHOUT ROWID;
 -- how long a run's trash was seen to lie there, and when it was last looked at
""",
    """
CREATE TABLE listed (       -- what runs found gone, once each, however many found it so
  id INTEGER PRIMARY KEY, path TEXT NOT NULL, digest BLOB NOT NULL, dir INTEGER NOT NULL, reason TEXT NOT NULL,
  ready INTEGER NOT NULL, UNIQUE (path, digest, dir, reason, ready)
);
CREATE TABLE lists (        -- a run's list: those of these ids
  run INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (run, first)
) WITHOUT ROWID;
INSERT INTO listed (path, digest, dir, reason, ready)
 SELECT DISTINCT path, digest, dir, reason, ready FROM candidates ORDER BY path;
INSERT INTO lists SELECT run, id, id FROM candidates JOIN listed USING (path, digest, dir, reason, ready);
DROP TABLE candidates;
CREATE TABLE candidates (   -- of the run at work, until its list is whole
  path TEXT PRIMARY KEY, digest BLOB NOT NULL, dir INTEGER NOT NULL, reason TEXT NOT NULL, ready INTEGER NOT NULL
) WITHOUT ROWID;
""",
    """
CREATE TABLE announced (files TEXT NOT NULL);  -- JSON: what is being written
""",
    """
ALTER TABLE rewrites ADD COLUMN size INTEGER;  -- as the file lay there when it was compared; NULL: not known
ALTER TABLE rewrites ADD COLUMN mtime_ns INTEGER;
""",
    """
INSERT INTO files (dir, name, kind, remote, intent)
 SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
  json_extract(value, '$[3]'), bytes_of(json_extract(value, '$[4]'))
 FROM announced, json_each(announced.files) WHERE true
 ON CONFLICT (dir, name) DO UPDATE SET intent = excluded.intent;
DROP TABLE announced;
CREATE TABLE announced (      -- the links of a directory that are being written
  dir INTEGER NOT NULL, names TEXT NOT NULL, remotes TEXT NOT NULL, digests BLOB NOT NULL
);
""",
)
"""From an empty file to the newest schema; `user_version` counts the steps that were made. Only ever appended to."""


def bring_up_to_date(db: sqlite3.Connection) -> None:
    """Make the tables, or the steps that are missing. Raises StrmError for those of a newer release."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(_STEPS):
        raise StrmError(
            "ManifestUnreadable",
            f"the manifest is of version {version}, and this release knows {len(_STEPS)}",
            remedy="run a newer release of pantograph",
        )
    db.create_function("bytes_of", 1, bytes.fromhex)  # SQLite has its `unhex` from 3.41 on
    for number in range(version, len(_STEPS)):
        db.executescript(f"BEGIN; {_STEPS[number]} PRAGMA user_version={number + 1}; COMMIT;")
