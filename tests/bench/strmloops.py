"""What the engine is compared with: plain loops that do the least that anybody could do, and nothing to be safe."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

STATE = ".pantograph"


def scan(root: Path, *, look: bool = False, read: bool = False) -> None:
    """Every directory is scanned; every file with a `stat`, or read."""
    waiting = [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != STATE:
                        waiting.append(entry.path)
                elif look:
                    entry.stat(follow_symlinks=False)
                elif read:
                    with open(entry.path, "rb") as file:  # noqa: PTH123 - the plain way
                        file.read()


def files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Relative path and content of every file."""
    for folder, names, found in os.walk(root):
        if STATE in names:
            names.remove(STATE)
        for name in found:
            path = os.path.join(folder, name)  # noqa: PTH118 - a million of them
            yield os.path.relpath(path, root), Path(path).read_bytes()


def write(root: Path, contents: list[tuple[str, bytes]]) -> None:
    """Each by a temporary file beside it and a rename; directories are made as they come."""
    made: set[str] = set()
    for relative, content in contents:
        folder, _, name = f"{root}/{relative}".rpartition("/")
        if folder not in made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - the plain way
            made.add(folder)
        temporary = f"{folder}/.{name}.tmp"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(handle, content)
        os.close(handle)
        os.rename(temporary, f"{folder}/{name}")  # noqa: PTH104 - the plain way


def digest(root: Path) -> str:
    """Inode, mtime and ctime of everything outside our own directory."""
    seen = hashlib.blake2b()
    for folder, names, found in os.walk(root):
        if STATE in names:
            names.remove(STATE)
        names.sort()
        for name in (*names, *sorted(found)):
            state = os.lstat(f"{folder}/{name}")
            seen.update(f"{name}\0{state.st_ino} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
    return seen.hexdigest()
