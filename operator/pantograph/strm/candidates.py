"""What a run listed as gone from the source, as its records keep it: what an approval of that run speaks of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pantograph.strm.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ListedCandidate:
    """One file."""

    path: str
    """Relative to the target."""
    reason: str
    ready: bool
    """Nothing has to be confirmed by further listings."""


def run_named(manifest: Manifest, name: str) -> int | None:
    """The newest run of this name; None: the records know of none (any more)."""
    row = manifest.execute("SELECT id FROM runs WHERE name=? ORDER BY id DESC LIMIT 1", (name,)).fetchone()
    return None if row is None else int(row[0])


def candidates_of(manifest: Manifest, run: int) -> Iterator[ListedCandidate]:
    """All of them, by path."""
    question = "SELECT path, reason, ready FROM candidates WHERE run=? ORDER BY path"
    for path, reason, ready in manifest.select(question, (run,)):
        yield ListedCandidate(path, f"Prune{reason}", bool(ready))


def digest_of_candidates(manifest: Manifest, run: int) -> str:
    """Of their paths and contents; empty: there is none."""
    digest, found = hashlib.sha256(), False
    for path, content in manifest.select("SELECT path, digest FROM candidates WHERE run=? ORDER BY path", (run,)):
        digest.update(f"{path}\0{content.hex()}\n".encode())
        found = True
    return digest.hexdigest() if found else ""


def run_before(manifest: Manifest, run: int) -> int | None:
    """The last one before it that listed any."""
    (found,) = manifest.execute("SELECT max(run) FROM candidates WHERE run < ?", (run,)).fetchone()
    return None if found is None else int(found)
