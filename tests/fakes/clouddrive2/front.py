"""One port for gRPC and HTTP/1, as CloudDrive2 has it: the first bytes of a connection say which it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PREFACE = b"PRI * HTTP/2.0"


class Front:
    """Relays to one of two ports; `cut` ends every connection at once."""

    def __init__(self, grpc_port: int, http_port: int) -> None:
        self._grpc_port = grpc_port
        self._http_port = http_port
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Every connection breaks, as when a cable is pulled and put back."""
        for writer in self._writers:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(len(_PREFACE))
            port = self._grpc_port if first == _PREFACE else self._http_port
            behind, ahead = await asyncio.open_connection("127.0.0.1", port)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()
            return
        self._writers |= {writer, ahead}
        ahead.write(first)
        try:
            await asyncio.gather(_relay(reader, ahead), _relay(behind, writer))
        finally:
            self._writers -= {writer, ahead}
            writer.close()
            ahead.close()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(64 << 10):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


@asynccontextmanager
async def fronting(grpc_port: int, http_port: int) -> AsyncIterator[tuple[Front, int]]:
    """The front and its port, on loopback, until the end."""
    front = Front(grpc_port, http_port)
    server = await asyncio.start_server(front.accept, "127.0.0.1", 0)
    try:
        yield front, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        front.cut()
        await server.wait_closed()
