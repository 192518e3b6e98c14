"""Runs a command in namespaces of its own in which a node can be started, and leaves nothing behind.

`isolated(command)` is called outside; `python -m hack.node.world <name> command…` is the first process inside: it
prepares what a node needs of mounts and network, runs the command, and ends with its exit status.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.cache import cache_dir
from hack.controlplane.configuration import SERVICES
from hack.controlplane.process import die_with_parent
from hack.node import cgroups
from hack.tools import SetupError

NODE_ADDRESS = "10.99.1.1"
"""The node's address, and that of everything outside the pods that pods talk to: a kubelet refuses a loopback one."""

GROUP = "PANTOGRAPH_NODE_GROUP"
FOLDER = "PANTOGRAPH_NODE_FOLDER"

_CHECKOUT = Path(__file__).parents[2]
_WRITTEN_FOLDERS = ("/var/lib", "/var/log", "/opt")
"""What kubelet, containerd and the network plugins write to beside their configured folders."""

_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What a kubelet sets (k8s.io/component-helpers/node/util/sysctl); a file over each keeps the machine's own value."""


def isolated(command: Sequence[str]) -> int:
    """Run `command` inside, and return its exit status when it, and all that it started, has ended.

    However this process ends, everything inside dies with it. Raises SetupError if the groups cannot be made.
    """
    suffix = f"{os.getpid()}"
    _clear_after_the_killed()
    folder = cache_dir() / "node" / suffix
    try:
        with cgroups.own_groups(suffix) as group:
            folder.mkdir(parents=True)
            return _run_inside(command, {**os.environ, GROUP: group, FOLDER: str(folder)})
    except OSError as error:
        raise SetupError(f"no place for a node on this machine: {error}") from error
    finally:
        _remove(folder)


def _clear_after_the_killed() -> None:
    """Remove what a `kill -9` of this module kept it from removing: groups and folders are named after the process."""
    kept = cache_dir() / "node"
    suffixes = {*cgroups.left_behind(), *(folder.name for folder in kept.glob("[0-9]*"))}
    for suffix in suffixes:
        if suffix.isdigit() and not Path(f"/proc/{suffix}").exists():
            cgroups.remove(suffix)
            _remove(kept / suffix)


def _remove(folder: Path) -> None:
    # The mounts ended with their namespace; what could still be one must not be emptied.
    subprocess.run(("rm", "-rf", "--one-file-system", str(folder)), check=False)


def _run_inside(command: Sequence[str], environment: Mapping[str, str]) -> int:
    unshare = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
    with subprocess.Popen(
        (*unshare, sys.executable, "-m", "hack.node.world", *command),
        env={**environment, "PYTHONPATH": str(_CHECKOUT)},
        preexec_fn=die_with_parent,  # noqa: PLW1509  calls one function of libc that is loaded already
    ) as process:
        interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command: it ends in order
        terminated = signal.signal(signal.SIGTERM, _end)
        try:
            return process.wait()
        finally:
            process.kill()
            signal.signal(signal.SIGINT, interrupted)
            signal.signal(signal.SIGTERM, terminated)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def prepare() -> None:
    """Inside: mounts, sysctls and network, before anything of the node is started."""
    folder = Path(os.environ[FOLDER])
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for number, written in enumerate(_WRITTEN_FOLDERS):
        layers = {name: folder / "written" / str(number) / name for name in ("upperdir", "workdir")}
        for layer in layers.values():
            layer.mkdir(parents=True)
        options = ",".join(f"{name}={layer}" for name, layer in {"lowerdir": written, **layers}.items())
        _run("mount", "-t", "overlay", "written", "-o", options, written)
    for name, value in _SYSCTLS.items():
        file = folder / "sysctl" / name.replace("/", ".")
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{value}\n")
        _run("mount", "--bind", str(file), f"/proc/sys/{name}")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", "lo")
    _run("ip", "route", "add", SERVICES, "dev", "lo", "src", NODE_ADDRESS)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _be_init(command: Sequence[str]) -> int:
    """Run `command` as the first process of the namespace: wait for it, and for whatever it leaves to us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, restore_signals=True, preexec_fn=_take_interrupts)  # noqa: PLW1509  one thread runs
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status)


def _take_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main(command: list[str]) -> int:
    try:
        prepare()
    except SetupError as error:
        print(f"node: {error}", file=sys.stderr)
        return 1
    if shutil.which(command[0]) is None:
        print(f"node: there is no command {command[0]}", file=sys.stderr)
        return 127
    return _be_init(command) & 0xFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
