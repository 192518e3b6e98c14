"""Emby, Jellyfin, a webhook's receiver and Telegram's bot API, as far as notifications see them; on loopback.

Faithful where it matters: Emby knows only `X-Emby-Token`, Jellyfin only `Authorization: MediaBrowser` (as with its old
ways of authorization switched off); Telegram answers a wrong token with 401 and its errors as JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from queue import Queue
from threading import Thread
from typing import Any

from aiohttp import web

TOKEN = "0123456789abcdef0123456789abcdef"
BOT_TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@dataclass(slots=True)
class Receivers:
    """All four on one port: `/emby`, `/jellyfin` (a base URL), `/hook`, `/bot…`."""

    updates: list[list[tuple[str, str]]] = field(default_factory=list)
    """Of each message to a media server: (path, update type)."""
    documents: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    """Headers and body of each POST to the webhook or the bot."""
    locations: list[str] = field(default_factory=lambda: ["/media/strm/films"])
    status: int | None = None
    """Every answer has it, whatever is asked."""
    hangs: bool = False
    garbles: bool = False
    """Every answer is no HTTP."""
    echo: bool = False
    """A failing answer shows what was sent, secrets and all."""
    asked: list[str] = field(default_factory=list)
    heard: Queue[list[tuple[str, str]]] = field(default_factory=Queue)
    """The `updates` again, to be waited for from another thread."""
    base_url: str = ""
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._faults])
        for base in ("/emby", "/jellyfin"):
            app.router.add_post(f"{base}/Library/Media/Updated", self._updated)
            app.router.add_get(f"{base}/System/Info", self._info)
            app.router.add_get(f"{base}/Library/VirtualFolders", self._libraries)
        app.router.add_post("/hook/{secret}", self._hook)
        app.router.add_post("/{bot:bot[^/]+}/sendMessage", self._send_message)
        return app

    def release(self) -> None:
        self._released.set()

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if self.hangs:
            await self._released.wait()
        if self.garbles:
            assert request.transport is not None
            request.transport.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
            request.transport.close()
        if self.status is not None:
            text = f"{request.path} {dict(request.headers)}" if self.echo else ""
            return web.Response(status=self.status, text=text, headers={"Location": "http://127.0.0.1:1/elsewhere"})
        answer: web.StreamResponse = await handler(request)
        return answer

    def _admits(self, request: web.Request) -> bool:
        if request.path.startswith("/emby"):
            return request.headers.get("X-Emby-Token") == TOKEN
        return request.headers.get("Authorization") == f'MediaBrowser Token="{TOKEN}"'

    async def _updated(self, request: web.Request) -> web.StreamResponse:
        if not self._admits(request):
            return web.Response(status=401)
        body = await request.json()
        self.updates.append([(each["Path"], each["UpdateType"]) for each in body["Updates"]])
        self.heard.put(self.updates[-1])
        return web.Response(status=204)

    async def _info(self, request: web.Request) -> web.StreamResponse:
        if not self._admits(request):
            return web.Response(status=401)
        product = {} if request.path.startswith("/emby") else {"ProductName": "Jellyfin Server"}
        return web.json_response({"ServerName": "den", "Version": "10.11.2", **product})

    async def _libraries(self, request: web.Request) -> web.StreamResponse:
        if not self._admits(request):
            return web.Response(status=401)
        return web.json_response([{"Name": "Films", "Locations": self.locations}])

    async def _hook(self, request: web.Request) -> web.StreamResponse:
        self.documents.append((dict(request.headers), await request.json()))
        return web.Response(text="ok")

    async def _send_message(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["bot"] != f"bot{BOT_TOKEN}":
            return _telegram_error(401, "Unauthorized")
        body = await request.json()
        if body["chat_id"] == "-1":
            return _telegram_error(400, "Bad Request: chat not found")
        if body["chat_id"] == "-2":
            return _telegram_error(429, "Too Many Requests: retry after 9", retry_after=9)
        self.documents.append((dict(request.headers), body))
        return web.json_response({"ok": True, "result": {"message_id": 1}})


def _telegram_error(code: int, description: str, **parameters: int) -> web.Response:
    body = {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    return web.json_response(body, status=code)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """One of each at its `base_url`, until the end."""
    fake = Receivers()
    runner = web.AppRunner(fake.application(), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        fake.release()
        await runner.cleanup()


@contextmanager
def receiving_beside() -> Iterator[Receivers]:
    """The same, in a thread of its own, for tests of what blocks."""
    ready: Queue[Receivers] = Queue()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with receiving() as fake:
            ready.put(fake)
            await done.wait()

    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield ready.get(timeout=30)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
