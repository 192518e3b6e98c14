"""The demo's second half: a local media tree becomes `.strm` files, a second run writes nothing, a lost source removes
nothing.

Nothing is simulated: the operator runs the sync as its own child process, on directories of this machine.
"""

import os
import shutil
from hashlib import sha256
from pathlib import Path

import yaml

from hack.stage import EXAMPLES, Body, Operator, Stage, until

JOB = "strmsyncjob/library"
EXAMPLE = EXAMPLES / "strmsyncjob-root.yaml"
SHOWS, EPISODES = 3, 8
FILMS = 12


class Media:
    """The two directories that the operator has as its roots: the media, and where the `.strm` files go."""

    def __init__(self, stage: Stage) -> None:
        self.source = stage.folder / "media"
        self.target = stage.folder / "strm"
        for folder in (self.source, self.target):
            folder.mkdir()

    @property
    def roots(self) -> list[Body]:
        """What the chart's value `roots` would tell the operator."""
        return [
            {"name": name, "path": str(path), "namespaces": ["*"]}
            for name, path in (("media", self.source), ("strm", self.target))
        ]

    def fill(self) -> int:
        """Make a small library; returns how many videos it has."""
        videos = [f"Films/Film {number:02} (2024)/Film {number:02} (2024).mkv" for number in range(1, FILMS + 1)]
        videos += [
            f"Shows/Show {show}/Season 01/Show {show} - S01E{episode:02}.mkv"
            for show in range(1, SHOWS + 1)
            for episode in range(1, EPISODES + 1)
        ]
        for video in videos:
            path = self.source / video
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(64))
        return len(videos)

    def lose(self) -> None:
        """What a share that is not mounted looks like: the same directory, empty."""
        for each in self.source.iterdir():
            shutil.rmtree(each)

    def strm_files(self) -> list[Path]:
        return sorted(self.target.rglob("*.strm"))

    def picture(self) -> str:
        """Changes if anything below the target is written, touched, renamed or removed, the job's records apart."""
        digest = sha256()
        for path in sorted(self.target.rglob("*")):
            if ".pantograph" not in path.parts:
                stat = path.lstat()
                digest.update(f"{path} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}\n".encode())
        return digest.hexdigest()


def play(stage: Stage, operator: Operator, media: Media) -> None:
    """Mirror, mirror again, and lose the source. Raises AssertionError if anything is not as it must be."""
    videos = media.fill()
    print(f"\n==> kubectl apply: docs/examples/{EXAMPLE.name}, for a library of {videos} videos")
    stage.apply(*yaml.safe_load_all(EXAMPLE.read_text()))
    until(lambda: _last(stage), "a first run", within_s=120, process=operator.process)
    stage.await_ready(JOB)
    assert len(media.strm_files()) == videos, f"{len(media.strm_files())} .strm files instead of {videos}"
    first = media.strm_files()[0]
    print(stage.kubectl("get", "dataservers,strmsyncjobs").rstrip())
    print(f"\n    {len(media.strm_files())} files; {first.relative_to(media.target)} plays {first.read_text()}")

    before = media.picture()
    last = _run_again(stage, operator)
    assert media.picture() == before, "a run in which nothing changed wrote something"
    print(f"==> a second run: {last['unchanged']} files unchanged, nothing written: every inode and time is the same")

    media.lose()
    print("==> the source is lost: its directory is there, and empty, as when a share is not mounted; run again")
    _run_again(stage, operator)
    blocked = stage.condition(JOB, "PruneBlocked")
    assert blocked.get("status") == "True", f"PruneBlocked is {blocked}"
    assert media.picture() == before, "a run without its source changed the target"
    print(f"    PruneBlocked: {blocked['message']}")
    print(f"    all {len(media.strm_files())} files are still there")


def _run_again(stage: Stage, operator: Operator) -> Body:
    """Ask for a run as a person would; what is told of it when it has ended."""
    before = _last(stage)["id"]
    stage.kubectl("annotate", JOB, f"pantograph.dev/reconcile-at={before}", "--overwrite")
    # The job follows changes, too: a run that they began may end before the one that was asked for.
    until(lambda: _asked_for(stage, before), "another run", within_s=120, process=operator.process)
    return _last(stage)


def _asked_for(stage: Stage, before: str) -> bool:
    last = _last(stage)
    return last.get("id") != before and last.get("trigger") == "manual"


def _last(stage: Stage) -> Body:
    last: Body = stage.get(JOB).get("status", {}).get("lastRun") or {}
    return last
