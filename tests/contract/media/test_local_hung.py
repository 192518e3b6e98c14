"""A mount that hangs: nothing that asks it ever comes back, and nobody but the driver's few threads may notice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pantograph.clock import SystemClock
from pantograph.providers.errors import Unreachable
from pantograph.providers.media.below import open_below
from pantograph.providers.media.local import Local
from pantograph.providers.media.port import Entry, HintKind
from pantograph.providers.media.settings import LocalSettings

THREADS = 2


@dataclass(slots=True)
class Mount:
    """Hangs once it is told to, until it is told to answer."""

    answers: threading.Event = field(default_factory=threading.Event)
    asked: int = 0

    def open_below(self, above: Path, folder: Path) -> int:
        if not self.answers.is_set():
            self.asked += 1
            self.answers.wait()
        return open_below(above, folder)


class Nobodys(ThreadPoolExecutor):
    """The event loop's own threads, which are for others."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the folder was asked in a thread that everybody shares")


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    found = Mount()
    monkeypatch.setattr("pantograph.providers.media.below.open_below", found.open_below)
    yield found
    found.answers.set()


@pytest.fixture
async def source(tmp_path: Path) -> Local:
    asyncio.get_running_loop().set_default_executor(Nobodys())
    (tmp_path / "media").mkdir()
    (tmp_path / "media/Heat.mkv").touch()
    settings = LocalSettings(
        name="DataServer media/nas", root=tmp_path / "media", list_timeout_s=0.05, concurrent=THREADS
    )
    return Local(settings, clock=SystemClock())


async def read(source: Local) -> None:
    async for _ in source.read(Entry("Heat.mkv", "/", is_dir=False)):
        pass


CALLS: dict[str, Callable[[Local], Coroutine[Any, Any, Any]]] = {
    "list": lambda source: source.list("/"),
    "stat": lambda source: source.stat("/Heat.mkv"),
    "read": read,
    "test": lambda source: source.test_connection(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_whoever_asks_is_told_in_time_that_the_mount_does_not_answer(
    source: Local, mount: Mount, tmp_path: Path, call: str
) -> None:
    with pytest.raises(Unreachable) as caught:
        await CALLS[call](source)
    assert caught.value.reason == "MountHung"
    expected = f"DataServer media/nas: the mount of {tmp_path}/media does not answer: no result within 0.05 s"
    assert caught.value.message == expected
    assert caught.value.remedy is not None
    assert "umount --lazy" in caught.value.remedy
    mount.answers.set()


async def test_so_many_threads_hang_and_no_more_and_all_is_well_when_the_mount_answers(
    source: Local, mount: Mount
) -> None:
    for call in (*CALLS.values(), *CALLS.values()):
        with pytest.raises(Unreachable, match="does not answer"):
            await call(source)
    assert mount.asked == THREADS
    with pytest.raises(Unreachable, match="what was asked before has not come back"):
        await source.list("/")
    mount.answers.set()
    async with asyncio.timeout(30):
        while True:
            try:
                assert [each.name for each in (await source.list("/")).entries] == ["Heat.mkv"]
            except Unreachable:
                await asyncio.sleep(0)  # a thread is on its way back
            else:
                return


async def test_one_slow_directory_does_not_count_as_a_mount_that_hangs(source: Local, mount: Mount) -> None:
    with pytest.raises(Unreachable):
        await source.list("/")
    mount.asked, mount.answers = 0, set_event()
    assert (await source.list("/")).complete


async def test_its_capabilities_can_be_asked_and_it_can_be_closed_while_it_hangs(source: Local, mount: Mount) -> None:
    with pytest.raises(Unreachable):
        await source.test_connection()
    assert source.capabilities.watch
    await source.close()
    with pytest.raises(Unreachable, match="closed"):
        await source.list("/")
    assert not mount.answers.is_set()


@pytest.mark.parametrize("polling", [False, True])
async def test_who_watches_hears_that_the_watch_is_lost(
    source: Local, mount: Mount, monkeypatch: pytest.MonkeyPatch, polling: bool
) -> None:
    monkeypatch.setattr("pantograph.providers.media.local.sees_nothing", lambda _: polling)
    monkeypatch.setattr("pantograph.providers.media.local_watch._RETRY_S", 0.05)
    source._poll_interval_s = 0.05
    mount.answers.set()
    watch = source.watch("/")
    assert isinstance(watch, AsyncGenerator)
    async with asyncio.timeout(30):
        assert (await anext(watch)).kind is HintKind.RESCAN
        mount.answers.clear()
        lost = await anext(watch)
        assert (lost.kind, "does not answer" in lost.why) == (HintKind.LOST, True)
        mount.answers.set()
        while (await anext(watch)).kind is not HintKind.RESCAN:
            pass  # it says so until it stands again
    await watch.aclose()


HANGING = """
import asyncio, sys, threading
from pathlib import Path
from pantograph.clock import SystemClock
from pantograph.providers.errors import Unreachable
from pantograph.providers.media import below, local
from pantograph.providers.media.settings import LocalSettings

below.open_below = lambda *_: threading.Event().wait()

async def main():
    source = local.Local(LocalSettings(name="nas", root=Path("/"), list_timeout_s=0.05), clock=SystemClock())
    try:
        await source.list("/")
    except Unreachable:
        print("told")
    await source.close()

asyncio.run(main())
"""


def test_the_end_of_the_process_waits_for_no_thread_that_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "told\n"


def set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event
