"""An HTTP origin of images on loopback whose every fault is a verb."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

_PIECE = 64 << 10


@dataclass(slots=True)
class Resource:
    """One file, and how the origin misbehaves about it."""

    read: Callable[[int, int], bytes]
    size: int
    etag: str | None = '"v1"'
    last_modified: str | None = None
    cut_at: list[int] = field(default_factory=list)
    """Offsets at which the next answers, one each, close the connection."""
    stall_at: int | None = None
    drips: tuple[int, float] | None = None
    """So many bytes come at once, after so many seconds."""
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    redirect_to: str | None = None
    ignores_range: bool = False
    ignores_conditions: bool = False
    ignores_if_range: bool = False
    tells_length: bool = True
    promised_beyond: int = 0
    """How many bytes more Content-Length promises than come."""
    required_headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Request:
    """What came in, and how much went out."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class Origin:
    """`put` a file, call a fault, fetch, look at `requests`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.stalled = asyncio.Event()
        self.base_url = ""
        self._resources: dict[str, Resource] = {}
        self._release = asyncio.Event()

    def put(self, path: str, content: bytes, *, etag: str | None = '"v1"', last_modified: str | None = None) -> str:
        """Serve `content`; its URL."""
        return self.generate(
            path, lambda start, stop: content[start:stop], size=len(content), etag=etag, last_modified=last_modified
        )

    def generate(
        self,
        path: str,
        read: Callable[[int, int], bytes],
        *,
        size: int,
        etag: str | None = '"v1"',
        last_modified: str | None = None,
    ) -> str:
        """Serve what `read(start, stop)` makes up; its URL."""
        self._resources[path] = Resource(read, size, etag=etag, last_modified=last_modified)
        return f"{self.base_url}/{path}"

    def __getitem__(self, path: str) -> Resource:
        return self._resources[path]

    def sent(self, path: str) -> int:
        """Bytes of content that went out for `path`."""
        return sum(request.sent for request in self.requests if request.path == path)

    def release(self) -> None:
        """End every stall."""
        self._release.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        record = Request(path, dict(request.headers))
        self.requests.append(record)
        response = await self._answer(request, path, record)
        record.status = response.status
        return response

    async def _answer(self, request: web.Request, path: str, record: Request) -> web.StreamResponse:
        resource = self._resources.get(path)
        if resource is None:
            return web.Response(status=404, text="no such file")
        if any(request.headers.get(name) != value for name, value in resource.required_headers.items()):
            return web.Response(status=401, text="who are you?")
        if resource.redirect_to:
            return web.Response(status=302, headers={"Location": resource.redirect_to})
        if resource.answers:
            return web.Response(status=resource.answers.pop(0))
        if not resource.ignores_conditions and _is_unchanged(request, resource):
            return web.Response(status=304, headers={"ETag": resource.etag} if resource.etag else {})
        return await self._send(request, resource, record)

    async def _send(self, request: web.Request, resource: Resource, record: Request) -> web.StreamResponse:
        start = _start(request, resource)
        if start is not None and start >= resource.size:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{resource.size}"})
        response = web.StreamResponse(status=200 if start is None else 206)
        for name, value in (("ETag", resource.etag), ("Last-Modified", resource.last_modified)):
            if value:
                response.headers[name] = value
        if start is not None:
            response.headers["Content-Range"] = f"bytes {start}-{resource.size - 1}/{resource.size}"
        offset = start or 0
        if resource.tells_length:
            response.content_length = resource.size - offset + resource.promised_beyond
        await response.prepare(request)
        await self._stream(request, response, resource, record, offset)
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, resource: Resource, record: Request, offset: int
    ) -> None:
        end = resource.cut_at.pop(0) if resource.cut_at else resource.size
        stop = end if resource.stall_at is None else min(end, resource.stall_at)
        while offset < stop:
            size, pause_s = resource.drips or (_PIECE, 0.0)
            await asyncio.sleep(pause_s)
            piece = resource.read(offset, min(offset + size, stop))
            await response.write(piece)
            record.sent += len(piece)
            offset += len(piece)
        if resource.stall_at is not None:
            self.stalled.set()
            await self._release.wait()
        if end < resource.size or resource.promised_beyond:
            assert request.transport is not None
            request.transport.close()


def _is_unchanged(request: web.Request, resource: Resource) -> bool:
    if resource.etag:
        return request.headers.get("If-None-Match") == resource.etag
    return resource.last_modified is not None and request.headers.get("If-Modified-Since") == resource.last_modified


def _start(request: web.Request, resource: Resource) -> int | None:
    """Where a Range that is honoured begins."""
    asked = request.headers.get("Range")
    if asked is None or resource.ignores_range:
        return None
    condition = request.headers.get("If-Range")
    if condition and not resource.ignores_if_range and condition not in (resource.etag, resource.last_modified):
        return None
    return int(asked.removeprefix("bytes=").removesuffix("-"))


@asynccontextmanager
async def running_origin(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """An origin on a free port of 127.0.0.1."""
    origin = Origin()
    app = web.Application()
    app.router.add_get("/{path:.*}", origin.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    origin.base_url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield origin
    finally:
        origin.release()
        await runner.cleanup()
