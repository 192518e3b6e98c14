"""How often a process of ours looks for objects that only refer to each other."""

from __future__ import annotations

import gc
from typing import Final

COLLECT_AFTER: Final = 20_000
"""New objects until Python looks for cycles among them. Its own 700 are what one answer of a server makes."""


def collect_seldom() -> None:
    """For the whole process: almost nothing here is part of a cycle, and each look goes through all that is new."""
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
