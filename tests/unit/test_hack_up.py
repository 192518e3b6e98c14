"""A control plane by hand: an `up` that is interrupted leaves nothing, and `down` finds what runs.

Its commands are played by scripts; this etcd is never ready, so that a start lasts as long as a test wants.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from hack.controlplane.__main__ import CHECKOUT, Running, State, down, state_of
from hack.controlplane.build import GO_SERIES, MODULES

LIMIT_S = 20
SERVER = """\
import signal, sys
from pathlib import Path
from hack.cache import exclusively
with exclusively(Path("lock"), on_wait=lambda: None):
    print("held", flush=True)
    Path("running.json").write_text(sys.stdin.readline())
    signal.pause()
"""


class Starting:
    """A `make up` whose etcd has started and is not ready."""

    def __init__(self, folder: Path) -> None:
        started = folder / "started"
        os.mkfifo(started)
        (folder / "path").mkdir()
        self._environment = {"PATH": str(folder / "path"), "PANTOGRAPH_CACHE": str(folder / "cache")}
        for module in MODULES:
            for name, _ in module.packages:
                command = module.folder(GO_SERIES) / name
                command.parent.mkdir(parents=True, exist_ok=True)
                command.write_text(f"#!/bin/sh\necho $$ > {started}\nexec /bin/sleep 600\n")
                command.chmod(0o755)
        self.up = self.run("up")
        self.etcd = psutil.Process(int(started.read_text()))
        self.server = psutil.Process(self.etcd.ppid())

    def run(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hack.controlplane", command],
            cwd=CHECKOUT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def left(self) -> list[psutil.Process]:
        """What runs although there was time to end."""
        _, alive = psutil.wait_procs([self.server, self.etcd], timeout=LIMIT_S)
        return alive

    def stop(self) -> None:
        self.up.kill()
        self.up.communicate()
        for each in (self.server, self.etcd):
            if each.is_running():
                each.kill()


@pytest.fixture
def starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starting]:
    monkeypatch.setenv("PANTOGRAPH_CACHE", str(tmp_path / "cache"))
    starting = Starting(tmp_path)
    yield starting
    starting.stop()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_start_that_is_interrupted_leaves_no_process(how: signal.Signals, starting: Starting) -> None:
    starting.up.send_signal(how)
    said, _ = starting.up.communicate(timeout=LIMIT_S)
    assert "Traceback" not in said
    assert starting.left() == []


def test_down_during_a_start_waits_for_its_end_before_it_says_that_none_runs(starting: Starting) -> None:
    with starting.run("down") as down_:
        assert down_.stdout is not None
        assert down_.stdout.readline() == "waiting for `make up` in this checkout\n"
        starting.etcd.kill()  # now the start fails
        assert down_.communicate(timeout=LIMIT_S)[0] == "no control plane is running\n"
    assert starting.up.wait(LIMIT_S) == 1
    assert starting.left() == []


def test_down_stops_one_that_is_there_and_has_not_said_yet_that_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=tmp_path, env=environment, stdin=pipe, stdout=pipe, text=True
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "held\n"
            stopping = threading.Thread(target=down, args=[State(tmp_path)])
            stopping.start()
            stopping.join(0.3)
            assert stopping.is_alive(), "it does not know yet whom to stop"
            server.communicate(json.dumps(asdict(Running(server.pid, "kubeconfig", "path"))), timeout=LIMIT_S)
            stopping.join(LIMIT_S)
        finally:
            server.kill()
    assert server.returncode == -signal.SIGTERM
    assert capsys.readouterr().out == "stopped\n"


def test_checkouts_whose_paths_look_alike_have_each_a_control_plane_of_their_own() -> None:
    folders = {state_of(Path(path)).folder for path in ("/w/a/b", "/w/a-b", "/w-a/b", "/w/a/c/b")}
    assert len(folders) == 4
