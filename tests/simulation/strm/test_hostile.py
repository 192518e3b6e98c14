"""Hostile names and trees: whatever the source says and whatever lies in the target, nothing outside is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import HOUR, ROOT, Stage

HOSTILE_NAMES = {
    "dot dot": "..",
    "dot": ".",
    "nothing": "",
    "climbing": "../../outside/evil.mkv",
    "climbing inside": "a/../../outside/evil.mkv",
    "absolute": "/outside/evil.mkv",
    "slash": "a/b.mkv",
    "trailing slash": "evil.mkv/",
    "double slash": "//evil.mkv",
    "NUL": "evil\0.mkv",
    "newline": "evil\nhttp://other.mkv",
    "carriage return": "evil\r.mkv",
    "tab": "evil\t.mkv",
    "escape": "evil\x1b[2J.mkv",
    "delete": "evil\x7f.mkv",
    "line separator": "evil\u2028.mkv",
    "next line": "evil\x85.mkv",
    "lone surrogate": "evil\udc80.mkv",
    "high surrogate": "evil\ud800.mkv",
    "our own directory": ".pantograph",
    "our own directory in capitals": ".PANTOGRAPH",
    "our manifest": ".pantograph/manifest.sqlite",
    "255 bytes": "x" * 251 + ".mkv",
    "256 bytes": "x" * 252 + ".mkv",
    "1,000 bytes": "x" * 996 + ".mkv",
    "255 characters": "é" * 251 + ".mkv",
    "only an extension": ".mkv",
    "three dots": "....mkv",
    "percent": "%2e%2e%2foutside.mkv",
    "backslashes": "..\\..\\outside\\evil.mkv",
    "drive": "C:evil.mkv",
    "device": "CON.mkv",
    "trailing dot": "evil.mkv.",
    "spaces": "   .mkv",
    "right to left": "evil\u202evkm.mkv",
    "a strm": "evil.strm.mkv",
    "option": "-rf.mkv",
    "shell": "$(touch outside).mkv",
    "tilde": "~root.mkv",
    "a comment": "#evil.mkv",
}


class Outside:
    """A directory beside the target; whatever happens to it is a defect."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        (path / "witness.strm").write_bytes(b"untouched")
        self.path = path
        self.before = self._state()

    def is_untouched(self) -> bool:
        return self._state() == self.before

    def _state(self) -> list[tuple[str, int, int, bytes]]:
        return [
            (
                str(each),
                each.lstat().st_mtime_ns,
                each.lstat().st_ctime_ns,
                each.read_bytes() if each.is_file() else b"",
            )
            for each in (self.path, *sorted(self.path.rglob("*")))
        ]


def names_in(path: Path) -> set[str]:
    return {each.name for each in path.iterdir()}


class HostileTree(MediaTree):
    """Answers names that no file system has."""

    hostile = ""

    def entries(self, path: str):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        found = super().entries(path)
        return tuple(
            replace(entry, name=self.hostile) if entry.name in ("hostile.mkv", "hostile") else entry for entry in found
        )


CASES = [(name, "Posix") for name in HOSTILE_NAMES] + [(name, "Portable") for name in list(HOSTILE_NAMES)[::3]]


@pytest.mark.parametrize(("name", "profile"), CASES)
async def test_a_hostile_name_writes_nothing_outside(tmp_path: Path, name: str, profile: str) -> None:
    outside = Outside(tmp_path / "outside")
    tree = HostileTree()
    tree.hostile = HOSTILE_NAMES[name]
    tree.add(f"{ROOT}/good.mkv", f"{ROOT}/hostile.mkv", f"{ROOT}/shelf/hostile.mkv", f"{ROOT}/hostile/inner.mkv")
    tree.add(f"{ROOT}/shelf/hostile.srt", content=b"x")
    target = {"root": {"name": "media"}, "nameProfile": profile, "onLongName": "TruncateHash"}
    stage = Stage(tmp_path / "target", tree, target=target, sidecars={}, prune={"mode": "Delete", "maxPercent": 100})
    for _ in range(2):
        report = await stage.run()
        assert report.result in ("Succeeded", "Degraded"), report
        stage.clock.seconds += 10 * HOUR
    assert outside.is_untouched()
    assert names_in(tmp_path) == {"outside", "target"}
    assert "good.strm" in stage.names()
    for content in stage.files().values():
        assert content == b"x" or (content.startswith(b"http://player.lan/d/lib/") and b"\n" not in content)


TRAPS = ["directory link", "file link", "dangling link", "link to a file", "fifo", "file as directory", "dir as file"]


