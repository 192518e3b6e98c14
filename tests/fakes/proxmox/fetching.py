"""How a simulated node fetches a URL: over HTTP for real, or through whatever the caller hands in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

CHUNK_BYTES = 1024 * 1024


@dataclass(slots=True)
class Fetched:
    """An answer whose body is about to be read."""

    status: int
    reason: str = "OK"
    length: int | None = None
    mimetype: str = "application/octet-stream"
    filename: str | None = None
    chunks: AsyncIterator[bytes] = field(default_factory=lambda: chunks_of(b""))


class FetchFailed(Exception):
    """No answer; the text is what wget prints, e.g. `Connecting to x:80... failed: Connection refused.`"""


Fetch = Callable[[str], AbstractAsyncContextManager[Fetched]]
"""Opens a URL. Raises `FetchFailed`."""


async def chunks_of(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


def address_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


@asynccontextmanager
async def no_network(url: str) -> AsyncIterator[Fetched]:
    """Nothing can be reached."""
    raise FetchFailed(f"Connecting to {address_of(url)}... failed: Connection refused.")
    yield Fetched(0)  # makes this a generator


def serving(files: dict[str, bytes]) -> Fetch:
    """A fetch that knows these URLs (without their query) and says 404 to all others."""

    @asynccontextmanager
    async def fetch(url: str) -> AsyncIterator[Fetched]:
        data = files.get(url, files.get(url.partition("?")[0]))
        if data is None:
            yield Fetched(404, "Not Found")
            return
        name = urlsplit(url).path.rpartition("/")[2] or None
        yield Fetched(200, length=len(data), filename=name, chunks=chunks_of(data))

    return fetch


class HttpFetch:
    """The real thing, over aiohttp. Close it."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def __call__(self, url: str) -> AsyncIterator[Fetched]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=900)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False)
        try:
            async with self._session.get(url) as answer:
                disposition = answer.content_disposition
                yield Fetched(
                    answer.status,
                    answer.reason or "",
                    answer.content_length,
                    answer.content_type,
                    (disposition.filename if disposition else None) or urlsplit(url).path.rpartition("/")[2] or None,
                    answer.content.iter_chunked(CHUNK_BYTES),
                )
        except aiohttp.ClientConnectorError as error:
            raise FetchFailed(f"Connecting to {address_of(url)}... failed: {error.os_error.strerror}.") from error
        except (TimeoutError, aiohttp.ClientError) as error:
            raise FetchFailed(f"Read error ({error}) in headers.") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
