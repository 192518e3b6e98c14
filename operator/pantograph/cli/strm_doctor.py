"""`pantograph strm doctor`: whether server, target and media servers can be used, and what a link would look like."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pantograph.providers.errors import ProviderError
from pantograph.providers.media.port import Entry, MediaSource
from pantograph.providers.notify.port import MediaServer
from pantograph.strm.errors import StrmError
from pantograph.strm.folders import MediaServerRules
from pantograph.strm.naming import STATE_DIR
from pantograph.strm.spec import Job
from pantograph.strm.state import TRASH, Owner, has_adopted, read_owner, refuse_other


async def examine(
    job: Job,
    source: MediaSource,
    target: Callable[[], tuple[Path, Path]],
    identity: Callable[[], Awaitable[str]],
    installation: str,
    media_servers: Mapping[str, MediaServer],
) -> int:
    """Print what was seen; 1 if a run would not work or would be refused. Writes nothing.

    `identity` tells what the target's records should call the source.
    """
    usable = [await _server(job, source)]
    # Without the server nobody knows what its source is called.
    owner = Owner(installation, job.namespace, job.name, f"{await identity()}{job.source}") if usable[0] else None
    usable.append(_target(job, target, owner))
    for rules in job.media_servers:
        usable.append(await _media_server(rules, media_servers[rules.name]))
    return 0 if all(usable) else 1


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


def _target(job: Job, target: Callable[[], tuple[Path, Path]], mine: Owner | None) -> bool:
    try:
        volume, directory = target()
        owner = read_owner(directory, above=volume)
        if not directory.exists():
            _say("target", f"{directory}: a run would make it")
            return True
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
    try:
        taker = mine or replace(owner, namespace=job.namespace, name=job.name)
        refuse_other(directory, owner, taker, adopt=job.adopt, used=has_adopted(directory, taker, above=volume))
    except StrmError as error:
        _say("FAULT", str(error))
        return False
    return True


async def _media_server(rules: MediaServerRules, server: MediaServer) -> bool:
    try:
        info = await server.look()
    except ProviderError as error:
        _say("FAULT", f"{error.message}" + (f"; {error.remedy}" if error.remedy else ""))
        return False
    folder = rules.place("")
    _say("tells", f"{rules.name}, {info.product} {info.version}, at most every {rules.debounce_s:g} s"
         f" of {rules.max_paths} folders below {folder}")  # fmt: skip
    if folder is None:
        _say(
            "FAULT", f"nothing in the pathMap of media server {rules.name} fits {rules.base or '/'}: add from: /, to: …"
        )
        return False
    if info.folders is not None and not any(_are_one_above_the_other(folder, each) for each in info.folders):
        _say("FAULT", f"no library of {rules.name} holds {folder}; it has {', '.join(info.folders) or 'none'}")
        return False
    return True


def _are_one_above_the_other(one: str, other: str) -> bool:
    shallow, deep = sorted((re.split(r"[/\\]+", each.rstrip("/\\").casefold()) for each in (one, other)), key=len)
    return deep[: len(shallow)] == shallow


def _say(what: str, text: str) -> None:
    print(f"{what:8} {text}")
