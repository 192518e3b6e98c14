"""Finds the answer that was for another directory.

A cloud may answer a directory that it no longer knows with the listing of its root, and most listings do not say
whose they are (Cp0204/SmartStrm, v0.4.14: 115 does so). An answer equal to an ancestor's is not believed, and that root
may lie above everything that was ever asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from pantograph.clock import Clock
from pantograph.providers.errors import MissingPrivilege, NotFound, ProtocolError, Rejected, Unreachable
from pantograph.providers.media.port import Entry, join

_REMEMBERED: Final = 20_000
"""Directories, the latest. About 4 MB, and more than any frontier's ancestors."""
_FRESH_S: Final = 600.0
"""What lies above all that is listed is asked for again after it: a driver may listen to changes for weeks."""
_NOT_SHOWN: Final = b""
"""The look of a directory that the server does not show."""


class _Seen(NamedTuple):
    look: bytes
    asked_at: float | None = None
    """When the guard asked for it; None: it was listed."""
    fault: str = ""
    """Why it did not come."""


class EchoGuard:
    """Remembers what directories that hold directories look like."""

    def __init__(self, name: str, ask: Callable[[str], Awaitable[Sequence[Entry]]], clock: Clock) -> None:
        """`ask`: the server's own answer for a directory, unguarded."""
        self._name = name
        self._ask = ask
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._asking = asyncio.Lock()

    async def check(self, path: str, entries: Sequence[Entry]) -> str:
        """Raises `ProtocolError` when `entries` are those of an ancestor of `path`; why that cannot be told, or "".

        An ancestor that nobody has listed is asked for.
        """
        if not any(entry.is_dir for entry in entries):
            return ""
        look = _fingerprint(entries)
        for above in _ancestors(path):
            seen = self._known(above) or await self._asked(above)
            if seen.fault:
                return f"it may be the listing of {above}, which does not come: {seen.fault}"
            if seen.look == look:
                raise ProtocolError(
                    f"{self._name} answered for {path} with the listing of {above}; it may no longer know {path}",
                    reason="WrongDirectory",
                )
        self._remember(path, _Seen(look))
        return ""

    def _known(self, path: str) -> _Seen | None:
        seen = self._seen.get(path)
        if seen is None or seen.asked_at is None:
            return seen
        return seen if self._clock.monotonic() - seen.asked_at <= _FRESH_S else None

    async def _asked(self, path: str) -> _Seen:
        async with self._asking:
            seen = self._known(path)  # by somebody who waited less
            if seen is None:
                look, fault = await self._look_at(path)
                seen = _Seen(look, self._clock.monotonic(), fault)
                self._remember(path, seen)
            return seen

    async def _look_at(self, path: str) -> tuple[bytes, str]:
        try:
            return _fingerprint(await self._ask(path)), ""
        except Unreachable as error:
            return _NOT_SHOWN, error.message
        except (NotFound, MissingPrivilege, Rejected, ProtocolError):
            return _NOT_SHOWN, ""

    def _remember(self, path: str, seen: _Seen) -> None:
        self._seen.pop(path, None)
        self._seen[path] = seen
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]


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
