"""Who may use how much of the depot's volume, and which image goes when another needs its place."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Collection, Set
from dataclasses import dataclass
from pathlib import Path

from pantograph.depot.errors import DepotFull
from pantograph.depot.model import Image, human_size
from pantograph.depot.partial import Partial
from pantograph.depot.store import Store, write_atomically

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Victim:
    """Something that may be removed."""

    last_used: float
    size_bytes: int
    what: Image | Partial


class Space:
    """Claims of running fetches, pins of wanted images, and the quota above both.

    Everything is counted from the files themselves each time, so that no count can drift. The quota is at most what
    the volume really has. Methods may be called from any thread.
    """

    def __init__(self, store: Store, *, quota_bytes: int | None) -> None:
        self._store = store
        self._quota_bytes = quota_bytes
        self._claims: dict[str, int] = {}
        self._unpinned: set[str] = set()
        """Owners that need nothing any more, which the volume did not let us write."""
        self._lock = threading.Lock()

    def claim(self, key: str, size_bytes: int) -> None:
        """Let the files of the fetch `key` grow to `size_bytes` in all, removing what is unused, least recently first.

        A fetch claims what it has from its first moment, else its own partial file would count as unused. Raises
        DepotFull, and removes nothing, if even that would not make room.
        """
        with self._lock:
            if size_bytes <= self._claims.get(key, -1):
                return
            self._make_room(key, size_bytes)
            self._claims[key] = size_bytes

    def release(self, key: str) -> None:
        """The fetch has ended; what it left counts by its files."""
        with self._lock:
            self._claims.pop(key, None)

    def pin(self, owner: str, digests: Collection[str]) -> None:
        """From now on `owner` needs exactly these images; none of them is removed. Survives a restart.

        Raises OSError if the volume cannot be written; never for no images, which must not hold up a deletion.
        """
        with self._lock:
            if not digests:
                self._unpin({owner})
                return
            pins = self._pins()
            if set(pins.get(owner, ())) != set(digests):
                self._write_pins(pins | {owner: sorted(digests)})

    def keep_owners(self, owners: Collection[str]) -> None:
        """Drop the pins of every other owner: of objects that vanished while nobody looked."""
        with self._lock:
            self._unpin(self._pins().keys() - set(owners))

    def used_bytes(self) -> int:
        """What the images and the unfinished fetches take."""
        images = sum(stored.image.size_bytes for stored in self._store.stored())
        return images + sum(partial.size_bytes for partial in self._store.partials().values())

    def _make_room(self, key: str, size_bytes: int) -> None:
        claims = {self._store.partial_name(other): size for other, size in self._claims.items() if other != key}
        own = self._store.partial_name(key)
        pinned = {digest for digests in self._pins().values() for digest in digests}
        held, victims = size_bytes + sum(claims.values()), list[_Victim]()
        for stored in self._store.stored():
            if stored.image.image_digest in pinned:
                held += stored.image.size_bytes
            else:
                victims.append(_Victim(stored.last_used, stored.image.size_bytes, stored.image))
        for name, partial in self._store.partials().items():
            if name != own and name not in claims:
                victims.append(_Victim(partial.path.stat().st_mtime, partial.size_bytes, partial))
        capacity = self._capacity()
        if held > capacity:
            raise DepotFull(
                f"{human_size(size_bytes)} do not fit into the depot: {human_size(held - size_bytes)} of its "
                f"{human_size(capacity)} are in use",
                remedy="give the depot a larger volume or quota, or delete templates whose images it holds",
            )
        excess = held + sum(victim.size_bytes for victim in victims) - capacity
        for victim in sorted(victims, key=lambda victim: victim.last_used):
            if excess <= 0:
                return
            self._remove(victim.what)
            excess -= victim.size_bytes

    def _capacity(self) -> int:
        """The quota, or what the volume can hold of ours, whichever is less."""
        possible = self.used_bytes() + self._store.scratch_bytes() + shutil.disk_usage(self._store.root).free
        return possible if self._quota_bytes is None else min(possible, self._quota_bytes)

    def _remove(self, what: Image | Partial) -> None:
        if isinstance(what, Partial):
            what.discard()
        else:
            self._store.remove(what)

    @property
    def _pins_path(self) -> Path:
        return self._store.root / "pins.json"

    def _pins(self) -> dict[str, list[str]]:
        try:
            pins: dict[str, list[str]] = json.loads(self._pins_path.read_bytes())
        except FileNotFoundError:
            return {}
        return {owner: digests for owner, digests in pins.items() if owner not in self._unpinned}

    def _unpin(self, owners: Set[str]) -> None:
        """If that cannot be written it holds for this process; the next one asks again which owners there are."""
        try:
            pins = self._pins()
            if owners & pins.keys():
                self._write_pins({owner: digests for owner, digests in pins.items() if owner not in owners})
        except OSError as fault:
            self._unpinned |= owners
            _log.warning("the depot's volume failed, so unused pins stay in its file: %s", fault.strerror)

    def _write_pins(self, pins: dict[str, list[str]]) -> None:
        write_atomically(self._pins_path, json.dumps(pins, sort_keys=True).encode())
        self._unpinned.clear()
