"""What a machine must allow before a node can run on it: asked of the kernel, not guessed from its name."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hack.cache import cache_dir
from hack.node import cgroups

_ISOLATED = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
_TIMEOUT_S = 30


def missing_requirements() -> list[str]:
    """What keeps this machine from running a node, each with what would mend it; empty if it can."""
    if os.geteuid() != 0:
        return ["root is needed for namespaces, mounts and cgroups: run it as root"]
    commands = [name for name in ("unshare", "ip", "mount") if shutil.which(name) is None]
    if commands:
        return [f"missing: {', '.join(commands)}; install them with: apt-get install util-linux iproute2"]
    if not _works("true"):
        return ["mount, process and network namespaces cannot be made (`unshare`): a container needs CAP_SYS_ADMIN"]
    missing = []
    if not _works("ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"):
        missing.append("veth interfaces cannot be made: load the kernel module veth (`modprobe veth`)")
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=cache_dir()) as folder:
        if not _works("mount", "-t", "overlay", "probe", "-o", _overlay(Path(folder)), folder):
            missing.append(f"overlayfs cannot be mounted in {cache_dir()}: set PANTOGRAPH_CACHE to a folder on a disk")
    if (reason := cgroups.refusal()) is not None:
        missing.append(reason)
    return missing


def _overlay(folder: Path) -> str:
    parts = {"lowerdir": folder / "lower", "upperdir": folder / "upper", "workdir": folder / "work"}
    for part in parts.values():
        part.mkdir()
    return ",".join(f"{name}={part}" for name, part in parts.items())


def _works(*command: str) -> bool:
    """Whether `command` succeeds in namespaces of its own, where it can change nothing of ours."""
    try:
        done = subprocess.run((*_ISOLATED, *command), capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
