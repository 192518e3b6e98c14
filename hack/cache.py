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
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.truncate(0)
        handle.write(describe(os.getpid()))
        handle.flush()
        yield


def holder(lock: Path) -> str | None:
    """Who holds the file lock `lock`, in words for a person; None if nobody does."""
    try:
        with lock.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return handle.read() or "a process that has not said which"
    except FileNotFoundError:
        return None
    return None


def describe(pid: int) -> str:
    """A process in words: its command, number, and the folder in which it works."""
    process = Path("/proc") / str(pid)
    try:
        return f"{(process / 'comm').read_text().strip()}, process {pid} in {(process / 'cwd').readlink()}"
    except OSError:  # it has ended, or is another user's
        return f"process {pid}"
