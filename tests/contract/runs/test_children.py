"""Children as they are: real processes on real directories, that report over TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pantograph.api.meta import Key
from pantograph.engine.errors import Terminal
from tests.contract.runs.lab import KEY, NAMESPACE, RUN, Lab, job, server, slow_server
from tests.fakes.library import Library
from tests.fakes.openlist import FakeOpenList, serving

OTHER = "fedcba9876543210"


def films(folder: Path, count: int = 3) -> None:
    (folder / "media/here").touch()
    for number in range(count):
        (folder / f"media/films/{number}").mkdir(parents=True)
        (folder / f"media/films/{number}/film.mkv").touch()


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "pantograph.cli.main" in each.cmdline()]


async def gone(process: psutil.Process, within_s: float = 20) -> None:
    await asyncio.to_thread(process.wait, within_s)


@pytest.fixture
async def openlist() -> AsyncIterator[FakeOpenList]:
    """300 directories, of which a run at 600 requests a minute lists ten a second."""
    library = Library()
    for number in range(300):
        library.put(f"/films/{number}/film.mkv")
    async with serving(FakeOpenList(library)) as fake:
        yield fake


async def slow(lab: Lab, openlist: FakeOpenList) -> str:
    """A run that lasts half a minute, at work."""
    await lab.put_secret("openlist", token=openlist.accounts.admin_token)
    await lab.declare(slow_server(openlist.base_url), job())
    return await begin(lab, RUN)


async def begin(lab: Lab, run: str) -> str:
    """Start it, and return when it has listed something."""
    await lab.operate(run)
    handle: str = await lab.runs.start(lab.order(id=run))
    while (state := await lab.runs.look(KEY, run, handle)) and not (state.progress and state.progress.dirs_done):
        assert state.running, state
        await lab.news()
    return handle


async def test_a_run_writes_its_files_reports_its_result_and_leaves_nothing_behind(lab: Lab) -> None:
    films(lab.folder)
    await lab.declare(server(), job())
    handle = await lab.runs.start(lab.order())
    (folder,) = lab.settings.directory.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert await lab.runs.start(lab.order()) == handle
    assert len(children()) == 1

    result = await lab.result(handle)
    assert (result.result, result.created) == ("Succeeded", 3)
    assert (lab.folder / "library/movies/films/1/film.strm").read_text() == "/mnt/films/1/film.mkv"
    (process,) = children()
    await lab.runs.forget(KEY, RUN, handle)
    await gone(process)
    await lab.news()
    assert list(lab.settings.directory.iterdir()) == []


async def test_what_keeps_a_run_from_beginning_is_its_result_with_the_remedy(lab: Lab) -> None:
    films(lab.folder)
    (lab.folder / "library/movies").write_text("a file where the target should be")
    await lab.declare(server(), job())
    result = await lab.result(await lab.runs.start(lab.order()))
    assert (result.result, result.reason) == ("Failed", "TargetUnusable")


async def test_a_cancelled_run_stops_between_two_directories_and_says_so(lab: Lab, openlist: FakeOpenList) -> None:
    handle = await slow(lab, openlist)
    await lab.runs.cancel(KEY, RUN, handle)
    result = await lab.result(handle)
    assert (result.result, result.reason) == ("Cancelled", "Cancelled")
    assert 0 < result.created < 150
    (process,) = children()
    await lab.runs.forget(KEY, RUN, handle)
    await gone(process)


async def test_a_child_that_is_killed_says_how_it_ended_and_the_next_can_begin_at_once(
    lab: Lab, openlist: FakeOpenList
) -> None:
    handle = await slow(lab, openlist)
    (process,) = children()
    process.kill()
    state = await lab.until_ended(handle)
    assert (state.result, "signal 9" in state.fault) == (None, True)
    await lab.runs.forget(KEY, RUN, handle)
    handle = await begin(lab, OTHER)
    assert (await lab.runs.look(KEY, OTHER, handle)).running


@pytest.mark.parametrize(
    ("last_words", "shown"),
    [
        ("httpx.LoginError: password hunter2", "ended with code 3 without a result: LoginError"),
        ("hunter2 is wrong", "result"),
    ],
)
async def test_of_a_child_that_crashes_the_code_and_the_exceptions_type_are_shown_and_none_of_its_words(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, last_words: str, shown: str
) -> None:
    python = lab.folder / "python"
    python.write_text(f"#!/bin/sh\necho Traceback >&2\necho '{last_words}' >&2\nexit 3\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    await lab.declare(server(), job())
    state = await lab.until_ended(await lab.runs.start(lab.order()))
    assert state.fault.endswith(shown)
    assert "hunter2" not in state.fault


async def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path, openlist: FakeOpenList) -> None:
    token = openlist.accounts.admin_token
    command = (sys.executable, "-m", "tests.contract.runs.parent", str(tmp_path), openlist.base_url, token)
    parent = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 60))
    child = psutil.Process(pid)
    private = tmp_path / "private"
    assert len(list(private.iterdir())) == 1
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await gone(child)
    assert list(private.iterdir()) == []


@pytest.mark.parametrize("cut_short", [False, True])
async def test_a_start_that_fails_midway_leaves_no_secret_behind(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, cut_short: bool
) -> None:
    if cut_short:

        async def hang(*_: object, **__: object) -> None:
            begun.set()
            await asyncio.Event().wait()

        begun = asyncio.Event()
        monkeypatch.setattr(asyncio, "create_subprocess_exec", hang)
    await lab.put_secret("openlist", token="hunter2", **({} if cut_short else {"no/file": "name"}))
    await lab.declare(slow_server("http://127.0.0.1:1"), job())
    starting = asyncio.create_task(lab.runs.start(lab.order()))
    if cut_short:
        await begun.wait()
        starting.cancel()
    with pytest.raises(asyncio.CancelledError if cut_short else OSError):
        await starting
    assert list(lab.settings.directory.iterdir()) == []
    assert lab.service.registry.get(RUN) is None


async def test_what_a_killed_process_left_is_removed_and_not_what_a_run_of_this_one_has(lab: Lab) -> None:
    films(lab.folder)
    await lab.declare(server(), job())
    (lab.settings.directory / "run-left").mkdir(parents=True)
    handle = await lab.runs.start(lab.order())
    lab.runs._children.clean()
    (folder,) = lab.settings.directory.iterdir()
    assert (folder / "spec.yaml").exists()
    assert (await lab.result(handle)).result == "Succeeded"


async def test_a_stop_in_order_ends_the_children_first(lab: Lab, openlist: FakeOpenList) -> None:
    handle = await slow(lab, openlist)
    (process,) = children()
    await lab.stop()
    assert not process.is_running()
    await lab.restart()
    assert await lab.runs.look(KEY, RUN, handle) is None
    assert await lab.runs.find(KEY, RUN) is None


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"target": {"root": {"name": "nowhere"}}}, "RootNotFound", "chart's value roots"),
        ({"target": {"root": {"name": "secret"}}}, "RootNotAllowed", "not open to namespace films"),
        ({"target": {"root": {"name": "unplugged"}}}, "RootNotMounted", "no directory"),
    ],
)
async def test_a_root_that_is_not_there_or_not_open_is_refused_with_its_remedy(
    lab: Lab, changes: dict[str, Any], reason: str, says: str
) -> None:
    await lab.declare(server(), job(**changes))
    with pytest.raises(Terminal) as refused:
        await lab.runs.start(lab.order())
    assert refused.value.reason == reason
    assert says in refused.value.text
    assert children() == []


async def test_a_child_has_no_secret_in_its_arguments_or_environment(lab: Lab, openlist: FakeOpenList) -> None:
    os.environ["PANTOGRAPH_SOMETHING"] = "of the operator"
    try:
        await slow(lab, openlist)
    finally:
        del os.environ["PANTOGRAPH_SOMETHING"]
    (process,) = children()
    (folder,) = lab.settings.directory.iterdir()
    for secret in ((folder / "token").read_text(), openlist.accounts.admin_token):
        assert secret not in " ".join(process.cmdline())
        assert secret not in " ".join(process.environ().values())
    assert not any(name.startswith(("PANTOGRAPH", "KUBE")) for name in process.environ())


async def test_a_media_server_whose_secret_is_missing_holds_up_no_run(lab: Lab) -> None:
    films(lab.folder)
    den = {"name": "den", "type": "Emby", "url": "http://den:8096", "secretRef": {"name": "den"}}
    notify = {"mediaServers": [den | {"pathMap": [{"from": "/", "to": "/media"}]}]}
    await lab.declare(server(), job(notify=notify))
    result = await lab.result(await lab.runs.start(lab.order()))
    assert (result.result, result.created) == ("Succeeded", 3)
    (untold,) = result.notify_failed
    assert (untold.server, untold.reason) == ("den", "SecretKeyMissing")


async def test_a_purge_asks_for_no_root_but_the_targets_own(lab: Lab) -> None:
    films(lab.folder)
    await lab.declare(server(), job())
    assert (await lab.result(await lab.runs.start(lab.order()))).created == 3
    unknown = lab.order().server.model_copy(deep=True)
    assert unknown.spec.local is not None
    assert unknown.spec.local.root is not None
    unknown.spec.local.root.name = "nobodys"
    order = lab.order(id=OTHER, purge=True, server=unknown)
    handle = await lab.runs.start(order)
    while (state := await lab.runs.look(KEY, OTHER, handle)) and state.running:
        await lab.news()
    assert state is not None
    assert state.result is not None
    assert state.result.pruned == 3


@pytest.mark.parametrize("how", ["killed", "restarted"])
async def test_a_purge_whose_result_was_lost_is_done_once_more_and_ends_as_well(lab: Lab, how: str) -> None:
    films(lab.folder)
    await lab.declare(server(), job())
    assert (await lab.result(await lab.runs.start(lab.order()))).created == 3
    order = lab.order(id=OTHER, purge=True, expect_records=True)
    handle = await lab.runs.start(order)
    while (state := await lab.runs.look(KEY, OTHER, handle)) and state.running:
        await lab.news()
    library = lab.folder / "library/movies"
    assert not list(library.rglob("*.strm"))
    # It has said its result, and waits for somebody to write it down.
    if how == "killed":
        (process,) = (child for child in children() if OTHER in " ".join(child.cmdline()))
        process.kill()
        await gone(process)
        await lab.runs.forget(KEY, OTHER, handle)
    else:
        await lab.restart()
    again = replace(order, id="f" * 16)
    handle = await lab.runs.start(again)
    while (state := await lab.runs.look(KEY, again.id, handle)) and state.running:
        await lab.news()
    assert state is not None
    assert state.result is not None
    assert (state.result.result, state.result.pruned) == ("Succeeded", 3)
    (process,) = (child for child in children() if again.id in " ".join(child.cmdline()))
    await lab.runs.forget(KEY, again.id, handle)
    await gone(process)
    assert list(library.iterdir()) == []


@pytest.mark.parametrize("hangs", [False, True])
async def test_of_a_job_that_is_let_go_by_force_no_process_is_left_when_that_is_said(
    lab: Lab, openlist: FakeOpenList, hangs: bool
) -> None:
    await slow(lab, openlist)
    (process,) = children()
    await lab.runs.end(Key(KEY.kind, NAMESPACE, "shows"))
    assert process.is_running()
    if hangs:
        settings = lab.runs._children._settings
        lab.runs._children._settings = replace(settings, kill_grace_s=1.0)
        process.suspend()
    await lab.runs.end(KEY)
    assert children() == []
    assert list(lab.settings.directory.iterdir()) == []
    assert lab.service.registry.get(RUN) is None
    assert await lab.runs.find(KEY, RUN) is None
