"""By what a listing is known again under another name: without keeping its entries, of which there may be very many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pantograph.providers.media.port import Listing


@dataclass(frozen=True, slots=True)
class Likeness:
    """Of one listing; equal contents are known whatever their order, and whatever differs from answer to answer."""

    count: int
    names: frozenset[str]
    content: int

    @classmethod
    def of(cls, listing: Listing) -> Self:
        return cls(len(listing.entries), frozenset(entry.name for entry in listing.entries), _content(listing))

    def is_of(self, listing: Listing) -> bool:
        """Whether `listing` shows the same things. The empty one is like none: it says nothing."""
        entries = listing.entries
        if not entries or len(entries) != self.count or entries[0].name not in self.names:
            return False
        return _content(listing) == self.content


def _content(listing: Listing) -> int:
    return hash(
        frozenset(
            (entry.name, entry.is_dir, entry.size_bytes, entry.modified, entry.identity, entry.hashes)
            for entry in listing.entries
        )
    )
