"""Between the operator and its API server: every call passes through, and at a chosen one the operator dies.

Plain HTTP on loopback in a thread of its own; the operator's kubeconfig names it instead of the API server. SIGKILL is
sent before the call leaves, or after its effect and before the answer arrives, so no answer is ever half-believed.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import aiohttp
import yaml
from aiohttp import web

from hack.stage import SERVICE_ACCOUNT, SYSTEM, Stage

When = Literal["before", "after"]
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"})
_PATH = re.compile(r"/namespaces/[^/]+/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[a-z]+))?$")


@dataclass(slots=True)
class _Strike:
    pid: int
    call: str
    when: When
    left: int


class ApiProxy:
    """`with ApiProxy(stage) as proxy: stage.start_operator(KUBECONFIG=str(proxy.kubeconfig))`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._port = stage.free_port()
        self._strike: _Strike | None = None
        self._watches: set[asyncio.Transport] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="api-proxy", daemon=True)
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self.kubeconfig: Path = stage.folder / f"proxy-{self._port}.kubeconfig"

    def __enter__(self) -> Self:
        config = yaml.safe_load(self._stage.plane.kubeconfig_for(SYSTEM, SERVICE_ACCOUNT).read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self._port}"}
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self._thread.start()
        assert self._started.wait(10), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def kill_process(self, pid: int, call: str, when: When, *, nth: int = 1) -> None:
        """SIGKILL for `pid` around its n-th write from now on that is `call`: `patch vmtemplates/status`."""
        self._strike = _Strike(pid, call, when, nth)

    @property
    def watches(self) -> int:
        """How many watches run through it."""
        return len(self._watches)

    def drop_watches(self) -> int:
        """Cut every watch in the middle of its stream, as a load balancer does; how many there were."""

        async def drop() -> int:
            count = len(self._watches)
            for transport in self._watches:
                transport.abort()
            self._watches.clear()
            return count

        return asyncio.run_coroutine_threadsafe(drop(), self._loop).result(10)

    # The thread

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        trust = ssl.create_default_context(cafile=str(self._stage.plane.ca))
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=16 << 20)
            app.router.add_route("*", "/{path:.*}", self._pass)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            self._started.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        strike = self._hit(request)
        if strike is not None and strike.when == "before":
            return self._kill(strike, request)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        body = await request.read() if request.body_exists else None  # an empty one would get a media type
        timeout = aiohttp.ClientTimeout(total=None)
        url = f"{self._stage.plane.url}{request.raw_path}"
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=body, timeout=timeout
            ) as answer:
                if strike is not None:
                    await answer.read()
                    return self._kill(strike, request)
                return await self._relay(request, answer)
        except aiohttp.ClientConnectorError:
            return _hang_up(request)

    async def _relay(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        transport = request.transport
        assert transport is not None
        if "watch" in request.query:
            self._watches.add(transport)
        try:
            async for piece in answer.content.iter_any():
                await response.write(piece)
        finally:
            self._watches.discard(transport)
        return response

    def _hit(self, request: web.Request) -> _Strike | None:
        """The strike, if this is the call that it waits for."""
        strike, found = self._strike, _PATH.search(request.path)
        if strike is None or found is None or request.method not in _VERBS:
            return None
        resource = "/".join(part for part in (found["resource"], found["subresource"]) if part)
        if strike.call != f"{_VERBS[request.method]} {resource}":
            return None
        strike.left -= 1
        if strike.left > 0:
            return None
        self._strike = None
        return strike

    def _kill(self, strike: _Strike, request: web.Request) -> web.StreamResponse:
        os.kill(strike.pid, signal.SIGKILL)
        return _hang_up(request)


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)
