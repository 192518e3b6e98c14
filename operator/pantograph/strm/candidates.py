"""What runs listed as gone from the source, as their records keep it: what an approval of such a run speaks of.

A list may be as long as the library, and be found again by every run for weeks. So what was found is stored once,
however many runs list it: a list is but the ranges of its rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from pantograph.strm.manifest import Manifest

_FOUND: Final = "path, digest, dir, reason, ready"
_LISTED: Final = "FROM lists l CROSS JOIN listed f ON f.id BETWEEN l.first AND l.last WHERE l.run=?"
_NEW: Final = f"INSERT OR IGNORE INTO listed ({_FOUND}) SELECT {_FOUND} FROM candidates ORDER BY path"  # noqa: S608 - constants
# Rows whose ids follow each other, in the order of ids, differ from their positions by the same number.
_FILE: Final = f"""
INSERT INTO lists (run, first, last) SELECT ?, min(id), max(id) FROM
 (SELECT id, id - row_number() OVER (ORDER BY id) AS series FROM candidates JOIN listed USING ({_FOUND}))
 GROUP BY series"""  # noqa: S608 - constants
_IN_BOTH: Final = (
    "EXISTS (SELECT 1 FROM listed a JOIN lists m ON a.id BETWEEN m.first AND m.last"
    " WHERE a.path=f.path AND a.digest=f.digest AND m.run=?)"
)


@dataclass(frozen=True, slots=True)
class ListedCandidate:
    """One file."""

    path: str
    """Relative to the target."""
    reason: str
    ready: bool
    """Nothing has to be confirmed by further listings."""


class Removable(NamedTuple):
    """A candidate that may go."""

    directory: int
    name: str
    digest: bytes
    ready: bool


def begin_list(manifest: Manifest, run: int) -> None:
    """Nothing is on it; what an earlier life of the run had found, or one that was killed, is looked for anew."""
    manifest.execute("DELETE FROM lists WHERE run=?", (run,))
    manifest.execute("DELETE FROM candidates")


def put_on_list(manifest: Manifest, path: str, digest: bytes, *, directory: int, reason: str, ready: bool) -> None:
    """The run at work found the file gone. What it finds later of the same path holds."""
    manifest.execute(
        f"INSERT OR REPLACE INTO candidates ({_FOUND}) VALUES (?,?,?,?,?)",  # noqa: S608 - constants
        (path, digest, directory, reason, ready),
    )


def end_list(manifest: Manifest, run: int) -> None:
    """What was put on the list is the run's."""
    manifest.execute(_NEW)
    manifest.execute(_FILE.strip(), (run,))
    manifest.execute("DELETE FROM candidates")


def forget_lists(manifest: Manifest, *, until: int) -> None:
    """The lists of runs up to this one that are forgotten; and what is on no other list."""
    manifest.execute("DELETE FROM lists WHERE run <= ? AND run NOT IN (SELECT id FROM runs)", (until,))
    end = 0
    for first, last in manifest.select("SELECT first, last FROM lists ORDER BY first"):
        if first > end + 1:
            manifest.execute("DELETE FROM listed WHERE id > ? AND id < ?", (end, first))
        end = max(end, last)
    manifest.execute("DELETE FROM listed WHERE id > ?", (end,))


def run_named(manifest: Manifest, name: str) -> int | None:
    """The newest run of this name; None: the records know of none (any more)."""
    row = manifest.execute("SELECT id FROM runs WHERE name=? ORDER BY id DESC LIMIT 1", (name,)).fetchone()
    return None if row is None else int(row[0])


def run_before(manifest: Manifest, run: int) -> int | None:
    """The last one before it that listed any."""
    (found,) = manifest.execute("SELECT max(run) FROM lists WHERE run < ?", (run,)).fetchone()
    return None if found is None else int(found)


def candidates_of(manifest: Manifest, run: int) -> Iterator[ListedCandidate]:
    """All of them, by path."""
    question = f"SELECT f.path, f.reason, f.ready {_LISTED} ORDER BY f.path"
    for path, reason, ready in manifest.select(question, (run,)):
        yield ListedCandidate(path, f"Prune{reason}", bool(ready))


def digest_of_candidates(manifest: Manifest, run: int) -> str:
    """Of their paths and contents; empty: there is none."""
    digest, found = hashlib.sha256(), False
    question = f"SELECT f.path, f.digest {_LISTED} ORDER BY f.path"
    for path, content in manifest.select(question, (run,)):
        digest.update(f"{path}\0{content.hex()}\n".encode())
        found = True
    return digest.hexdigest() if found else ""


def removable(manifest: Manifest, run: int, *, approved: int | None = None) -> list[Removable]:
    """What the run found that is ready, by path; or, ready or not, what the run `approved` had listed as well."""
    which, numbers = ("f.ready", (run,)) if approved is None else (_IN_BOTH, (run, approved))
    question = f"SELECT f.dir, f.path, f.digest, f.ready {_LISTED} AND {which} ORDER BY f.path"
    return [
        Removable(directory, path.rpartition("/")[2], digest, bool(ready))
        for directory, path, digest, ready in manifest.select(question, numbers)
    ]
