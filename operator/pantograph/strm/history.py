"""Runs in the manifest: a run begins or goes on where another process left it, and ends with its result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pantograph.strm.candidates import forget_lists
from pantograph.strm.manifest import RETIRED, FrontierItem, Manifest
from pantograph.strm.missing import RECONFIGURED
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
REBUILDING: Final = "rebuilding"
"""Noted in records that were begun empty on request, until a run with them has ended."""
_LISTED: Final = "SELECT count(*) FROM dirs WHERE proved_run=? AND path<>'' AND path NOT IN (SELECT path FROM frontier)"
_DOUBTED: Final = f"""
SELECT path, local FROM dirs WHERE proved_run=? AND path<>'' AND path NOT IN (SELECT path FROM frontier) AND (
  id IN (SELECT dir FROM files WHERE reason IS NOT NULL AND reason<>'{RECONFIGURED}')
  OR id IN (SELECT parent FROM dirs WHERE reason IS NOT NULL AND reason<>'{RECONFIGURED}'))
ORDER BY path DESC"""  # noqa: S608 - constants
"""Where an earlier life of the run saw that something is gone from the source; what the spec does not want is no such
thing, and may be in every directory."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A run in the manifest."""

    id: int
    resumed: bool = False
    frontier: list[FrontierItem] = field(default_factory=list)
    """The directories in which an earlier life of it found something gone, and what it left to list; the last first."""
    directories: int = 0
    """How many an earlier life has listed, without the root and those of `frontier`."""
    incomplete: int = 0
    """Directories that an earlier life could not list."""
    failed: int = 0
    """Files that an earlier life could not write: no later one comes by their directories."""
    collisions: int = 0
    existing: int | None = None
    """`.strm` files that were ours when its first life began; None: this is the first."""


def begin_run(
    manifest: Manifest, *, name: str, trigger: str, scope: str, shape: str, now: float, afresh: bool
) -> Begun:
    """Go on with the unfinished run if it had the same spec and scope and is not too old, else begin a new one.

    `afresh`: begin a new one in any case.
    """
    row = manifest.execute(
        "SELECT id, shape, scope, started FROM runs WHERE state='Running' ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if not afresh and row is not None and (row[1], row[2]) == (shape, scope) and 0 <= now - row[3] < LONGEST_RUN_S:
        manifest.execute("UPDATE runs SET name=?, trigger=? WHERE id=?", (name, trigger, row[0]))
        manifest.commit()
        return _resumed(manifest, row[0])
    manifest.execute("UPDATE runs SET state='Abandoned' WHERE state='Running'")
    manifest.frontier.clear()
    manifest.execute(
        "INSERT INTO runs (name, trigger, scope, shape, started, existing, state) VALUES (?,?,?,?,?,?,'Running')",
        (name, trigger, scope, shape, now, manifest.files.inventory().get("strm", 0)),
    )
    identity = int(manifest.execute("SELECT max(id) FROM runs").fetchone()[0])
    manifest.commit()
    return Begun(identity)


def _resumed(manifest: Manifest, run: int) -> Begun:
    question = "SELECT incomplete, existing, result FROM runs WHERE id=?"
    incomplete, existing, result = manifest.execute(question, (run,)).fetchone()
    said = json.loads(result) if result else {}  # one that was killed said nothing
    # What it found gone may be back by now, and would be removed by its word: this life looks once more. Last, for it
    # may be much: what no life has seen comes first.
    doubted = [
        FrontierItem(path, local, path.count("/") + 1, True)
        for path, local in manifest.select(_DOUBTED.strip(), (run,))
        if not path.startswith(RETIRED)
    ]
    (listed,) = manifest.execute(_LISTED, (run,)).fetchone()
    return Begun(
        run,
        resumed=True,
        frontier=doubted + manifest.frontier.items(),
        directories=listed - len(doubted),
        incomplete=incomplete,
        failed=said.get("failed", 0),
        collisions=said.get("inventory", {}).get("collisions", 0),
        existing=existing,
    )


def end_run(
    manifest: Manifest,
    run: int,
    *,
    report: Report,
    directories: int,
    job: Job | None,
    resumable: bool,
    again: Iterable[FrontierItem],
) -> None:
    """The run is over. `job`: the one by which the source was listed as a whole. `resumable`: it was cut short by
    something that passes, and the next one goes on where it stopped; and asks for the directories `again`, which this
    one counted as incomplete."""
    if job is not None:
        manifest.put("shape", job.shape)
        manifest.put("frame", job.frame)
        manifest.put("directories", str(directories))
    if resumable:
        _ask_again(manifest, run, list(again))
    else:
        manifest.frontier.clear()
        manifest.execute("DELETE FROM meta WHERE key=?", (REBUILDING,))
    manifest.execute(
        "UPDATE runs SET state=?, dirs=?, result=? WHERE id=?",
        ("Running" if resumable else report.result, directories, json.dumps(report.as_json(), ensure_ascii=False), run),
    )
    manifest.execute(_FORGET, (run - KEPT_RUNS, KEPT_QUESTIONS))
    forget_lists(manifest, until=run - KEPT_RUNS)
    manifest.commit()


def _ask_again(manifest: Manifest, run: int, directories: list[FrontierItem]) -> None:
    manifest.frontier.move(done=(), added=directories)
    manifest.execute("UPDATE runs SET incomplete=incomplete-? WHERE id=?", (len(directories), run))


def known_directories(manifest: Manifest) -> int | None:
    """How many the last complete run listed; None if there was none."""
    value = manifest.get("directories")
    return None if value is None else int(value)
