"""Which machines were verified by their own configuration, and how long that holds.

In memory only, and only to save reads: a process that knows nothing trusts a Ready status whose row in the bulk listing
looks right, and spreads the first readings over the interval.
"""

from __future__ import annotations

from random import Random
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.proxmox.port import GuestRow

VERIFY_INTERVAL_S: Final = 3600.0
JITTER: Final = 0.1

_Facts = tuple[object, ...]


class VerifiedMachines:
    """By a replica's uid: the row as it was when its machine was verified, and until when that is trusted."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._until: dict[str, tuple[_Facts, float]] = {}

    def remember(self, uid: str, row: GuestRow) -> None:
        """The machine was just found as it must be, and `row` is how the bulk listing shows it."""
        holds_s = VERIFY_INTERVAL_S * self._random.uniform(1 - JITTER, 1 + JITTER)
        self._until[uid] = (_facts(row), self._clock.monotonic() + holds_s)

    def trust(self, uid: str, row: GuestRow) -> None:
        """A former process verified it: read it again at some moment of the next interval, unless already known."""
        if uid not in self._until:
            self._until[uid] = (_facts(row), self._clock.monotonic() + self._random.uniform(0, VERIFY_INTERVAL_S))

    def holds(self, uid: str, row: GuestRow) -> bool:
        """Whether the machine was verified lately and its row has not changed since."""
        known = self._until.get(uid)
        return known is not None and known[0] == _facts(row) and self._clock.monotonic() < known[1]

    def forget(self, uid: str) -> None:
        self._until.pop(uid, None)


def _facts(row: GuestRow) -> _Facts:
    return (row.vmid, row.node, row.name, row.template, row.tags, row.lock, row.status)
