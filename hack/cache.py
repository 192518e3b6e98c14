"""Where set-up keeps what is made once and used by every checkout: built commands, tools, downloads in progress.

Standard library only: set-up runs this before there is a Python environment.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """The project's cache folder: PANTOGRAPH_CACHE, else below XDG_CACHE_HOME, else ~/.cache/pantograph."""
    if own := os.environ.get("PANTOGRAPH_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "pantograph"


@contextmanager
def exclusively(lock: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the file lock `lock`; `on_wait` is called once if another process holds it. Ends with its holder."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
