"""Opens a directory of a volume and follows no link: who can write to a volume must not lead us out of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_below(volume: Path, folder: Path) -> int:
    """The open directory `folder`, which is `volume` or lies below it. `volume` may be a link: a person named it.

    Raises OSError; ELOOP or ENOTDIR where a link or a file stands on the way.
    """
    fd = os.open(volume, DIRECTORY & ~os.O_NOFOLLOW)
    for name in folder.relative_to(volume).parts:
        try:
            if name == "..":
                raise OSError(errno.EINVAL, "leads out of its volume", str(folder))
            child = os.open(name, DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = child
    return fd


@contextmanager
def opened_below(volume: Path, folder: Path) -> Iterator[int]:
    """The same, until the end of a `with` statement."""
    fd = open_below(volume, folder)
    try:
        yield fd
    finally:
        os.close(fd)


def device(fd: int) -> str:
    """What `ServerInfo.volume` calls the volume that the open file lies on: its device's number."""
    return f"{os.fstat(fd).st_dev:x}"
