"""Sets up a checkout: Debian packages that are missing, the Python environment, the commands of the control plane.

`python3 -m hack.setup` does all, `python3 -m hack.setup python` only the environment. What is there already is left
alone in a fraction of a second, offline. Standard library only: it is what makes the environment.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hack.cache import exclusively
from hack.controlplane import build
from hack.tools import SetupError, uv

CHECKOUT = Path(__file__).parents[1]
ENVIRONMENT = CHECKOUT / ".venv"
LOCK = CHECKOUT / "hack" / "requirements.lock"
STAMP = ENVIRONMENT / "pantograph-stamp"


def debian_packages() -> None:
    """After this the machine has what comes from no package index of a language."""
    missing = []
    if importlib.util.find_spec("ensurepip") is None:
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    if shutil.which("qemu-img") is None:
        missing.append("qemu-utils")
    if shutil.which("rclone") is None:
        missing.append("rclone")
    install_debian(missing)


def install_debian(missing: Sequence[str]) -> None:
    """Install Debian packages. Raises SetupError, which says what to run, where that cannot be done."""
    if not missing:
        return
    install = f"apt-get install --no-install-recommends -y {' '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise SetupError(f"missing: {', '.join(missing)} (Debian's names); install them with this system's own tool")
    if os.geteuid() != 0:
        raise SetupError(f"missing: {', '.join(missing)}; run as root: apt-get update && {install}")
    say(f"installing {', '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-q", environment=quiet)
    run(*install.split(), "-q", environment=quiet)


def python_environment() -> None:
    """After this .venv holds exactly the locked dependencies, and the project itself, editable."""
    if _is_current():
        return
    with exclusively(CHECKOUT / ".venv.lock", on_wait=lambda: say("waiting for another set-up of this checkout")):
        if _is_current():
            return
        began = time.monotonic()
        environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": str(ENVIRONMENT)}
        command = str(uv())
        run(command, "venv", "-q", "--clear", "--python", sys.executable, str(ENVIRONMENT), environment=environment)
        sync = (command, "pip", "sync", "-q", "--require-hashes", str(LOCK))
        try:
            run(*sync, "--offline", environment=environment)  # what uv has in its cache needs no network
        except SetupError:
            say("fetching Python packages")
            run(*sync, environment=environment)
        # The build backend is in the lock: built without isolation, the project needs nothing that is not hashed.
        project = ("--no-deps", "--no-build-isolation", "-e", str(CHECKOUT))
        run(command, "pip", "install", "-q", *project, environment=environment)
        STAMP.write_text(_wanted())
        say(f"Python environment .venv made in {time.monotonic() - began:.0f} s")


def _is_current() -> bool:
    return STAMP.exists() and STAMP.read_text() == _wanted()


def _wanted() -> str:
    # The path, because an environment names it: in a copied checkout it would run the code of the original.
    project = CHECKOUT / "pyproject.toml"
    made_for = f"{CHECKOUT}\n{sys.version}".encode()
    return hashlib.sha256(LOCK.read_bytes() + project.read_bytes() + made_for).hexdigest()


def run(*command: str, environment: dict[str, str]) -> None:
    """Run a command to its end. Raises SetupError with what it said if it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` failed:\n{(done.stderr or done.stdout).strip()}")


def say(line: str) -> None:
    """Print one line of progress."""
    print(f"set-up: {line}", flush=True)


def main(parts: list[str]) -> int:
    """Set up the named parts, or all; the exit status."""
    try:
        debian_packages()
        python_environment()
        if parts != ["python"]:
            build.binaries()
    except (SetupError, OSError) as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
