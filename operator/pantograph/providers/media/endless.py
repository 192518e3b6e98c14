"""Gives up a listing that does not end: memory is bounded by the largest directory, so a directory must be bounded."""

from __future__ import annotations

from typing import Final

from pantograph.providers.errors import ProtocolError

MAX_ENTRIES: Final = 300_000
"""Of one directory. A cloud's own limits are below; a run's Pod has 512 MiB."""


def refuse_endless(name: str, count: int) -> None:
    """Raises `ProtocolError` when the answer of server `name` has come to more entries than a directory holds."""
    if count > MAX_ENTRIES:
        raise ProtocolError(
            f"{name} answered with more than {MAX_ENTRIES} entries in one directory",
            remedy="split the directory, or leave it out by filter.exclude",
        )
