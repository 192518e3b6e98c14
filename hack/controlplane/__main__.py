"""A control plane to try things by hand: `python -m hack.controlplane up|down|status`."""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hack.cache import cache_dir, exclusively
from hack.controlplane.build import binaries
from hack.controlplane.controlplane import ControlPlane
from hack.controlplane.process import ServerError
from hack.tools import SetupError

CHECKOUT = Path(__file__).parents[2]
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Running:
    """The control plane of this checkout that `up` left running."""

    pid: int
    kubeconfig: str
    path: str
    """The folders of kubectl and helm, as PATH has them."""


class State:
    """What `up` leaves behind for `down` and `status`: a folder with a lock that the living process holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._record = folder / "running.json"
        self._lock = folder / "lock"

    def running(self) -> Running | None:
        """The running control plane. Its pid cannot be another process': only a living one holds the lock."""
        try:
            with self._lock.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return Running(**json.loads(self._record.read_text())) if self._record.exists() else None
        return None

    def serve(self) -> None:
        """Run a control plane in this process until SIGTERM or SIGINT."""
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        with self._lock.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)  # held by nobody for longer than a look at it: `up` is alone
            data = self.folder / "data"
            shutil.rmtree(data, ignore_errors=True)
            with ControlPlane(data) as plane:
                running = Running(os.getpid(), str(plane.kubeconfig), plane.path)
                unfinished = self._record.with_suffix(".new")
                unfinished.write_text(json.dumps(asdict(running)))
                unfinished.rename(self._record)
                stopped.wait()
            self._record.unlink()

    def forget(self) -> None:
        """Remove what a killed process left, so that `running` waits for the next one's own word."""
        self._record.unlink(missing_ok=True)


def up(state: State) -> int:
    """Start one, unless it is running, and return when it is ready."""
    with exclusively(state.folder / "up.lock", on_wait=lambda: print("waiting for another `up`", flush=True)):
        return _explain(state.running() or _start(state))


def _start(state: State) -> Running:
    binaries()
    state.forget()
    with state.log.open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "hack.controlplane", "serve"],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    print("starting a control plane", flush=True)
    while not (running := state.running()):
        if server.poll() is not None:
            raise ServerError(f"it did not start:\n{state.log.read_text().strip()}")
        time.sleep(_POLL_S)
    return running


def down(state: State) -> int:
    """Stop it and remove its data."""
    running = state.running()
    if running is None:
        print("no control plane is running")
        return 0
    os.kill(running.pid, signal.SIGTERM)
    while state.running():
        time.sleep(_POLL_S)
    print("stopped")
    return 0


def status(state: State) -> int:
    """Tell whether it runs: 0 if it does, else 1."""
    running = state.running()
    if running is None:
        print("no control plane is running; start one with `make up`")
        return 1
    return _explain(running)


def _explain(running: Running) -> int:
    print(f"a control plane is running (process {running.pid}); `make down` stops it. To use it:")
    print(f"  export KUBECONFIG={running.kubeconfig}")
    print(f"  export PATH={running.path}:$PATH")
    print("  kubectl get namespaces")
    return 0


def main() -> int:
    """Entry point; the exit status."""
    parser = argparse.ArgumentParser(prog="hack.controlplane", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status", "serve"))
    command = parser.parse_args().command
    # One for each checkout: two of them may be tried side by side.
    state = State(cache_dir() / "up" / CHECKOUT.as_posix().strip("/").replace("/", "-"))
    try:
        if command == "serve":
            state.serve()
            return 0
        return {"up": up, "down": down, "status": status}[command](state)
    except (ServerError, SetupError) as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
