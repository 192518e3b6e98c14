"""Finds the answer that was for another directory.

A cloud may answer a directory that it no longer knows with the listing of its root, and most listings do not say
whose they are (Cp0204/SmartStrm, v0.4.14: 115 does so). An answer equal to an ancestor's is not believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from pantograph.providers.errors import ProtocolError
from pantograph.providers.media.port import Entry, parent_of

_REMEMBERED = 20_000
"""Directories, the latest; the root always. About 4 MB, and more than any frontier's ancestors."""


class EchoGuard:
    """Remembers what directories that hold directories looked like."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: dict[str, bytes] = {}

    def check(self, path: str, entries: Sequence[Entry]) -> None:
        """Raises `ProtocolError` when `entries` are those of an ancestor of `path`."""
        if not any(entry.is_dir for entry in entries):
            return
        print_ = _fingerprint(entries)
        above = path
        while above != "/":
            above = parent_of(above)
            if self._seen.get(above) == print_:
                raise ProtocolError(
                    f"{self._name} answered for {path} with the listing of {above}; it may no longer know {path}",
                    reason="WrongDirectory",
                )
        self._seen.pop(path, None)
        self._seen[path] = print_
        if len(self._seen) > _REMEMBERED:
            self._seen.pop(next(seen for seen in self._seen if seen != "/"))


def _fingerprint(entries: Sequence[Entry]) -> bytes:
    digest = blake2b(digest_size=16)
    for entry in sorted(entries, key=lambda entry: entry.name):
        modified = entry.modified.timestamp() if entry.modified else 0
        digest.update(f"{entry.name}\0{entry.is_dir}\0{entry.size_bytes}\0{modified}\0".encode(errors="surrogatepass"))
    return digest.digest()
