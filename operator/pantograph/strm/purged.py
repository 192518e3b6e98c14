"""The word that a purge leaves in the target until its result is recorded: that it was done, and what it did.

Of a target without records nobody can tell whether it was purged or is not mounted. So the records do not all go with
the purge: its result stays on the volume itself, and a purge that is repeated because its result was lost finds it.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pantograph.strm.naming import STATE_DIR
from pantograph.strm.state import LOCK, PURGED, StateDir, state_below
from pantograph.strm.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What was purged."""

    installation: str
    namespace: str
    name: str
    pruned: int
    skipped: int

    def is_of(self, installation: str, namespace: str, name: str) -> bool:
        """Whether it is this job's."""
        return (self.installation, self.namespace, self.name) == (installation, namespace, name)


def leave_word(state: StateDir, word: Purged) -> None:
    """Durably, in place of all records."""
    state.write(PURGED, asdict(word))


def read_word(root: Path, *, above: Path | None) -> Purged | None:
    """None: there is none, or none that anybody can read; then the purge is done once more."""
    with state_below(root, above) as state:
        if state is None:
            return None
        try:
            return Purged(**json.loads((state / PURGED).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def forget_word(root: Path, *, above: Path | None) -> None:
    """The result is recorded: nothing of the job stays. Does nothing in a target that another job has taken.

    Raises StrmError, OSError: what is left then is in nobody's way.
    """
    with closing(Target(root, above=above)) as target:
        fd = target.open(STATE_DIR)
        if fd is None:
            return
        if not _is_there(fd):
            return
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=fd)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_there(fd):
                return
            for name in (PURGED, LOCK):
                os.unlink(name, dir_fd=fd)
            with suppress(OSError):  # not empty: somebody has put something there
                os.rmdir(STATE_DIR, dir_fd=target.fd)
        finally:
            os.close(lock)


def _is_there(state: int) -> bool:
    return (Path(f"/proc/self/fd/{state}") / PURGED).exists()
