"""A node's HTTP face with a script: answers as pveproxy writes them, connections cut or held where a test says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Asked:
    verb: str
    path: str
    """As on the wire: still encoded, with its query."""
    headers: dict[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Answer:
    data: Any = None
    status: int = 200
    reason: str = "OK"
    body: bytes | None = None
    """In place of the JSON of `data`."""
    total: int | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The request is read and the connection closed without an answer."""


Script = Callable[[Asked], Answer | Cut]


@dataclass
class Node:
    """One scripted node: what it was asked, and what it says."""

    certificate: Certificate
    script: Script = lambda asked: Answer()
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    hold: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [f"{one.verb} {one.path}" for one in self.asked]


@contextmanager
def serving(node: Node) -> Iterator[Node]:
    """`node` answers on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            node.connections += 1

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(self.command, self.path, dict(self.headers), self.rfile.read(length).decode())
            node.asked.append(asked)
            answer = node.script(asked)
            if isinstance(answer, Cut):
                self.close_connection = True
                return
            body = answer.body
            if body is None:
                whole = {"data": answer.data} | ({"total": answer.total} if answer.total is not None else {})
                body = json.dumps(whole).encode()
            self.send_response(answer.status, answer.reason)
            self.send_header("Content-Length", str(len(body)))
            if answer.location is not None:
                self.send_header("Location", answer.location)
            if answer.status >= 400:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that refuses our certificate is what a test wants."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = node.certificate.context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    node.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        node.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
