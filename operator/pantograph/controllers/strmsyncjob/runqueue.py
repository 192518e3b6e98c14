"""Whose turn it is: the jobs that have something to run and wait for a place, in their order.

It holds nothing but the order. Which places are taken is read from the statuses, and a job that waits says so again
whenever it is looked at, so a process that begins with an empty queue has the same one soon.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from pantograph.api.meta import Key


@dataclass(slots=True)
class _Ticket:
    server: Key
    priority: int
    number: int
    """Of those with the same priority, the smaller came first."""
    confirmed: bool = True
    """It was offered since the last `sweep`."""


_Entry = tuple[int, int, Key]


class RunQueue:
    """Every method is O(log n) in the jobs that wait, on average over many calls."""

    def __init__(self) -> None:
        self._tickets: dict[Key, _Ticket] = {}
        self._waiting: dict[Key, list[_Entry]] = {}
        """By server: a heap of (priority, number, job), with entries that no ticket agrees with any more."""
        self._fronts: list[_Entry] = []
        """A heap of the first of each server that is not full, likewise; the key is the server's."""
        self._fronted: dict[Key, tuple[int, int]] = {}
        """By server: its newest entry in `_fronts`, so that none is there twice."""
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._tickets)

    def offer(self, key: Key, *, server: Key, priority: int) -> None:
        """The job waits for a place on `server`. It keeps its place in the order as long as these stay the same."""
        ticket = self._tickets.get(key)
        if ticket is None or (ticket.server, ticket.priority) != (server, priority):
            number = next(self._numbers)
            ticket = self._tickets[key] = _Ticket(server, priority, number)
            heapq.heappush(self._waiting.setdefault(server, []), (priority, number, key))
        ticket.confirmed = True
        self.freed(server)

    def withdraw(self, key: Key) -> None:
        """The job does not wait any more."""
        ticket = self._tickets.pop(key, None)
        if ticket is not None:
            self.freed(ticket.server)

    def sweep(self, key: Key) -> None:
        """After each look at the job: if it was not offered since the last one, it does not wait any more."""
        ticket = self._tickets.get(key)
        if ticket is None:
            return
        if not ticket.confirmed:
            self.withdraw(key)
        ticket.confirmed = False

    def freed(self, server: Key) -> None:
        """There may be a place on the server again."""
        front = self._front(server)
        if front is not None and self._fronted.get(server) != front[:2]:
            self._fronted[server] = front[:2]
            heapq.heappush(self._fronts, (front[0], front[1], server))

    def first(self, has_room: Callable[[Key], bool]) -> Key | None:
        """The job whose turn it is, of those on servers that have room; a full server is asked about no more until
        `freed`."""
        while self._fronts:
            priority, number, server = self._fronts[0]
            front = self._front(server)
            is_front = front is not None and front[:2] == (priority, number)
            if front is not None and is_front and has_room(server):
                return front[2]
            heapq.heappop(self._fronts)
            if self._fronted.get(server) == (priority, number):
                del self._fronted[server]
            if not is_front:
                self.freed(server)
        return None

    def _front(self, server: Key) -> _Entry | None:
        """The first that waits for this server."""
        heap = self._waiting.get(server)
        while heap:
            _, number, key = heap[0]
            ticket = self._tickets.get(key)
            if ticket is not None and ticket.number == number:
                return heap[0]
            heapq.heappop(heap)
        self._waiting.pop(server, None)
        return None
