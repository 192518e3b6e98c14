"""`kill -9` at random points of a run that creates, rewrites, copies and prunes: the next one ends what it began."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_after_a_kill_anywhere_the_tree_becomes_what_an_undisturbed_run_makes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.strm.killing", "200", "7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=1200,
    )
    result = json.loads(done.stdout)
    assert result["faults"] == []
    assert result["points"] == 200
    assert result["events"] > 200
