"""What a test needs from the machine. A test that lacks it is skipped, with the reason that the summary prints."""

import shutil
from pathlib import Path

import pytest


def require_command(name: str, *, package: str) -> Path:
    """The path of a command; without it the test is skipped, and the Debian package that has it is named."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing; install it with: apt-get install {package}")
    return Path(found)
