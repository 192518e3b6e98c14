"""`update.verify: DirMtime`: directories that are not listed, because their times say that nothing in them changed.

Only leaves (directories without subdirectories): a directory's time tells of its own entries and of nothing below. What
was not listed proves nothing, so nothing in it can be pruned; and every so many runs all is listed, for a file that
changed in place bumps no time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pantograph.strm.manifest import DirRow, Manifest
from pantograph.strm.spec import Job
from pantograph.strm.target import Target

SETTLED_S: Final = 2.0
"""A time that is younger may not show the next change: FAT counts in steps of 2 s, and clocks of network shares differ
by less, or by so much that no age says anything."""
_RUNS: Final = "runs_since_full"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirTimes:
    """One run's view. Off: it records and skips nothing."""

    target: Target
    shape: str
    now: Callable[[], datetime]
    records: bool
    """The job asks for it and the driver's times can be trusted."""
    skips: bool
    """And this run is no full one."""

    def stamp(self, local: str, modified: float | None) -> str | None:
        """What identifies spec, directory (`modified` as its parent listed it) and copy as they are now.

        None: a change could not be told from this.
        """
        if not self.records or modified is None:
            return None
        copied = self._modified(local)
        now = self.now().timestamp()
        if copied is None or min(abs(now - modified), abs(now - copied / 1e9)) <= SETTLED_S:
            return None
        return f"{self.shape} {modified} {copied}"

    def untouched(self, row: DirRow, local: str, modified: float | None) -> bool:
        """Whether the directory is as it was when nothing was left to do in it, and had no subdirectories."""
        if not self.skips or row.times is None or row.listing is None or row.local != local or row.missing is not None:
            return False
        if row.renew_at is not None and self.now().timestamp() >= row.renew_at:
            return False
        return row.times == f"{self.shape} {modified} {self._modified(local)}"

    def _modified(self, local: str) -> int | None:
        above, _, name = local.rpartition("/")
        try:
            fd = self.target.open(above)
            state = None if fd is None else os.stat(name or ".", dir_fd=fd, follow_symlinks=False)
        except OSError:
            return None
        return state.st_mtime_ns if state is not None and stat.S_ISDIR(state.st_mode) else None


def is_due_for_all(manifest: Manifest, job: Job) -> bool:
    """Whether the next whole run must list every directory."""
    return job.verify != "DirMtime" or int(manifest.get(_RUNS) or job.full_every) + 1 >= job.full_every


def count_run(manifest: Manifest, *, full: bool) -> None:
    """A whole run is over."""
    manifest.put(_RUNS, "0" if full else str(int(manifest.get(_RUNS) or 0) + 1))
