"""The HTTP face: pveproxy's manners on loopback, one port that answers for all nodes, and one per node if wanted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.multipart import BodyPartReader, MultipartReader

from tests.fakes.certificates import Certificate
from tests.fakes.proxmox.answers import ConnectionLost, PveAnswer
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.control import control_application
from tests.fakes.proxmox.transfer import Upload
from tests.fakes.proxmox.wire import BODY_LIMIT_BYTES, EmptyAnswer, check_framing, parameters, refusal, route, success

_TOKEN = re.compile(r"^PVEAPIToken=(?P<user>[^=!]+![^=]+)[=:](?P<secret>.+)$")
UPLOAD_LIMIT_BYTES = 8 * 1024**3
LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class _Listener:
    """One port. It is closed while its node is cut."""

    entry: str | None
    port: int
    server: asyncio.Server | None = None


@dataclass(slots=True)
class SimulatedServer:
    """Serves `cluster` at `host` until `close`. `penalty_s` is what a refused login costs (3 s on a real one)."""

    cluster: SimulatedCluster
    certificate: Certificate | None = None
    penalty_s: float = 3.0
    host: str = LOOPBACK
    url: str = ""
    node_urls: dict[str, str] = field(default_factory=dict)
    control_url: str = ""
    _runners: list[web.AppRunner] = field(default_factory=list)
    _control: web.AppRunner | None = None
    _listeners: list[_Listener] = field(default_factory=list)
    _changing: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, *, port: int = 0, port_per_node: bool = False, control_port: int = 0) -> None:
        """Listen, and be told what to do on loopback; port 0 takes a free one."""
        if self.certificate is not None:
            self.cluster.fingerprints = dict.fromkeys(self.cluster.nodes, self.certificate.fingerprint)
        self.url = await self._serve(None, port)
        if port_per_node:
            self.node_urls = {node: await self._serve(node, 0) for node in self.cluster.nodes}
        self.cluster.faults.watchers.append(self._node_changed)
        self._control = web.AppRunner(control_application(self.cluster), access_log=None)
        await self._control.setup()
        site = web.TCPSite(self._control, LOOPBACK, control_port)
        await site.start()
        self.control_url = f"http://{LOOPBACK}:{self._control.addresses[0][1]}/_sim"

    async def close(self) -> None:
        if self._node_changed in self.cluster.faults.watchers:
            self.cluster.faults.watchers.remove(self._node_changed)
        for listener in self._listeners:
            if listener.server is not None:
                listener.server.close()
        for runner in self._runners:
            await runner.cleanup()
        if self._control is not None:
            await self._control.cleanup()

    async def settled(self) -> None:
        """Return when ports that `mend` opens again are open."""
        await asyncio.gather(*self._changing)

    async def _serve(self, entry: str | None, port: int) -> str:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            assert isinstance(request, web.Request)
            return await self._answer(request, entry)

        application = web.Application(client_max_size=UPLOAD_LIMIT_BYTES)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=5.0)
        await runner.setup()
        self._runners.append(runner)
        listener = _Listener(entry, port)
        await self._listen(listener, runner)
        self._listeners.append(listener)
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://{self.host}:{listener.port}"

    async def _listen(self, listener: _Listener, runner: web.AppRunner) -> None:
        context = None if self.certificate is None else self.certificate.context
        listener.server = await asyncio.get_running_loop().create_server(
            _protocol_factory(runner), self.host, listener.port, ssl=context, reuse_address=True
        )
        listener.port = listener.server.sockets[0].getsockname()[1]

    def _node_changed(self, node: str, up: bool) -> None:
        """A cut node's own port refuses connections, and its open ones end."""
        for listener, runner in zip(self._listeners, self._runners, strict=True):
            if listener.entry != node:
                continue
            if not up and listener.server is not None:
                listener.server.close()
                listener.server = None
                for connection in list(runner.server.connections if runner.server else ()):
                    connection.force_close()
            elif up and listener.server is None:
                change = asyncio.ensure_future(self._listen(listener, runner))
                self._changing.add(change)
                change.add_done_callback(self._changing.discard)

    # -- one request -------------------------------------------------------------------------------------------------
    async def _answer(self, request: web.Request, entry: str | None) -> web.StreamResponse:
        node = entry or next((n.name for n in self.cluster.nodes.values() if n.up), next(iter(self.cluster.nodes)))
        try:
            return success(await self._handle(request, node))
        except PveAnswer as answer:
            return refusal(answer)
        except ConnectionLost:
            return _hang_up(request)

    async def _handle(self, request: web.Request, entry: str) -> Any:
        raw_path = request.rel_url.raw_path
        upload = request.method == "POST" and raw_path.endswith("/upload")
        check_framing(request, upload=upload)
        if request.method == "POST" and raw_path == "/api2/json/access/ticket":
            return await self._login(request)
        user = await self._authenticate(request)
        operation, path = route(request.method, raw_path)
        body = None
        if upload:
            await self._require_before_upload(request, user, path["storage"])
            params, body = await _read_upload(request)
        else:
            params = await parameters(request, path)
        return await self.cluster.gate.call(operation, user=user, entry=entry, path=path, params=params, body=body)

    async def _login(self, request: web.Request) -> Any:
        if "Authorization" in request.headers:
            raise PveAnswer(403, "URI '/access/ticket' not available with API token, need proper ticket.")
        given = await parameters(request, {})
        ticket = self.cluster.access.login(given.get("username", ""), given.get("password", ""))
        if ticket is None:
            await self.cluster.clock.sleep(self.penalty_s)
            raise PveAnswer(401, "authentication failure")
        return {"username": given["username"], "ticket": ticket[0], "CSRFPreventionToken": ticket[1]}

    async def _authenticate(self, request: web.Request) -> str:
        """A ticket wins over a token; why a credential was refused is never told."""
        access = self.cluster.access
        if (cookie := request.cookies.get("PVEAuthCookie")) is not None:
            known = access.user_of_ticket(cookie)
            if known is None:
                raise await self._refused("Authentication failed!")
            user, csrf = known
            if request.method != "GET" and request.headers.get("CSRFPreventionToken") != csrf:
                raise await self._refused("Permission denied - invalid csrf token")
            return user
        header = request.headers.get("Authorization")
        if header is None:
            raise await self._refused("No ticket")
        match = _TOKEN.match(header)
        if match is None or not access.token_is_valid(match["user"], match["secret"]):
            raise await self._refused("Authentication failed!")
        return match["user"]

    async def _refused(self, text: str) -> PveAnswer:
        await self.cluster.clock.sleep(self.penalty_s)
        return PveAnswer(401, text)

    async def _require_before_upload(self, request: web.Request, user: str, storage: str) -> None:
        """Rights are checked as the headers arrive: a large body is met with a reset, a small one with a 403."""
        if self.cluster.access.allows(user, f"/storage/{storage}", "Datastore.AllocateTemplate"):
            return
        if (request.content_length or 0) > BODY_LIMIT_BYTES:
            raise ConnectionLost("reset", sent=True)
        await self.cluster.clock.sleep(self.penalty_s)
        raise EmptyAnswer(403, f"Permission check failed (/storage/{storage}, Datastore.AllocateTemplate)")


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _protocol_factory(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    server = runner.server
    assert server is not None
    return server


async def _read_upload(request: web.Request) -> tuple[dict[str, str], Upload]:
    """Fields first, the file last: what comes after the file is not seen."""
    params: dict[str, str] = dict(request.query.items())
    reader = await request.multipart()
    assert isinstance(reader, MultipartReader)
    while (part := await reader.next()) is not None:
        assert isinstance(part, BodyPartReader)
        if part.name != "filename" or part.filename is None:
            params[part.name or ""] = await part.text()
            continue
        params["filename"] = part.filename
        return params, Upload(part.filename, bytes(await part.read(decode=False)))
    raise PveAnswer(400, "Parameter verification failed.", {"filename": "property is missing and it is not optional"})
