"""A control plane to try things by hand: `python -m hack.controlplane up|down`."""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hack.cache import cache_dir, exclusively, holder
from hack.controlplane.build import binaries
from hack.controlplane.controlplane import ControlPlane
from hack.controlplane.process import ServerError, die_with_parent, outlive_parent
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
    """What `up` leaves behind for `down`: a folder with a lock that the living process holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._data = folder / "data"
        self._record = folder / "running.json"
        self._lock = folder / "lock"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other `up` or `down` of this checkout is at work meanwhile."""
        with exclusively(self.folder / "up.lock", on_wait=lambda: _say("waiting for `make up` in this checkout")):
            yield

    def running(self) -> Running | None:
        """The running control plane, waiting for one that starts or stops to have done so.

        Its pid cannot be another process': only a living one holds the lock.
        """
        while holder(self._lock) is not None:
            if self._record.exists():
                return Running(**json.loads(self._record.read_text()))
            time.sleep(_POLL_S)
        return None

    def serve(self) -> None:
        """Run a control plane in this process until SIGTERM or SIGINT; until it is ready it dies with its parent."""
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        with exclusively(self._lock, on_wait=lambda: None):  # nobody's for longer than a look at it: `up` is alone
            with ControlPlane(self._data) as plane:
                outlive_parent()
                running = Running(os.getpid(), str(plane.kubeconfig), plane.path)
                unfinished = self._record.with_suffix(".new")
                unfinished.write_text(json.dumps(asdict(running)))
                unfinished.rename(self._record)
                stopped.wait()
            self._record.unlink()

    def forget(self) -> None:
        """Remove what a killed process left, so that `running` waits for the next one's own word."""
        self._record.unlink(missing_ok=True)
        shutil.rmtree(self._data, ignore_errors=True)


def state_of(checkout: Path) -> State:
    """One for each checkout: two of them may be tried side by side."""
    return State(cache_dir() / "up" / f"{checkout.name}-{hashlib.sha256(bytes(checkout)).hexdigest()[:12]}")


def up(state: State) -> int:
    """Start one, unless it is running, and return when it is ready."""
    with state.alone():
        running = state.running() or _start(state)
    print(f"a control plane is running (process {running.pid}); `make down` stops it. To use it:")
    print(f"  export KUBECONFIG={running.kubeconfig}")
    print(f"  export PATH={running.path}:$PATH")
    print("  kubectl get namespaces")
    return 0


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
            preexec_fn=die_with_parent,  # noqa: PLW1509  calls one function of libc that is loaded already
        )
    _say("starting a control plane")
    while not (running := state.running()):
        if server.poll() is not None:
            raise ServerError(f"it did not start:\n{state.log.read_text().strip()}")
        time.sleep(_POLL_S)
    return running


def down(state: State) -> int:
    """Stop it and remove its data."""
    with state.alone():
        running = state.running()
        if running is not None:
            os.kill(running.pid, signal.SIGTERM)
        while state.running():
            time.sleep(_POLL_S)
        state.forget()
    print("stopped" if running else "no control plane is running")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Entry point; the exit status."""
    parser = argparse.ArgumentParser(prog="hack.controlplane", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "serve"))
    command = parser.parse_args().command
    state = state_of(CHECKOUT)
    try:
        if command == "serve":
            state.serve()
            return 0
        return up(state) if command == "up" else down(state)
    except (ServerError, SetupError) as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
