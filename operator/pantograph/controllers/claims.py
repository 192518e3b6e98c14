"""What this process is about to announce, and the cache does not show yet.

Whoever counts or looks in the cache and then stores an intent leaves a gap between the two, in which others count and
look as well. A claim closes it: it is taken in the same turn of the loop as the look, and let go when the stored intent
is in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pantograph.api.meta import Key
from pantograph.controllers.indexes import Index


class Claims:
    """By what the intent will be found as (see `indexes`), the objects that are about to store it."""

    def __init__(self) -> None:
        self._held: dict[Index, set[Key]] = {}

    def of(self, index: Index) -> frozenset[Key]:
        return frozenset(self._held.get(index, ()))

    @contextmanager
    def hold(self, key: Key, *indexes: Index) -> Iterator[None]:
        """Let others see `key` under `indexes` until the block ends."""
        for index in indexes:
            self._held.setdefault(index, set()).add(key)
        try:
            yield
        finally:
            for index in indexes:
                self._held[index].discard(key)
                if not self._held[index]:
                    del self._held[index]
