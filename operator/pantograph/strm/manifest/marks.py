"""The mark of what the source no longer shows, as rows of files and of directories hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

COLUMNS: Final = "reason, scans, since, counted"


@dataclass(frozen=True, slots=True)
class Missing:
    """A thing that was ours and that the source no longer shows."""

    reason: str
    scans: int
    since: float
    counted: float
    """When the last scan that counts was; seconds since 1970."""


def mark_of(columns: Sequence[Any]) -> Missing | None:
    """From `COLUMNS`; None: it is there."""
    return None if columns[0] is None else Missing(*columns)


def columns_of(missing: Missing | None) -> tuple[str | None, int, float | None, float | None]:
    """The other way."""
    if missing is None:
        return (None, 0, None, None)
    return (missing.reason, missing.scans, missing.since, missing.counted)
