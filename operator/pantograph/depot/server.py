"""Images over HTTP, to whoever holds a signed URL: HEAD, GET and Range, straight from the file to the socket.

Nothing here runs per chunk: the kernel copies (`sendfile`), and the only own work is one signature a connection.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from pantograph.depot.depot import Depot

_RETRY_AFTER_S = 10


def application(depot: Depot) -> web.Application:
    """An application that serves `depot` and nothing else."""
    app = web.Application()
    app.add_routes(routes(depot))
    return app


def routes(depot: Depot) -> list[web.RouteDef]:
    """`GET` and `HEAD /images/<digest>/<file name>?expires=…&signature=…`, to be mounted where nodes can reach it.

    403 for a signature that does not open the image (any more), 404 for an image that is not stored, 503 with
    Retry-After while too many are being served. The signature is checked when the connection opens: a long download
    may outlive it.
    """
    serving = _Serving(depot.settings.parallel_downloads)

    async def serve(request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        verdict = depot.check_signature(
            digest, expires=request.query.get("expires", ""), signature=request.query.get("signature", "")
        )
        if verdict == "Expired":
            raise web.HTTPForbidden(text="this URL has expired: ask the operator for a new one\n")
        if verdict == "BadSignature":
            raise web.HTTPForbidden(text="the signature of this URL is not valid for this image\n")
        image = await asyncio.to_thread(depot.find, digest)
        if image is None or image.file_name != request.match_info["file_name"]:
            raise web.HTTPNotFound(text="the depot does not hold this image\n")
        if serving.full:
            raise web.HTTPServiceUnavailable(
                text=f"{serving.limit} downloads are running, come back later\n",
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            )
        return _ImageResponse(depot.path(image), serving)

    return [web.get("/images/{digest}/{file_name}", serve)]


class _Serving:
    """How many images are being sent."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0

    @property
    def full(self) -> bool:
        return self.count >= self.limit


class _ImageResponse(web.FileResponse):
    """A file response that counts while it is sent; aiohttp sends the file in `prepare`, after the handler."""

    def __init__(self, path: Path, serving: _Serving) -> None:
        super().__init__(path, headers={"Content-Type": "application/octet-stream"})
        self._serving = serving

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self._serving.count += 1
        try:
            return await super().prepare(request)
        finally:
            self._serving.count -= 1
