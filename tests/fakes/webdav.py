"""A WebDAV server whose answers to PROPFIND are written by the test; for the faults that a real server never shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from aiohttp import web

_HEAD = '<?xml version="1.0" encoding="UTF-8"?><D:multistatus xmlns:D="DAV:">'
_TAIL = "</D:multistatus>"


def response(href: str, *, is_dir: bool = False, size: int = 1, status: str = "HTTP/1.1 200 OK") -> str:
    """One resource, its properties found."""
    kind = "<D:collection/>" if is_dir else ""
    return (
        f"<D:response><D:href>{quote(href)}</D:href><D:propstat><D:prop><D:resourcetype>{kind}</D:resourcetype>"
        f"<D:getcontentlength>{size}</D:getcontentlength>"
        f"<D:getlastmodified>Wed, 01 May 2024 12:00:00 GMT</D:getlastmodified></D:prop>"
        f"<D:status>{status}</D:status></D:propstat></D:response>"
    )


def refused(href: str, status: str) -> str:
    """One resource that the server could not look at."""
    return f"<D:response><D:href>{quote(href)}</D:href><D:status>{status}</D:status></D:response>"


def multistatus(*responses: str) -> str:
    return f"{_HEAD}{''.join(responses)}{_TAIL}"


@dataclass(slots=True)
class ScriptedWebDav:
    """`answers` by path; everything else is 404."""

    answers: dict[str, web.Response] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    """Paths whose answer closes the connection after three quarters."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, Depth header) of every question."""
    base_url: str = ""

    def answer(self, path: str, text: str, *, status: int = 207, headers: dict[str, str] | None = None) -> None:
        kind = "application/xml" if status == 207 else "text/html"
        self.answers[path] = web.Response(text=text, status=status, headers=headers, content_type=kind)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, request.headers.get("Depth", "")))
        answer = self.answers.get(request.path)
        if answer is None:
            return web.Response(status=404)
        body = answer.body
        assert isinstance(body, bytes)
        if request.path not in self.cut:
            return web.Response(body=body, status=answer.status, headers=answer.headers)
        stream = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(body))})
        await stream.prepare(request)
        await stream.write(body[: len(body) * 3 // 4])
        assert request.transport is not None
        request.transport.close()
        return stream


@asynccontextmanager
async def scripted_webdav() -> AsyncIterator[ScriptedWebDav]:
    """One on loopback, until the end."""
    fake = ScriptedWebDav()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
