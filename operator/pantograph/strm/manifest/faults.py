"""What SQLite says of the manifest's file, as thing, fault and remedy."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from pantograph.strm.errors import StrmError

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_OUTSIDE: Final = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
)


def fault_of(path: Path, error: sqlite3.Error) -> StrmError | None:
    """What SQLite met in the world; None: a statement of ours was wrong."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # what is above says more exactly which
    if code == sqlite3.SQLITE_FULL:
        return StrmError(
            "TargetFull",
            f"the target takes nothing more: the manifest {path}: {error}",
            remedy="make room on the target's volume",
        )
    if code in _DAMAGED:
        return unreadable(path, error)
    if code in _OUTSIDE:
        return StrmError(
            "TargetUnusable",
            f"the manifest {path} cannot be used: {error}",
            remedy="look at the target's volume: the kernel's log says what fails",
        )
    return None


def unreadable(path: Path, error: sqlite3.Error) -> StrmError:
    """The file holds no records of ours, or no whole ones."""
    return StrmError(
        "ManifestUnreadable",
        f"the manifest {path} cannot be read: {error}",
        remedy="pantograph strm run --rebuild-manifest … makes a new one from the files that are there",
    )
