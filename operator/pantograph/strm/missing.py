"""What of ours a complete listing no longer shows: marked and counted, never believed on one suspicious scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pantograph.strm.manifest import RETIRED, DirRow, FileRow, Missing
from pantograph.strm.spec import PruneRules
from pantograph.strm.wanted import Wanted

GONE = "Gone"
"""The source no longer lists the file, but others of its directory."""
EMPTIED = "Emptied"
"""The source lists none of the files that the directory had."""
DIRECTORY_GONE = "DirectoryGone"
RECONFIGURED = "Reconfigured"
"""The source has it; the spec no longer wants it under this name."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A change of what is known to be missing. `missing` None: it is there again."""

    name: str
    missing: Missing | None
    confirm: bool
    """It needs confirming scans and age before anybody may believe it."""


def file_marks(
    rows: Mapping[str, FileRow], wanted: Wanted, *, rules: PruneRules, now: float, reconfigured: bool
) -> list[Mark]:
    """After a complete listing: marks for the directory's files. `reconfigured`: the spec wants other files than when
    the source was last listed; so it, and not the source, explains what is listed and no longer wanted."""
    lost = [
        row
        for name, row in rows.items()
        if name not in wanted.files and name not in wanted.protected and row.remote not in wanted.unseen
    ]
    # A directory that still shows one file we know is alive; one that lost them all at once may be a failed storage.
    alive = any(name in wanted.files and row.kind == "strm" for name, row in rows.items())
    marks: list[Mark] = []
    for row in lost:
        listed = row.remote in wanted.listed
        reason = RECONFIGURED if listed else GONE if alive else EMPTIED
        certain = reconfigured or _was_unwanted(row) if listed else alive
        marks.append(Mark(row.name, advance(row.missing, reason, rules=rules, now=now), not certain))
    lost_names = {row.name for row in lost}
    found = [Mark(row.name, None, False) for row in rows.values() if row.missing and row.name not in lost_names]
    return marks + found


def _was_unwanted(row: FileRow) -> bool:
    """By a spec that came before this run, and was not obeyed yet: its limits may have blocked that."""
    return row.missing is not None and row.missing.reason == RECONFIGURED and not row.confirm


def directory_marks(
    children: Iterable[DirRow], wanted: Wanted, *, rules: PruneRules, now: float
) -> list[tuple[DirRow, Missing | None]]:
    """After a complete listing: marks for the directories in it. Whole subtrees hang on each."""
    marks: list[tuple[DirRow, Missing | None]] = []
    for child in children:
        name = child.path.rpartition("/")[2]
        if name in wanted.excluded or child.path.startswith(RETIRED):
            marks.append((child, advance(child.missing, RECONFIGURED, rules=rules, now=now)))
        elif name not in wanted.folders and name not in wanted.unseen:
            marks.append((child, advance(child.missing, DIRECTORY_GONE, rules=rules, now=now)))
        elif child.missing is not None:
            marks.append((child, None))
    return marks


def advance(before: Missing | None, reason: str, *, rules: PruneRules, now: float) -> Missing:
    """One more complete scan did not show it.

    Scans count only if they are apart, by a share of the age that is asked for: a burst of them confirms nothing, and
    one jump of the clock passes for one scan only. A clock that went back starts the age anew.
    """
    if before is None or before.reason != reason or now < before.counted:
        return Missing(reason, 1, now, now)
    if now - before.counted < rules.min_age_s / (rules.confirm_scans + 1):
        return before
    return replace(before, scans=before.scans + 1, counted=now)


def is_confirmed(missing: Missing, *, rules: PruneRules, now: float) -> bool:
    """Whether enough scans, far enough apart, agree."""
    return missing.scans > rules.confirm_scans and now - missing.since >= rules.min_age_s
