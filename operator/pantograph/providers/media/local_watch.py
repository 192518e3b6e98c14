"""Changes of a folder as they happen: by inotify where the kernel sees them, by looking again and again elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError
from pantograph.providers.media import watchprocess
from pantograph.providers.media.port import Hint, HintKind

logger = logging.getLogger(__name__)

_BLIND = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "virtiofs", "glusterfs", "afs", "vboxsf", "davfs")
"""File systems whose other writers inotify never hears of; by prefix of their type."""
_TICK_S = 0.5
_RETRY_S = 10.0
_END_S: Final = 5.0
"""So long is waited for a process that was killed; one whose file system hangs does not end before that answers."""

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How mountinfo writes a blank in a path."""

MountFault = Callable[[], Awaitable[str | None]]


class _NoWatch(Exception):
    """The kernel sets up no watch, most often for its limit (fs.inotify.max_user_watches): looking needs none."""


async def watch_folder(
    folder: Path,
    path: str,
    *,
    mount_fault: MountFault,
    is_blind: Callable[[], Awaitable[bool]],
    poll: Callable[[], AsyncGenerator[Hint, None]],
    clock: Clock,
) -> AsyncGenerator[Hint, None]:
    """Hints below `folder`, which is `path` in the source; asks `mount_fault` at every tick.

    `is_blind`: whether the kernel sees nothing there; `poll`: hints without the kernel's help. `watchfiles` could poll
    as well, but a mount that hangs would hold it for ever.
    """
    polling = False
    while True:
        why = await mount_fault()
        if why is None:
            try:
                polling = polling or await is_blind()
                async with aclosing(poll() if polling else _hints(folder, path, mount_fault)) as hints:
                    async for hint in hints:
                        if hint.kind is HintKind.LOST:
                            why = hint.why
                            break
                        yield hint
            except ProviderError as error:
                why = error.message
            except _NoWatch as error:
                why, polling = f"{error}; from now on it is polled", True
            except OSError as error:
                why = f"the process that would watch it cannot be started: {error}"
        yield Hint(HintKind.LOST, path, is_dir=True, why=why or "the watch ended")
        await clock.sleep(_RETRY_S)


def sees_nothing(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether `folder` is on a file system whose changes elsewhere the kernel does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return True
    real, found, kind = folder.resolve(), -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = Path(_OCTAL.sub(lambda escaped: chr(int(escaped[1], 8)), before.split()[4]))

        if real.is_relative_to(mount) and len(mount.parts) >= found:
            found, kind = len(mount.parts), after.split()[0]
    return kind.startswith(_BLIND)


async def _hints(folder: Path, path: str, mount_fault: MountFault) -> AsyncGenerator[Hint, None]:
    """What the watching process tells, until it ends or the mount has a fault: then `LOST`. Raises `_NoWatch`."""
    async with _watching(folder) as process:
        assert process.stdout is not None, "asked for"
        while True:
            line = None
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    line = await process.stdout.readline()
            why = await mount_fault()
            if why is None and line is not None and not line.endswith(b"\n"):
                why = await _last_words(process, folder)
            if why is not None:
                yield Hint(HintKind.LOST, path, is_dir=True, why=why)
                return
            for hint in _told(line, folder, path) if line else ():
                yield hint


@asynccontextmanager
async def _watching(folder: Path) -> AsyncIterator[Process]:
    """The process that watches: it ends here, and by itself if this process goes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", watchprocess.__name__, str(folder)),
        stdin=PIPE,  # held open: its end is ours
        stdout=PIPE,
        stderr=PIPE,
        limit=2 * watchprocess.LINE_BYTES,
        start_new_session=True,  # a Ctrl-C is for this process
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            logger.warning("the process that watched %s was killed and does not end: its file system may hang", folder)


async def _last_words(process: Process, folder: Path) -> str:
    """Why it has ended by itself."""
    assert process.stderr is not None, "asked for"
    said = (await process.stderr.read()).decode(errors="replace").strip()
    code = await process.wait()
    logger.warning("the process that watches %s has ended with code %d: %s", folder, code, said or "it said nothing")
    return f"the process that watches it has ended with code {code}"


def _told(line: bytes, folder: Path, path: str) -> Iterator[Hint]:
    """What a line of the process means; see there."""
    said = json.loads(line)
    if "fault" in said:
        raise _NoWatch(said["fault"])
    if "rescan" in said:
        yield Hint(HintKind.RESCAN, path, is_dir=True)
    for change, changed in said.get("changes", ()):
        kind = HintKind.DELETED if change == "deleted" else HintKind.CHANGED
        below = Path(changed).relative_to(folder).as_posix()
        is_dir = True if change == "directory" else None
        yield Hint(kind, path if below == "." else f"{path.rstrip('/')}/{below}", is_dir=is_dir)
