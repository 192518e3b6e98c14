"""Whoever watches a folder leaves it to a process of its own: whatever that one does, all else here goes on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import psutil
import pytest

from pantograph.clock import SystemClock
from pantograph.providers.media import watchprocess
from pantograph.providers.media.local import Local
from pantograph.providers.media.port import Hint, HintKind
from pantograph.providers.media.settings import LocalSettings

Watchfiles = Callable[[str], None]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pantograph.providers.media.local_watch._RETRY_S", 0.05)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "media"
    found.mkdir()
    (found / ".volume").touch()
    return found


@pytest.fixture
def watchfiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watchfiles:
    """Replace the library, as the watching process finds it, by one whose `watch` does this first."""
    folder = tmp_path / "library"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def replace(body: str) -> None:
        change = "class Change:\n    added, deleted = 1, 3\n"
        text = f"import os, sys, time\n{change}def watch(*_, **__):\n    {body}\n    yield set()\n"
        (folder / "watchfiles.py").write_text(text)

    return replace


def watch(root: Path) -> AsyncGenerator[Hint, None]:
    settings = LocalSettings(name="DataServer media/disk", root=root, sentinel=".volume", poll_interval_s=0.05)
    hints = Local(settings, clock=SystemClock()).watch("/")
    assert isinstance(hints, AsyncGenerator)
    return hints


async def watcher() -> psutil.Process:
    """The process that watches for this one, once it is there."""
    while not (found := watchers()):  # noqa: ASYNC110  # of another process
        await asyncio.sleep(0.01)
    return found[0]


def watchers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if watches(each)]


def watches(child: psutil.Process) -> bool:
    """Whether that is what it does: other tests' servers are children, too."""
    try:
        return watchprocess.__name__ in child.cmdline()
    except psutil.Error:  # it has just ended
        return False


async def test_while_a_folder_is_walked_all_else_goes_on_and_a_volume_that_goes_is_told(
    root: Path, tmp_path: Path, watchfiles: Watchfiles
) -> None:
    watchfiles(f"open({str(tmp_path / 'began')!r}, 'w').close(); time.sleep(600)")
    hints = watch(root)
    async with asyncio.timeout(60):
        opening = asyncio.ensure_future(anext(hints))
        while not (tmp_path / "began").exists():  # noqa: ASYNC110  # of another process
            await asyncio.sleep(0.01)
        assert not opening.done()
        (root / ".volume").unlink()
        assert (await opening).kind is HintKind.LOST
        await hints.aclose()


async def test_a_watching_process_that_is_killed_is_a_lost_stream_and_another_takes_its_place(root: Path) -> None:
    hints = watch(root)
    async with asyncio.timeout(60):
        assert (await anext(hints)).kind is HintKind.RESCAN
        first = await watcher()
        first.kill()
        lost = await anext(hints)
        assert (lost.kind, lost.why) == (HintKind.LOST, "the process that watches it has ended with code -9")
        assert (await anext(hints)).kind is HintKind.RESCAN
        (root / "new.mkv").touch()
        assert await anext(hints) == Hint(HintKind.CHANGED, "/new.mkv")
        assert await watcher() != first
        await hints.aclose()
        assert watchers() == []


async def test_the_last_words_of_a_watching_process_are_in_the_log(
    root: Path, watchfiles: Watchfiles, caplog: pytest.LogCaptureFixture
) -> None:
    watchfiles("sys.exit('the watch has had enough')")
    hints = watch(root)
    async with asyncio.timeout(60):
        assert (await anext(hints)).kind is HintKind.LOST
        await hints.aclose()
    assert f"the process that watches {root} has ended with code 1: the watch has had enough" in caplog.text


async def test_a_folder_for_which_the_kernel_has_no_watches_left_is_polled(root: Path, watchfiles: Watchfiles) -> None:
    watchfiles("raise OSError('OS file watch limit reached')")
    hints = watch(root)
    async with asyncio.timeout(60):
        lost = await anext(hints)
        assert lost.why == "OS file watch limit reached; from now on it is polled"
        assert (await anext(hints)).kind is HintKind.RESCAN
        (root / "new.mkv").touch()
        assert await anext(hints) == Hint(HintKind.CHANGED, "/new.mkv", is_dir=False)
        await hints.aclose()


async def test_a_directory_that_takes_the_place_of_another_is_told_as_one_and_a_file_is_not(root: Path) -> None:
    for name in ("A", "B"):
        (root / name / "S1").mkdir(parents=True)
        (root / name / "S1" / f"{name}.mkv").touch()
    hints = watch(root)
    async with asyncio.timeout(60):
        assert (await anext(hints)).kind is HintKind.RESCAN
        (root / "A").rename(root / "old")
        (root / "B").rename(root / "A")
        (root / "film.mkv").touch()
        (root / "link").symlink_to("A")
        wanted = {
            Hint(HintKind.CHANGED, "/A", is_dir=True),
            Hint(HintKind.CHANGED, "/old", is_dir=True),
            Hint(HintKind.CHANGED, "/film.mkv"),
            Hint(HintKind.CHANGED, "/link"),
        }
        assert {hint.path for hint in await told(hints, wanted) if hint.is_dir} == {"/A", "/old"}
        (root / "A/S1/later.mkv").touch()
        later = await told(hints, {Hint(HintKind.CHANGED, "/A/S1/later.mkv")})
        assert not any(hint.is_dir for hint in later)
        await hints.aclose()


async def told(hints: AsyncGenerator[Hint, None], wanted: set[Hint]) -> set[Hint]:
    """All that is told until all that is wanted was."""
    heard: set[Hint] = set()
    while not wanted <= heard:
        heard.add(await anext(hints))
    return heard


async def test_whoever_is_cut_short_leaves_no_watching_process(root: Path) -> None:
    async def listen() -> None:
        async for _ in watch(root):
            pass

    async with asyncio.timeout(60):
        listening = asyncio.create_task(listen())
        await watcher()
        listening.cancel()
        await asyncio.wait([listening])
    assert watchers() == []


@pytest.mark.parametrize(
    ("count", "length"),
    [(watchprocess.FLOOD + 1, 1), (watchprocess.FLOOD, 1000)],
    ids=["too many", "in too long a line"],
)
async def test_a_flood_of_changes_is_one_rescan(root: Path, watchfiles: Watchfiles, count: int, length: int) -> None:
    watchfiles(f"yield {{(1, os.path.join(_[0], str(each) * {length})) for each in range(10**6, 10**6 + {count})}}")
    hints = watch(root)
    async with asyncio.timeout(60):
        assert [(await anext(hints)).kind for _ in range(2)] == [HintKind.RESCAN, HintKind.RESCAN]
        await hints.aclose()


WATCHING = """
import asyncio, sys
from pathlib import Path
from pantograph.clock import SystemClock
from pantograph.providers.media.local import Local
from pantograph.providers.media.settings import LocalSettings

async def main():
    async for hint in Local(LocalSettings(name="disk", root=Path(sys.argv[1])), clock=SystemClock()).watch("/"):
        print(hint.kind, flush=True)

asyncio.run(main())
"""


def test_a_watching_process_ends_with_the_one_that_it_watches_for(root: Path) -> None:
    command = (sys.executable, "-c", WATCHING, str(root))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            assert parent.stdout.readline() == "Rescan\n"
            children = psutil.Process(parent.pid).children()
        finally:
            parent.kill()
    assert len(children) == 1
    children[0].wait(timeout=60)  # raises TimeoutExpired
