"""The process's HTTP port: probes, metrics, and what else is mounted on it (the depot's files).

It runs outside kopf and on a standby too: who waits for the Lease is alive and ready, or a Deployment of two would
never become available. Nothing secret is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .metrics import Metrics

logger = logging.getLogger(__name__)


class ProbeServer:
    """Serves `/healthz`, `/readyz`, `/metrics` and `routes` until `run` is cancelled."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        ready: Callable[[], bool],
        host: str,
        port: int,
        routes: Iterable[web.AbstractRouteDef] = (),
    ) -> None:
        """Listen on `host`:`port` (0: a free one, see `port`); `ready` is asked for each `/readyz`."""
        self._metrics = metrics
        self._ready = ready
        self._host = host
        self._port = port
        self._routes = tuple(routes)
        self.listening = asyncio.Event()

    @property
    def port(self) -> int:
        """Where it listens, once `listening` is set."""
        return self._port

    async def run(self) -> None:
        """Raises OSError if the port cannot be had."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics_page),
                *self._routes,
            ]
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
            self._port = runner.addresses[0][1]
            self.listening.set()
            logger.info("serving probes and metrics on port %d", self._port)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        """That the event loop turns: whatever ends unexpectedly ends the process by itself."""
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: the objects are not all listed yet\n")

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
