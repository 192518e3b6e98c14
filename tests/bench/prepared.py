"""A media source that costs next to nothing, its listings made beforehand: what is measured is the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from pantograph.providers.media.port import (
    Capabilities,
    Entry,
    Hint,
    Link,
    Listing,
    ServerInfo,
    SignMode,
)


class PreparedSource:
    """Answers `list` with what `listings` holds, at once: to wait for an answer is the driver's part."""

    capabilities = Capabilities(
        watch=False,
        http=True,
        mount=False,
        pickcode=False,
        sign=False,
        proves_complete_listing=True,
        directory_times=True,
    )

    def __init__(self, listings: Callable[[str], Listing]) -> None:
        self._listings = listings
        self.requests = 0

    async def list(self, path: str, *, refresh: bool = False) -> Listing:
        self.requests += 1
        return self._listings(path)

    async def stat(self, path: str) -> Entry:
        raise AssertionError(f"nobody may ask for {path} alone")

    async def watch(self, path: str) -> AsyncIterator[Hint]:
        raise AssertionError(f"nobody may watch {path}")
        yield

    def link(self, entry: Entry, *, sign: SignMode = SignMode.FROM_LISTING) -> Link:
        return Link(entry.path, "http://openlist.lan:5244", "/d")

    async def read(self, entry: Entry) -> AsyncIterator[bytes]:
        raise AssertionError(f"nothing is copied, not even {entry.name}")
        yield

    async def test_connection(self) -> ServerInfo:
        return ServerInfo(product="Prepared", version="1", logged_in=True)

    async def close(self) -> None:
        """Nothing is held."""
