"""What a node needs from Debian: installed if it is missing, and containerd unpacked into the cache, never started."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hack.cache import cache_dir, exclusively
from hack.setup import install_debian, say
from hack.tools import SetupError

CNI_PLUGINS = Path("/usr/lib/cni")
_PACKAGES = {"runc": "runc", "iptables": "iptables", "mmdebstrap": "mmdebstrap", "buildah": "buildah"}
"""Command → package that has it."""


def install_packages() -> None:
    """After this the machine has the commands of a node and of the image's build. Raises SetupError."""
    missing = [package for command, package in _PACKAGES.items() if _which(command) is None]
    if not (CNI_PLUGINS / "bridge").exists():
        missing.append("containernetworking-plugins")
    install_debian(missing)


def runc() -> Path:
    found = _which("runc")
    if found is None:
        raise SetupError("runc is missing; `make e2e` installs it")
    return found


def containerd() -> Path:
    """The folder with containerd, its shim and ctr.

    They come out of Debian's package without its installation, which would start a service.
    """
    folder = cache_dir() / "containerd"
    if folder.exists():
        return folder / "usr" / "bin"
    with exclusively(cache_dir() / "containerd.lock", on_wait=lambda: say("waiting for another set-up")):
        if not folder.exists():
            _unpack_containerd(folder)
    return folder / "usr" / "bin"


def _unpack_containerd(folder: Path) -> None:
    say("fetching containerd")
    with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
        # As root, or apt's own user cannot write here and it says so.
        _run("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", "containerd", cwd=Path(scratch))
        archive = next(Path(scratch).glob("containerd_*.deb"))
        unpacked = Path(scratch) / "unpacked"
        _run("dpkg", "-x", str(archive), str(unpacked), cwd=Path(scratch))
        unpacked.rename(folder)


def _which(command: str) -> Path | None:
    found = shutil.which(command, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    return Path(found) if found else None


def _run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` failed:\n{(done.stderr or done.stdout).strip()}")
