"""The Python environment of a checkout: made once, and only ever for the checkout that it lies in.

uv is played by a shell script, which notes for whom it makes an environment; every package of Debian is there.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
UV = """\
#!/bin/sh
case "$1 $2" in
"venv -q") rm -rf "$VIRTUAL_ENV"; mkdir "$VIRTUAL_ENV" ;;
"pip install") for last; do :; done; echo "$last" >> "$VIRTUAL_ENV/project" ;;
esac
"""


class Checkout:
    """What set-up needs of a checkout, and the machine around it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = environment

    def set_up(self) -> None:
        command = [sys.executable, "-m", "hack.setup", "python"]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def copied_to(self, name: str) -> "Checkout":
        """`cp -a`."""
        copy = self.folder.with_name(name)
        shutil.copytree(self.folder, copy, symlinks=True)
        return Checkout(copy, self._environment)

    @property
    def project(self) -> list[str]:
        """The folder whose code the environment runs, once for each time that it was made."""
        return (self.folder / ".venv" / "project").read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for name in ("uv", "qemu-img", "rclone", "apt-get"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(UV if name == "uv" else "#!/bin/sh\n")
        command.chmod(0o755)
    pinned = hashlib.sha256((CHECKOUT / "hack" / "uv.txt").read_bytes()).hexdigest()[:12]
    tool = tmp_path / "cache" / "tools" / f"uv-{pinned}"
    tool.mkdir(parents=True)
    (tool / "bin").symlink_to(tmp_path / "bin")
    (tool / "complete").touch()
    folder = tmp_path / "next"
    shutil.copytree(CHECKOUT / "hack", folder / "hack", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    path = os.pathsep.join((str(tmp_path / "bin"), os.defpath))
    return Checkout(folder, {"PATH": path, "PANTOGRAPH_CACHE": str(tmp_path / "cache")})


def test_an_environment_is_made_once_and_anew_when_the_lock_changes(checkout: Checkout) -> None:
    checkout.set_up()
    (checkout.folder / ".venv" / "kept").touch()
    checkout.set_up()
    assert (checkout.folder / ".venv" / "kept").exists()
    with (checkout.folder / "hack" / "requirements.lock").open("a") as lock:
        lock.write("# another pin\n")
    checkout.set_up()
    assert not (checkout.folder / ".venv" / "kept").exists()


def test_a_copied_checkout_runs_its_own_code_and_not_that_of_the_original(checkout: Checkout) -> None:
    checkout.set_up()
    copy = checkout.copied_to("next2")
    copy.set_up()
    assert copy.project == [str(copy.folder)]
    assert checkout.project == [str(checkout.folder)]
