"""The demo, as `make demo` begins it. What it states it has compared itself, or it fails."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
MARK = "DEMO_UNDER_TEST"


def test_the_demo_shows_both_jobs_and_leaves_nothing_running() -> None:
    mark = f"{MARK}={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    ended = subprocess.run(
        [sys.executable, "-m", "hack.demo"],
        cwd=CHECKOUT,
        env={**os.environ, "KEEP": "", "CLUSTER": "", name: value},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    said = ended.stdout
    assert ended.returncode == 0, said + ended.stderr
    assert said.count("  equal\n") == 3
    assert "36 files unchanged, nothing written" in said
    assert "    PruneBlocked: " in said
    assert "all 36 files are still there" in said
    assert "What to try next" in said
    assert running_with(mark) == []


def running_with(mark: str) -> list[str]:
    """The commands of all processes whose environment has the mark: who was begun by the demo inherits it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:  # ended, or somebody else's
            continue
        if mark.encode() in environment.split(b"\0"):
            found.append(command.replace(b"\0", b" ").decode())
    return found
