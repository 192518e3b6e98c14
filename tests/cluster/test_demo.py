"""The demo, as `make demo` begins it. What it states it has compared itself, or it fails."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import psutil

from hack.demo import NODES
from hack.demo_media import EPISODES, FILMS, SHOWS

CHECKOUT = Path(__file__).parents[2]
MARK = "DEMO_UNDER_TEST"
VIDEOS = FILMS + SHOWS * EPISODES


def test_the_demo_shows_both_jobs_and_leaves_nothing_running() -> None:
    mark = secrets.token_hex(8)
    ended = subprocess.run(
        [sys.executable, "-m", "hack.demo"],
        cwd=CHECKOUT,
        env={**os.environ, "KEEP": "", "CLUSTER": "", MARK: mark},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    said = ended.stdout
    assert ended.returncode == 0, said + ended.stderr
    assert said.count("  equal\n") == NODES
    assert f"{VIDEOS} files unchanged, nothing written" in said
    assert "    PruneBlocked: " in said
    assert f"all {VIDEOS} files are still there" in said
    assert "What to try next" in said
    assert running_with(mark) == []


def running_with(mark: str) -> list[list[str]]:
    """The commands of all processes whose environment has the mark: who was begun by the demo inherits it."""
    running = psutil.process_iter(["environ", "cmdline"])
    return [each.info["cmdline"] for each in running if (each.info["environ"] or {}).get(MARK) == mark]
