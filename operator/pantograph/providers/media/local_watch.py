"""Changes of a folder as they happen: by inotify where the kernel sees them, by looking again and again elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError
from pantograph.providers.media.port import Hint, HintKind

_BLIND = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "virtiofs", "glusterfs", "afs", "vboxsf", "davfs")
"""File systems whose other writers inotify never hears of; by prefix of their type."""
_TICK_MS = 500
_RETRY_S = 10.0
_FLOOD = 4096
"""Changes in one batch from which on one rescan is cheaper, and the kernel's queue (16,384) may have overflowed."""

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How mountinfo writes a blank in a path."""

MountFault = Callable[[], Awaitable[str | None]]


async def watch_folder(
    folder: Path,
    path: str,
    *,
    mount_fault: MountFault,
    is_blind: Callable[[], Awaitable[bool]],
    poll: Callable[[], AsyncIterator[Hint]],
    clock: Clock,
) -> AsyncIterator[Hint]:
    """Hints below `folder`, which is `path` in the source; asks `mount_fault` at every tick.

    `is_blind`: whether the kernel sees nothing there; `poll`: hints without the kernel's help. `watchfiles` could poll
    as well, but holds the whole interpreter while it walks the tree, and a mount that hangs would hold it for ever.
    """
    polling = False
    while True:
        why = await mount_fault()
        if why is None:
            try:
                polling = polling or await is_blind()
                async for hint in poll() if polling else _hints(folder, path, mount_fault):
                    if hint.kind is HintKind.LOST:
                        why = hint.why
                        break
                    yield hint
            except ProviderError as error:
                why = error.message
            except OSError as error:
                # Most often the limit of inotify watches (fs.inotify.max_user_watches): looking needs none.
                why, polling = f"{error}; from now on it is polled", True
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


async def _hints(folder: Path, path: str, mount_fault: MountFault) -> AsyncIterator[Hint]:
    # Here and not above: a run lists its folder, and does not watch it.
    from watchfiles import Change, awatch

    watching = False
    async for changes in awatch(
        folder,
        watch_filter=None,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        force_polling=False,
        ignore_permission_denied=True,
    ):
        why = await mount_fault()
        if why is not None:
            yield Hint(HintKind.LOST, path, is_dir=True, why=why)
            return
        # The first batch, empty perhaps, is the proof that the watch stands.
        if not watching or len(changes) > _FLOOD:
            watching = True
            yield Hint(HintKind.RESCAN, path, is_dir=True)
        for change, changed in () if len(changes) > _FLOOD else sorted(changes, key=lambda item: item[1]):
            kind = HintKind.DELETED if change is Change.deleted else HintKind.CHANGED
            below = Path(changed).relative_to(folder).as_posix()
            yield Hint(kind, path if below == "." else f"{path.rstrip('/')}/{below}")
