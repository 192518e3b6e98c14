"""`pantograph strm doctor`: whether server and target can be used, and what the first link would look like."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pantograph.providers.errors import ProviderError
from pantograph.providers.media.port import Entry, MediaSource
from pantograph.strm.errors import StrmError
from pantograph.strm.naming import STATE_DIR
from pantograph.strm.spec import Job
from pantograph.strm.state import TRASH, read_owner


async def examine(job: Job, source: MediaSource, target: Callable[[], tuple[Path, Path]]) -> int:
    """Print what was seen; 1 if anything would stop a run. Writes nothing but the target's directory itself."""
    return 0 if all([await _server(job, source), _target(job, target)]) else 1


async def _server(job: Job, source: MediaSource) -> bool:
    try:
        info = await source.test_connection()
        _say("server", f"{info.product} {info.version}, user {info.user or '(guest)'}, base path {info.base_path}")
        for note in info.notes:
            _say("note", note)
        listing = await source.list(job.source)
        file = next((each for each in listing.entries if not each.is_dir), Entry("example.mkv", job.source, False, 1))
        link = job.links.text(source, file).decode()
    except ProviderError as error:
        _say("FAULT", f"{error.message}" + (f"; {error.remedy}" if error.remedy else ""))
        return False
    _say("source", f"{job.source}: {len(listing.entries)} entries, {'complete' if listing.complete else 'NOT proved'}"
         f" ({listing.why})")  # fmt: skip
    able = source.capabilities
    _say("driver", f"watch {able.watch}, proves listings {able.proves_complete_listing}, sign {able.sign}")
    _say("link", link)
    if job.verify == "DirMtime" and not able.directory_times:
        _say("note", "update.verify: DirMtime is as Stat here, for the times of this server's directories tell nothing")
    return True


def _target(job: Job, target: Callable[[], tuple[Path, Path]]) -> bool:
    try:
        _, directory = target()
        owner = read_owner(directory)
    except StrmError as error:
        _say("FAULT", str(error))
        return False
    if not os.access(directory, os.W_OK | os.X_OK):
        _say("FAULT", f"{directory} cannot be written by this user")
        return False
    if owner is None:
        _say("target", f"{directory}: nobody's yet")
        return True
    _say("target", f"{directory}: kept by {owner.namespace}/{owner.name} from {owner.source}")
    trash = directory / STATE_DIR / TRASH
    for run in sorted(trash.iterdir()) if trash.is_dir() else ():
        _say("trash", f"run {run.name}: pantograph strm restore … {run.name}")
    if (owner.namespace, owner.name) != (job.namespace, job.name) and not job.adopt:
        _say("FAULT", "the target belongs to another job; choose another directory or set target.adopt: true")
        return False
    return True


def _say(what: str, text: str) -> None:
    print(f"{what:8} {text}")
