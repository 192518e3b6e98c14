"""The fake's gRPC and HTTP faces over one library. The real server is closed; its proto is known."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from itertools import count
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio
from aiohttp import web
from clouddrive2_client.proto import clouddrive_pb2 as pb
from clouddrive2_client.proto.clouddrive_pb2_grpc import (
    CloudDriveFileSrvServicer,
    add_CloudDriveFileSrvServicer_to_server,
)
from google.protobuf.timestamp_pb2 import Timestamp

from tests.fakes.clouddrive2.front import Front, fronting
from tests.fakes.library import Holdings, Library, Node

_REPLY = 100
"""Entries a reply, unless `reply_size` says otherwise."""


class Fault(StrEnum):
    """How a listing is spoilt."""

    CUT = "some replies, then UNAVAILABLE"
    CANCELLED = "some replies, then CANCELLED"
    INTERNAL = "INTERNAL at once"
    BAN = "UNKNOWN, with the cloud's ban as its details"
    EXHAUSTED = "RESOURCE_EXHAUSTED"
    DENIED = "PERMISSION_DENIED"
    EMPTY = "an empty stream that ends with OK"
    ROOT_ECHO = "the listing of the root"
    HANG = "some replies, then nothing"
    TOKEN_EXPIRED = "UNAUTHENTICATED, whatever the token"


_CODES = {
    Fault.CUT: (grpc.StatusCode.UNAVAILABLE, "connection reset"),
    Fault.CANCELLED: (grpc.StatusCode.CANCELLED, "cancelled"),
    Fault.INTERNAL: (grpc.StatusCode.INTERNAL, "cloud api error"),
    Fault.BAN: (grpc.StatusCode.UNKNOWN, "请求过于频繁"),
    Fault.EXHAUSTED: (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota"),
    Fault.DENIED: (grpc.StatusCode.PERMISSION_DENIED, "no permission"),
    Fault.TOKEN_EXPIRED: (grpc.StatusCode.UNAUTHENTICATED, "token expired"),
}
_AFTER_SOME = (Fault.CUT, Fault.CANCELLED, Fault.HANG)


class FakeCloudDrive2(CloudDriveFileSrvServicer):  # type: ignore[misc]
    """`library` is what it serves; `begin` a fault; `push` a change to who watches."""

    def __init__(self, library: Holdings | None = None) -> None:
        self.library = Library() if library is None else library
        self.users = {"kodi": "secret"}
        self.api_tokens: dict[str, pb.TokenPermissions] = {}
        self.requests: Counter[str] = Counter()
        self.ready = True
        self.logged_in = True
        self.reply_size = _REPLY
        self.base_url = ""
        self.front: Front | None = None
        self._serial = count(1)
        self._sessions: set[str] = set()
        self._faults: list[tuple[Fault, str | None]] = []
        self._watchers: list[asyncio.Queue[pb.CloudDrivePushMessage | None]] = []

    def begin(self, fault: Fault, path: str | None = None) -> None:
        """From now on, for `path` or for any."""
        self._faults.append((fault, path))

    def end(self) -> None:
        self._faults.clear()

    def restart(self) -> None:
        """All sessions end, and all watches."""
        self._sessions.clear()
        self.drop_watchers()

    def drop_watchers(self) -> None:
        """The server ends every pushed stream, with OK."""
        for queue in self._watchers:
            queue.put_nowait(None)

    def push(self, kind: str, path: str, *, new_path: str | None = None, is_dir: bool = False) -> None:
        """CREATE, DELETE or RENAME, among the noise that the stream carries as well."""
        change = pb.FileSystemChange(changeType=kind, isDirectory=is_dir, path=path)
        if new_path is not None:
            change.newPath = new_path
        node = self.library.node(new_path or path)
        if node is not None and kind != "DELETE":
            change.theFile.CopyFrom(_file((new_path or path).rpartition("/")[0], node))
        noise = pb.CloudDrivePushMessage(messageType="DOWNLOADER_COUNT")
        for queue in self._watchers:
            queue.put_nowait(noise)
            queue.put_nowait(pb.CloudDrivePushMessage(messageType="FILE_SYSTEM_CHANGE", fileSystemChange=change))

    async def GetSystemInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests["GetSystemInfo"] += 1
        return pb.CloudDriveSystemInfo(IsLogin=self.logged_in, SystemReady=self.ready, UserName="cloud@example.org")

    async def GetToken(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests["GetToken"] += 1
        if self.users.get(request.userName) != request.password:
            return pb.JWTToken(success=False, errorMessage="invalid username or password")
        token = f"jwt-{next(self._serial)}"
        self._sessions.add(token)
        return pb.JWTToken(success=True, token=token)

    async def GetApiTokenInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.value not in self.api_tokens:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such token")
        return pb.TokenInfo(
            token=request.value, rootDir="/", friendly_name="pantograph", permissions=self.api_tokens[request.value]
        )

    async def GetRuntimeInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._authorize(context)
        return pb.RuntimeInfo(productName="CloudDrive2", productVersion="0.9.12")

    async def GetSubFiles(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests["GetSubFiles"] += 1
        await self._authorize(context)
        path = request.path
        fault = next((fault for fault, where in self._faults if where in (None, path)), None)
        if fault in _CODES and fault not in _AFTER_SOME:
            await context.abort(*_CODES[fault])
        if fault is Fault.EMPTY:
            return
        if fault is Fault.ROOT_ECHO:
            path = "/"
        children = self.library.children(path)
        if children is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{path} not found")
            return
        size = max(1, len(children) // 2) if fault in _AFTER_SOME else self.reply_size
        for start in range(0, len(children), size):
            yield pb.SubFilesReply(subFiles=[_file(path, node) for node in children[start : start + size]])
            if fault is Fault.HANG:
                await asyncio.get_running_loop().create_future()
            if fault in _AFTER_SOME:
                await context.abort(*_CODES[fault])
        if fault is not None and fault in _AFTER_SOME:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")

    async def FindFileByPath(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests["FindFileByPath"] += 1
        await self._authorize(context)
        node = self.library.node(f"{request.parentPath.rstrip('/')}/{request.path}")
        if node is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "file not found")
            return None
        return _file(request.parentPath, node)

    async def GetDownloadUrlPath(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._authorize(context)
        path = quote(request.path)
        return pb.DownloadUrlPathInfo(downloadUrlPath=f"/static/{{SCHEME}}/{{HOST}}/{{PREVIEW}}{path}?token=abc")

    async def PushMessage(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests["PushMessage"] += 1
        await self._authorize(context)
        queue: asyncio.Queue[pb.CloudDrivePushMessage | None] = asyncio.Queue()
        self._watchers.append(queue)
        await context.send_initial_metadata(())
        try:
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self._watchers.remove(queue)

    async def download(self, request: web.Request) -> web.StreamResponse:
        """`/static/{scheme}/{host}/{preview}/path`: the host stands in it a second time, and must be right."""
        if request.match_info["host"] != request.host:
            return web.Response(status=400, text="another host")
        path = "/" + request.match_info["path"]
        node = self.library.node(path)
        if node is None or node.is_dir:
            return web.Response(status=404)
        return web.Response(body=self.library.content(path))

    async def _authorize(self, context: Any) -> None:
        given = dict(context.invocation_metadata()).get("authorization", "").removeprefix("Bearer ")
        if given not in self._sessions and given not in self.api_tokens:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid token")


def _file(parent: str, node: Node) -> Any:
    return pb.CloudDriveFile(
        id=node.id,
        name=node.name,
        fullPathName=f"{parent.rstrip('/')}/{node.name}",
        size=node.size,
        # As the real one: Directory is what nobody set, so only isDirectory tells.
        fileType="Directory" if node.is_dir else "File",
        isDirectory=node.is_dir,
        writeTime=Timestamp(seconds=int(node.modified.timestamp())),
        fileHashes={} if node.is_dir else {2: "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
    )


@asynccontextmanager
async def serving(fake: FakeCloudDrive2) -> AsyncIterator[FakeCloudDrive2]:
    """`fake` answers at its `base_url`, on loopback, until the end."""
    server = grpc.aio.server()
    add_CloudDriveFileSrvServicer_to_server(fake, server)
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    application = web.Application()
    application.router.add_get("/static/{scheme}/{host}/{preview}/{path:.*}", fake.download)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await server.start()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with fronting(grpc_port, runner.addresses[0][1]) as (fake.front, port):
            fake.base_url = f"http://127.0.0.1:{port}"
            yield fake
    finally:
        await server.stop(grace=None)
        await runner.cleanup()
