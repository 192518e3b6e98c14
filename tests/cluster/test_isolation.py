"""The namespaces in which the real node runs: whatever ends them, nothing of it stays on the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hack.node import cgroups
from hack.node.requirements import missing_requirements
from hack.stage import CHECKOUT, until

RUN = "import sys; from hack.node.world import isolated; sys.exit(isolated(sys.argv[1:]))"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of its own."""
    if missing := missing_requirements():
        pytest.skip(f"no real node: {'; '.join(missing)}")
    return tmp_path


@pytest.fixture
def inside(cache: Path) -> Iterator[subprocess.Popen[str]]:
    """What runs a command inside, as the leader of a session as a shell's job is one; the command is at work."""
    with start(cache, "sh", "-c", "sleep 600 & echo at work; wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def start(cache: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *command],
        cwd=CHECKOUT,
        env={**os.environ, "PANTOGRAPH_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_at_work(process: psutil.Process) -> bool:
    """Not if it has ended and the machine's first process has not yet taken note."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left(cache: Path, process: subprocess.Popen[str]) -> list[str]:
    """Control groups, mounts and files of it."""
    groups = [f"control group {name}" for name in cgroups.left_behind() if name == str(process.pid)]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(cache) in line]
    return [*groups, *mounts, *map(str, (cache / "node").glob("*"))]


@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 256 - signal.SIGINT)],
    ids=["kill", "Ctrl-C"],
)
def test_what_is_ended_leaves_nothing(
    cache: Path, inside: subprocess.Popen[str], how: signal.Signals, code: int
) -> None:
    within = psutil.Process(inside.pid).children(recursive=True)
    assert len(within) >= 4, "unshare, the first process inside, the command and what that started"
    if how is signal.SIGINT:
        os.killpg(inside.pid, how)  # a terminal's is for all that run in front of it
    else:
        inside.send_signal(how)
    assert inside.wait(30) == code
    until(lambda: not any(is_at_work(each) for each in within), "everything inside has ended", within_s=10)
    assert left(cache, inside) == []


def test_of_what_is_killed_no_process_stays_and_the_next_run_removes_the_rest(
    cache: Path, inside: subprocess.Popen[str]
) -> None:
    within = psutil.Process(inside.pid).children(recursive=True)
    inside.kill()
    inside.wait(30)
    until(lambda: not any(is_at_work(each) for each in within), "everything inside has ended", within_s=10)
    assert left(cache, inside) != []
    with start(cache, "true") as following:
        assert following.wait(60) == 0
    assert left(cache, inside) == []
    assert left(cache, following) == []


def test_it_ends_with_the_exit_status_of_the_command(cache: Path) -> None:
    with start(cache, "sh", "-c", "exit 7") as process:
        assert process.wait(60) == 7
