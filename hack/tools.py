"""Tools that set-up fetches for itself from the Python package index, each pinned with hashes, into the cache.

Standard library only: set-up runs this before there is a Python environment. Where packages come from is the
business of the package client's own configuration.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from hack.cache import cache_dir, exclusively

HACK = Path(__file__).parent


class SetupError(Exception):
    """Set-up cannot go on: what is wrong, and what mends it."""


def tool(name: str, *, requirements: Path, folder: Path) -> Path:
    """The path of the command `name` out of a virtual environment below `folder` that holds exactly `requirements`.

    Raises SetupError if the environment cannot be made.
    """
    stamp = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    home = folder / f"{requirements.stem}-{stamp}"
    done = home / "complete"
    command = home / "bin" / name
    if done.exists():
        return command
    with exclusively(cache_dir() / "tools.lock", on_wait=lambda: print("waiting for another set-up", flush=True)):
        if done.exists():
            return command
        print(f"fetching {requirements.stem}", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(home))
        pip = (str(home / "bin" / "python"), "-m", "pip")
        _run(*pip, "install", "-q", "--require-hashes", "--only-binary=:all:", "-r", str(requirements))
        if not command.exists():
            raise SetupError(f"{requirements.name} has no command {name!r}")
        done.touch()
    return command


def uv() -> Path:
    """The path of uv."""
    return tool("uv", requirements=HACK / "uv.txt", folder=cache_dir() / "tools")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` failed:\n{(done.stderr or done.stdout).strip()}")
