"""Finds the answer that was for another directory.

A cloud may answer a directory that it no longer knows with the listing of its root, and most listings do not say
whose they are (Cp0204/SmartStrm, v0.4.14: 115 does so). An answer equal to an ancestor's is not believed, and that root
may lie above everything that was ever asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.errors import MissingPrivilege, NotFound, ProtocolError, Rejected, Unreachable
from pantograph.providers.media.port import Entry, join

_REMEMBERED: Final = 20_000
"""Directories, the latest. About 4 MB, and more than any frontier's ancestors."""
_FRESH_S: Final = 600.0
"""What lies above all that is listed is asked for again after it: a driver may listen to changes for weeks."""
_NOT_TOLD: Final = b""
"""Instead of the look of a directory that the server does not show."""


class EchoGuard:
    """Remembers what directories that hold directories look like."""

    def __init__(self, name: str, ask: Callable[[str], Awaitable[Sequence[Entry]]], clock: Clock) -> None:
        """`ask`: the server's own answer for a directory, unguarded."""
        self._name = name
        self._ask = ask
        self._clock = clock
        self._seen: dict[str, bytes] = {}
        self._asked_at: dict[str, float] = {}
        """Of those that only the guard has asked for."""
        self._asking = asyncio.Lock()

    async def check(self, path: str, entries: Sequence[Entry]) -> str:
        """Raises `ProtocolError` when `entries` are those of an ancestor of `path`; why that cannot be told, or "".

        An ancestor that nobody has listed is asked for.
        """
        if not any(entry.is_dir for entry in entries):
            return ""
        look = _fingerprint(entries)
        for above in _ancestors(path):
            try:
                known = await self._look_of(above)
            except Unreachable as error:
                return f"it may be the listing of {above}, which does not come: {error.message}"
            if known == look:
                raise ProtocolError(
                    f"{self._name} answered for {path} with the listing of {above}; it may no longer know {path}",
                    reason="WrongDirectory",
                )
        self._asked_at.pop(path, None)
        self._remember(path, look)
        return ""

    async def _look_of(self, path: str) -> bytes:
        if not self._knows(path):
            async with self._asking:
                if not self._knows(path):
                    look = await self._asked(path)
                    self._asked_at[path] = self._clock.monotonic()
                    self._remember(path, look)
        return self._seen.get(path, _NOT_TOLD)

    def _knows(self, path: str) -> bool:
        asked_at = self._asked_at.get(path)
        is_old = asked_at is not None and self._clock.monotonic() - asked_at > _FRESH_S
        return path in self._seen and not is_old

    async def _asked(self, path: str) -> bytes:
        try:
            return _fingerprint(await self._ask(path))
        except (NotFound, MissingPrivilege, Rejected, ProtocolError):
            return _NOT_TOLD

    def _remember(self, path: str, look: bytes) -> None:
        self._seen.pop(path, None)
        self._seen[path] = look
        if len(self._seen) > _REMEMBERED:
            oldest = next(iter(self._seen))
            del self._seen[oldest]
            self._asked_at.pop(oldest, None)


def _ancestors(path: str) -> Iterator[str]:
    """From the root down."""
    if path == "/":
        return
    above = "/"
    for name in path.strip("/").split("/"):
        yield above
        above = join(above, name)


def _fingerprint(entries: Sequence[Entry]) -> bytes:
    digest = blake2b(digest_size=16)
    for entry in sorted(entries, key=lambda entry: entry.name):
        modified = entry.modified.timestamp() if entry.modified else 0
        digest.update(f"{entry.name}\0{entry.is_dir}\0{entry.size_bytes}\0{modified}\0".encode(errors="surrogatepass"))
    return digest.digest()
