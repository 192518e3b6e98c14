"""What the operating system says of the target, as thing, fault and remedy: of one file of it, or of all at once."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from pantograph.strm.errors import StrmError
from pantograph.strm.naming import STATE_DIR

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FAILING: Final = (errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT, errno.EHOSTDOWN)
"""A disk that fails, a FUSE process that died, a network share that is gone."""
_FORBIDDEN: Final = (errno.EACCES, errno.EPERM)


def fault_of_file(root: Path, error: OSError) -> str:
    """Why this one file could not be read, written or removed, for whoever sees its name beside it.

    Raises StrmError if no other file of the target could: the volume is full, read-only or failing.
    """
    fault = _fault_of_all(root, error)
    if fault is not None:
        raise fault from error
    return _reason(error)


def fault_of_target(root: Path, error: OSError) -> StrmError:
    """Why the run cannot go on, where `error` met what it cannot do without."""
    name = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes) else ""
    return _fault_of_all(root, error) or StrmError(
        "TargetUnusable",
        f"target {root} cannot be used: {_reason(error)}{name}",
        remedy=f"ls -ld {root} {root}/{STATE_DIR} shows whose they are",
    )


def _fault_of_all(root: Path, error: OSError) -> StrmError | None:
    said = os.strerror(error.errno or 0)
    if error.errno in _FULL:
        return StrmError(
            "TargetFull", f"target {root} takes nothing more: {said}", remedy="make room on the target's volume"
        )
    if error.errno == errno.EROFS:
        return StrmError(
            "TargetUnusable",
            f"target {root} cannot be written: {said}",
            remedy=f"findmnt --target {root} shows the mount; make it writable",
        )
    if error.errno in _FAILING:
        return StrmError(
            "TargetUnusable",
            f"target {root} fails: {said}",
            remedy="look at the target's volume: the kernel's log says what fails",
        )
    return None


def _reason(error: OSError) -> str:
    said = error.strerror or str(error)
    return f"{said}; it must be open to user {os.geteuid()}" if error.errno in _FORBIDDEN else said
