"""Runs in the manifest: a run begins or goes on where another process left it, and ends with its result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from pantograph.strm.candidates import forget_lists
from pantograph.strm.manifest import FrontierItem, Manifest
from pantograph.strm.report import Report
from pantograph.strm.spec import Job

KEPT_RUNS: Final = 50
KEPT_QUESTIONS: Final = 10
"""Of the runs that wait for an approval, which may come after hundreds of small runs that followed changes."""
_FORGET: Final = (
    "DELETE FROM runs WHERE id <= ? AND id NOT IN (SELECT id FROM runs WHERE state='Blocked' ORDER BY id DESC LIMIT ?)"
)
LONGEST_RUN_S: Final = 24 * 3600.0
"""What an interrupted run saw before that is too old to go on from."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A run in the manifest."""

    id: int
    resumed: bool
    incomplete: int
    """Directories that an earlier life of it could not list."""
    frontier: list[FrontierItem]
    existing: int | None
    """`.strm` files that were ours when its first life began; None: this is the first."""


def begin_run(
    manifest: Manifest, *, name: str, trigger: str, scope: str, shape: str, now: float, afresh: bool
) -> Begun:
    """Go on with the unfinished run if it had the same spec and scope and is not too old, else begin a new one.

    `afresh`: begin a new one in any case.
    """
    row = manifest.execute(
        "SELECT id, shape, scope, started, incomplete, existing FROM runs WHERE state='Running'"
        " ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if not afresh and row is not None and (row[1], row[2]) == (shape, scope) and 0 <= now - row[3] < LONGEST_RUN_S:
        manifest.execute("UPDATE runs SET name=?, trigger=? WHERE id=?", (name, trigger, row[0]))
        manifest.commit()
        return Begun(row[0], True, row[4], manifest.frontier.items(), row[5])
    manifest.execute("UPDATE runs SET state='Abandoned' WHERE state='Running'")
    manifest.frontier.clear()
    manifest.execute(
        "INSERT INTO runs (name, trigger, scope, shape, started, existing, state) VALUES (?,?,?,?,?,?,'Running')",
        (name, trigger, scope, shape, now, manifest.files.inventory().get("strm", 0)),
    )
    identity = int(manifest.execute("SELECT max(id) FROM runs").fetchone()[0])
    manifest.commit()
    return Begun(identity, False, 0, [], None)


def end_run(
    manifest: Manifest, run: int, *, report: Report, directories: int, job: Job | None, resumable: bool
) -> None:
    """The run is over. `job`: the one by which the source was listed as a whole. `resumable`: it was cut short by
    something that passes, and the next one goes on where it stopped."""
    if job is not None:
        manifest.put("shape", job.shape)
        manifest.put("frame", job.frame)
        manifest.put("directories", str(directories))
    if not resumable:
        manifest.frontier.clear()
    manifest.execute(
        "UPDATE runs SET state=?, dirs=?, result=? WHERE id=?",
        ("Running" if resumable else report.result, directories, json.dumps(report.as_json(), ensure_ascii=False), run),
    )
    manifest.execute(_FORGET, (run - KEPT_RUNS, KEPT_QUESTIONS))
    forget_lists(manifest, until=run - KEPT_RUNS)
    manifest.commit()


def known_directories(manifest: Manifest) -> int | None:
    """How many the last complete run listed; None if there was none."""
    value = manifest.get("directories")
    return None if value is None else int(value)
