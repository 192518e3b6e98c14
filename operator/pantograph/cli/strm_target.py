"""`pantograph strm restore` and `purge`: what concerns the target alone and asks no server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace

from pantograph.clock import SystemClock
from pantograph.strm.candidates import candidates_of, digest_of_candidates, run_named
from pantograph.strm.changes import Changes
from pantograph.strm.errors import StrmError
from pantograph.strm.faults import fault_of_target
from pantograph.strm.manifest import Manifest
from pantograph.strm.naming import STATE_DIR
from pantograph.strm.purge import purge
from pantograph.strm.purged import forget_word
from pantograph.strm.removal import restore
from pantograph.strm.report import Progress, Report, printable
from pantograph.strm.runner import Declared, Places, target_directory
from pantograph.strm.spec import compile_job
from pantograph.strm.state import PURGED, StateDir, read_owner
from pantograph.strm.target import Target


def restore_run(declared: Declared, places: Places, run: str, *, as_json: bool) -> int:
    """Bring back what `run` moved into the trash, and print it; 1 if the place of something is taken."""
    volume, directory = target_directory(declared.job, places, make=False)
    job = compile_job(declared.job)
    owner = read_owner(directory, above=volume)
    if owner is None:
        raise StrmError("NothingToRestore", f"{directory} is not kept by any job")
    mine = replace(owner, namespace=job.namespace, name=job.name)
    with (
        closing(Target(directory, above=volume, dir_mode=job.dir_mode)) as target,
        closing(StateDir.open(target, mine, adopt=None, above=volume)) as state,
        closing(Manifest(state.manifest)) as manifest,
    ):
        changes = Changes(manifest, tuple(each.name for each in job.media_servers))
        try:
            restored, taken = restore(target, state, run, changes=changes)
        except OSError as error:
            raise fault_of_target(directory, error) from error
    print(json.dumps({"restored": restored, "taken": taken}) if as_json else f"{restored} files are back")
    for path in [] if as_json else taken:
        print(f"its place is taken, it stays in the trash: {path}")
    return 1 if taken else 0


def show_candidates(declared: Declared, places: Places, run: str, *, as_json: bool) -> int:
    """Print every file that `run` listed as gone from the source: what an approval of it removes. Raises StrmError."""
    volume, directory = target_directory(declared.job, places, make=False)
    job = compile_job(declared.job)
    owner = read_owner(directory)
    if owner is None:
        raise StrmError("RunUnknown", f"{directory} is not kept by any job")
    mine = replace(owner, namespace=job.namespace, name=job.name)
    with (
        closing(Target(directory, dir_mode=job.dir_mode)) as target,
        closing(StateDir.open(target, mine, adopt=None, above=volume)) as state,
        closing(Manifest(state.manifest)) as manifest,
    ):
        found = run_named(manifest, run)
        if found is None:
            raise StrmError("RunUnknown", f"the records in {directory} know no run {run!r} (any more)")
        if as_json:
            listed = [asdict(each) for each in candidates_of(manifest, found)]
            digest = digest_of_candidates(manifest, found)
            print(json.dumps({"run": run, "digest": digest, "candidates": listed}, ensure_ascii=False))
            return 0
        for each in candidates_of(manifest, found):
            print(f"{each.reason} {printable(each.path)}" + ("" if each.ready else " (not confirmed yet)"))
    return 0


async def purge_target(
    declared: Declared,
    places: Places,
    run: str,
    installation: str,
    *,
    expect_records: bool,
    stopped: Callable[[], bool],
    show: Callable[[Progress], None],
) -> Report:
    """Remove what the job made; `end_purge` follows when the result is recorded.

    Raises StrmError if nobody said where the target is.
    """
    volume, directory = target_directory(declared.job, places, make=False)
    job = compile_job(declared.job)
    return await purge(
        job,
        run=run,
        root=directory,
        volume=volume,
        clock=SystemClock(),
        installation=installation,
        expect_records=expect_records,
        on_progress=show,
        cancelled=stopped,
    )


def end_purge(declared: Declared, places: Places) -> None:
    """The result of the purge is recorded, so the target need not tell it any more."""
    volume, directory = target_directory(declared.job, places, make=False)
    try:
        if directory.exists():
            forget_word(directory, above=volume)
    except BlockingIOError:
        return  # another run is at work here, and removes what this one leaves
    except (StrmError, OSError) as error:
        print(f"pantograph strm: {directory}/{STATE_DIR}/{PURGED} stays, and can be removed: {error}", file=sys.stderr)
