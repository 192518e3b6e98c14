"""Servers of the test control plane: how they start, fail, and never outlive us."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from hack.controlplane.process import PortTakenError, Server, ServerError, free_ports

WAITS = [sys.executable, "-c", "import signal; signal.pause()"]


def says_and_ends(text: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({text!r}); sys.exit(3)"]


def ended(server: Server) -> ServerError:
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)  # leaves its status for the server to read
    with pytest.raises(ServerError) as caught:
        server.check()
    return caught.value


def test_a_server_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    error = ended(Server("etcd", says_and_ends("unknown flag: --nonsense"), log=tmp_path / "log"))
    assert str(error) == f"etcd ended with 3; the end of {tmp_path / 'log'}:\nunknown flag: --nonsense"


def test_a_taken_port_is_told_from_other_failures_by_this_runs_log_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    taken = says_and_ends("listen tcp 127.0.0.1:1: bind: address already in use")
    assert isinstance(ended(Server("etcd", taken, log=log)), PortTakenError)
    assert not isinstance(ended(Server("etcd", says_and_ends("disk is full"), log=log)), PortTakenError)


def test_a_running_server_passes_the_check_and_is_gone_after_kill(tmp_path: Path) -> None:
    server = Server("etcd", WAITS, log=tmp_path / "log")
    server.check()
    server.kill()
    assert not psutil.pid_exists(server.pid)
    server.kill()


def test_a_server_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    servers: list[Server] = []
    thread = threading.Thread(target=lambda: servers.append(Server("etcd", WAITS, log=tmp_path / "log")))
    thread.start()
    thread.join()
    with pytest.raises(psutil.TimeoutExpired):
        psutil.Process(servers[0].pid).wait(timeout=0.3)
    servers[0].kill()


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hack.controlplane.process import Server\n"
        f"server = Server('etcd', {WAITS!r}, log=Path(sys.argv[1]))\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    servers = [process for process in psutil.process_iter() if process.pid == int(done.stdout)]
    _, alive = psutil.wait_procs(servers, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_process_that_is_free_of_its_parent_outlives_it() -> None:
    child = (
        "import signal\n"
        "from hack.controlplane.process import outlive_parent\n"
        "outlive_parent()\n"
        "print('free', flush=True)\n"
        "signal.pause()\n"
    )
    parent = (
        "import os, signal, subprocess, sys\n"
        "from hack.controlplane.process import die_with_parent\n"
        f"command = [sys.executable, '-c', {child!r}]\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=die_with_parent)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        freed = psutil.Process(int(started.stdout.readline()))
    with pytest.raises(psutil.TimeoutExpired):
        freed.wait(timeout=0.3)
    freed.kill()


def test_free_ports_are_different_and_avoid_those_in_use() -> None:
    first = free_ports(3, rng=random.Random(1))
    assert len(set(first)) == 3
    with socket.create_server(("127.0.0.1", first[1])):
        again = free_ports(3, rng=random.Random(1))
    assert first[1] not in again
    assert again[0] == first[0]
    assert free_ports(3, rng=random.Random(1), besides={first[0]})[:2] == first[1:]
