"""Server processes that never outlive us: each dies with this process, however that ends, and keeps a log."""

import ctypes
import random
import signal
import socket
import subprocess
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_TAIL_LINES = 15
_PORTS = range(20_000, 32_000)
"""Below Linux' ephemeral ports: a client that redials a stopped server's port cannot be given that very port."""

_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-starter")
"""The death signal is sent when the *thread* that started the process ends (prctl(2)), so one that stays starts all."""


class ServerError(Exception):
    """A server did not start, or ended: which, and the end of its log."""


class PortTakenError(ServerError):
    """Another process took the port between its choice and its use: another port will do."""


class Server:
    """One server process."""

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start `command`, its output appended to `log`; without `environment` it has ours."""
        self.name = name
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        self._process = _STARTER.submit(_start, command, log, environment).result()

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise ServerError with the end of the log if the process has ended."""
        code = self._process.poll()
        if code is None:
            return
        with self.log.open(errors="replace") as log:
            log.seek(self._log_start)
            tail = "\n".join(log.read().splitlines()[-_TAIL_LINES:])
        kind = PortTakenError if "address already in use" in tail else ServerError
        raise kind(f"{self.name} ended with {code}; the end of {self.log}:\n{tail}")

    def wait(self, *, within_s: float = 60.0) -> int:
        """Wait until the process has ended by itself; its exit code. Raises ServerError if it does not end."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired as late:
            raise ServerError(f"{self.name} has not ended within {within_s:.0f} s") from late

    def terminate(self, *, within_s: float = 30.0) -> int:
        """Ask the process to end and wait for it; its exit code. Killed, and ServerError, if it does not end."""
        self._process.terminate()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise ServerError(f"{self.name} has not ended within {within_s:.0f} s of SIGTERM") from late

    def kill(self) -> None:
        """End the process at once and wait until it is gone. It may be gone already."""
        self._process.kill()
        self._process.wait()


def free_ports(count: int, *, rng: random.Random, besides: Container[int] = ()) -> list[int]:
    """Different loopback ports that nobody listens on at the moment, and none of `besides`."""
    ports: list[int] = []
    for port in rng.sample(_PORTS, len(_PORTS)):
        if len(ports) == count:
            return ports
        if port not in besides and _is_free(port):
            ports.append(port)
    raise ServerError(f"no free port between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do, or a port whose old connections linger in TIME_WAIT looks taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _start(command: Sequence[str], log: Path, environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            preexec_fn=die_with_parent,  # noqa: PLW1509  calls one function of libc that is loaded already
            start_new_session=True,  # a Ctrl-C at the terminal is for us: we stop them in order
        )


def die_with_parent() -> None:
    """In a new process: be killed when the thread that started it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def outlive_parent() -> None:
    """In a process that `die_with_parent` bound to another: be free of it."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, 0)
