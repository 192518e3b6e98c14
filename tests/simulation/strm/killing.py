"""A process of its own that plays one run many times, kills it with SIGKILL at random points, and lets it be resumed.

It forks once a point from a warm interpreter, so that two hundred points cost seconds. Whether a media server heard of
every folder that changed, whoever was killed, is looked at as well. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from pantograph.providers.notify.port import FolderChange
from pantograph.strm import batch
from pantograph.strm import target as target_tree
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import ROOT, Ear, Stage, films, media_server

EVENTS = ("open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "os.scandir")
"""Audit events, and our own rename, before which a run is killed; what lies between is reached at random times."""


DIRECTORIES_A_BATCH = 3
"""A run has many batches, and is killed between them too."""


def before() -> MediaTree:
    tree = films(60)
    tree.add(*(f"{ROOT}/extras/film{n}.mkv" for n in range(40)), f"{ROOT}/extras/film1.srt", content=b"old text")
    return tree


def after() -> MediaTree:
    """Much at once: new shows, new directories, a new link for every old file, a sidecar, files that went."""
    tree = before()
    for number in range(200, 260):
        tree.add(f"{ROOT}/shelf9/show{number // 10}/film {number}.mkv", content=b"x" * number)
    tree.add(f"{ROOT}/extras/film2.nfo", content=b"new text")
    for number in (3, 4):
        tree.remove(f"{ROOT}/extras/film{number}.mkv")
    return tree


class Diary(Ear):
    """A media server whose memory outlives the process that tells it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    async def tell(self, changes: Sequence[FolderChange]) -> None:
        with self.path.open("a") as diary:
            diary.write("".join(f"{each.path}\n" for each in changes))

    def knows(self, folder: str) -> bool:
        """Whether it was led to the folder, or to one above it."""
        told = self.path.read_text().splitlines() if self.path.exists() else []
        return any(folder == each or folder.startswith(f"{each}/") for each in told)


def stage(target: Path, tree: MediaTree | None = None, link: str = "http://new.lan") -> Stage:
    spec: dict[str, Any] = {"sidecars": {"policy": "IfNewer"}, "prune": {"mode": "Trash", "maxPercent": 50}}
    spec["update"] = {"maxRewritePercent": 100}
    notify = {"mediaServers": [media_server(debounce="0s")]}
    made = Stage(target, tree or after(), link={"publicBase": link}, notify=notify, **spec)
    made.ears = {"den": Diary(target.with_suffix(".told"))}
    return made


async def second_run(target: Path) -> None:
    report = await stage(target).run(name="second")
    assert report.result == "Succeeded", report


def forked(work: Callable[[], None]) -> int:
    """The child's process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def die_at(event_number: int) -> None:
    """The process ends, without a word, before its n-th event."""
    count = 0

    def hook() -> None:
        nonlocal count
        count += 1
        if count >= event_number:
            os.kill(os.getpid(), signal.SIGKILL)

    before_events(hook)


def before_events(hook: Callable[[], None]) -> None:
    """Have `hook` called before each, for the rest of this process."""
    rename = target_tree.rename_anew

    def renaming(name: str, new_name: str, **places: int) -> None:
        hook()
        rename(name, new_name, **places)

    patch.object(target_tree, "rename_anew", renaming).start()
    sys.addaudithook(lambda event, _: hook() if event in EVENTS else None)


def count_events(target: Path) -> int:
    """In one undisturbed second run."""
    reading, writing = os.pipe()

    def work() -> None:
        count = 0

        def hook() -> None:
            nonlocal count
            count += 1

        before_events(hook)
        asyncio.run(second_run(target))
        os.write(writing, str(count).encode())

    os.waitpid(forked(work), 0)
    return int(os.read(reading, 32))


def modes(target: Path) -> dict[str, int]:
    """Kind and mode of everything outside our own directory, directories too."""
    found = {path.relative_to(target): path.lstat().st_mode for path in target.rglob("*")}
    return {str(path): mode for path, mode in found.items() if path.parts[0] != ".pantograph"}


def play(folder: Path, points: int, random: Random) -> dict[str, Any]:
    """The faults that were found, by point; none is what should come."""
    first = folder / "first"
    first.mkdir()
    whole = stage(first, before(), "http://player.lan")
    asyncio.run(whole.run())
    old = whole.files()
    reference = folder / "reference"
    shutil.copytree(first, reference, symlinks=True)
    began = time.monotonic()
    events = count_events(reference)
    duration_s = time.monotonic() - began
    wanted, lies = stage(reference).files(), modes(reference)
    faults: list[str] = []
    for point in range(points):
        target = folder / f"point{point}"
        at = random.randrange(1, events) if point % 2 == 0 else 0
        within_s = duration_s
        while not _died(first, target, at=at, after_s=random.uniform(0, within_s)):
            # It was done before the kill came: this run was quicker than the one that was timed.
            shutil.rmtree(target)
            target.with_suffix(".told").unlink(missing_ok=True)
            within_s *= 0.7
        faults += [f"point {point}: {fault}" for fault in _torn(stage(target).files(), old, wanted)]
        code = os.waitpid(forked(lambda target=target: asyncio.run(second_run(target))), 0)[1]  # type: ignore[misc]
        found = stage(target).files()
        wrong = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        if code or wrong:
            faults.append(f"point {point} (event {at}), exit {code}: not what an undisturbed run makes: {wrong[:5]}")
        if modes(target) != lies:
            faults.append(f"point {point} (event {at}): other directories or modes than an undisturbed run leaves")
        faults += [f"point {point} (event {at}): nobody was told of {each}" for each in _untold(target, old, found)]
        shutil.rmtree(target)
    return {"points": points, "events": events, "faults": faults}


def _died(first: Path, target: Path, *, at: int, after_s: float) -> bool:
    """Play the second run on a copy and kill it before its `at`-th event, or (0) after so long; whether that hit it."""
    shutil.copytree(first, target, symlinks=True)
    child = forked(lambda: _run_and_die(target, at))
    if not at:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _run_and_die(target: Path, at: int) -> None:
    if at:
        die_at(at)
    asyncio.run(second_run(target))


def _torn(found: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """What holds neither its old content, nor the new one, nor (before it goes) its old link with the new base."""
    moved = {name: content.replace(b"http://player.lan", b"http://new.lan") for name, content in old.items()}
    return [name for name, content in found.items() if content not in (old.get(name), new.get(name), moved.get(name))]


def _untold(target: Path, old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """Folders in which something changed and that the media server was not led to."""
    changed = {name.rpartition("/")[0] for name in {*old, *new} if old.get(name) != new.get(name)}
    diary = Diary(target.with_suffix(".told"))
    return sorted(folder for folder in changed if not diary.knows(f"/media/{folder}".rstrip("/")))[:5]


def main() -> None:
    points, seed = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, patch.object(batch, "MAX_DIRECTORIES", DIRECTORIES_A_BATCH):
        print(json.dumps(play(Path(folder), points, Random(seed))))


if __name__ == "__main__":
    main()