@pytest.mark.parametrize("trap", TRAPS)
async def test_a_trap_in_the_target_leads_nowhere(tmp_path: Path, trap: str) -> None:
    outside = Outside(tmp_path / "outside")
    target = tmp_path / "target"
    (target / "shows").mkdir(parents=True)
    if trap == "directory link":
        (target / "shows/a").symlink_to(outside.path, target_is_directory=True)
    elif trap == "file link":
        (target / "film.strm").symlink_to(outside.path / "new.strm")
    elif trap == "dangling link":
        (target / "shows/a").symlink_to(outside.path / "nothing")
    elif trap == "link to a file":
        (target / "film.strm").symlink_to(outside.path / "witness.strm")
    elif trap == "fifo":
        os.mkfifo(target / "film.strm")
    elif trap == "file as directory":
        (target / "shows/a").write_bytes(b"file")
    else:
        (target / "film.strm").mkdir()
    tree = MediaTree().add(f"{ROOT}/film.mkv", f"{ROOT}/other.mkv", f"{ROOT}/shows/a/witness.mkv")
    stage = Stage(target, tree, prune={"mode": "Delete", "maxPercent": 100})
    report = await stage.run()
    assert outside.is_untouched()
    assert "other.strm" in stage.names()
    assert report.samples
    for path in ("film.mkv", "shows/a"):
        tree.remove(f"{ROOT}/{path}")
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 10 * HOUR
    assert outside.is_untouched()


async def test_a_link_in_our_own_directory_is_refused(tmp_path: Path) -> None:
    outside = Outside(tmp_path / "outside")
    state = tmp_path / "target/.pantograph"
    state.mkdir(parents=True)
    (state / "manifest.sqlite").symlink_to(outside.path / "manifest.sqlite")
    report = await Stage(tmp_path / "target", MediaTree().add(f"{ROOT}/a.mkv")).run()
    assert (report.result, report.reason) == ("Failed", "TargetUnusable")
    assert outside.is_untouched()


async def test_our_own_directory_as_a_link_is_refused(tmp_path: Path) -> None:
    outside = Outside(tmp_path / "outside")
    (tmp_path / "target").mkdir()
    (tmp_path / "target/.pantograph").symlink_to(outside.path, target_is_directory=True)
    report = await Stage(tmp_path / "target", MediaTree().add(f"{ROOT}/a.mkv")).run()
    assert (report.result, report.reason) == ("Failed", "TargetUnusable")
    assert outside.is_untouched()


async def test_directories_swapped_for_links_between_two_runs_are_not_followed(tmp_path: Path) -> None:
    outside = Outside(tmp_path / "outside")
    tree = MediaTree().add(*(f"{ROOT}/shows/a/film{n}.mkv" for n in range(5)), f"{ROOT}/b.mkv")
    stage = Stage(tmp_path / "target", tree, prune={"mode": "Delete", "maxPercent": 100})
    await stage.run()
    show = tmp_path / "target/shows/a"
    show.rename(tmp_path / "moved")
    show.symlink_to(outside.path, target_is_directory=True)
    (outside.path / "film1.strm").write_bytes((tmp_path / "moved/film1.strm").read_bytes())
    outside.before = outside._state()
    tree.remove(f"{ROOT}/shows/a")
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 10 * HOUR
    assert outside.is_untouched()


async def test_case_twins_are_one_name_on_a_portable_target(tmp_path: Path) -> None:
    tree = MediaTree().add(f"{ROOT}/Film.mkv", f"{ROOT}/film.MKV", f"{ROOT}/A/x.mkv", f"{ROOT}/a/y.mkv")
    target = {"root": {"name": "media"}, "nameProfile": "Portable"}
    stage = Stage(tmp_path, tree, target=target)
    report = await stage.run()
    assert report.collisions == 2
    assert stage.names() == {"Film.strm", "A/x.strm"}
    posix = Stage(tmp_path / "posix", tree)
    await posix.run()
    assert posix.names() == {"Film.strm", "film.strm", "A/x.strm", "a/y.strm"}


async def test_a_source_that_contains_itself_ends(tmp_path: Path) -> None:
    class Loop(MediaTree):
        async def list(self, path: str, *, refresh: bool = False):  # type: ignore[no-untyped-def]
            self.mkdir(f"{path}/again")
            self.add(f"{path}/film.mkv", size=len(path))
            return await super().list(path)

    stage = Stage(tmp_path, Loop())
    report = await stage.run()
    assert report.remote_requests < 800
    assert {each.reason for each in report.samples} <= {"NameRefused", "Incomplete", "WriteFailed"}
