"""What the client makes of answers that no healthy API server gives, against a server that gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from pantograph.api.meta import CONFIG_MAPS
from pantograph.engine.client import KubeClient
from pantograph.engine.kube import Conflict, Forbidden, Invalid, KubeError, NotFound, OutcomeUnknown, Unavailable
from pantograph.engine.login import Login
from pantograph.engine.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers every request by `handler`."""

    handler: Handler
    seen: list[web.Request]
    client: KubeClient
    metrics: Metrics


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    server.seen = []

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        server.seen.append(request)
        return await server.handler(request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration(
        host=f"http://127.0.0.1:{runner.addresses[0][1]}", client_session_kwargs={"trust_env": False}
    )
    configuration.api_key["BearerToken"] = "Bearer token-1"
    server.metrics = Metrics()
    server.client = KubeClient(Login(configuration, None), metrics=server.metrics, request_timeout_s=0.5)
    yield server
    await server.client.close()
    await runner.cleanup()


def status(code: int, message: str = "no", reason: str = "Reason") -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": message, "reason": reason}, status=code)

    return answer


async def hang(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"metadata"')
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (422, Invalid),
        (429, Unavailable),
        (500, OutcomeUnknown),
        (503, OutcomeUnknown),
        (504, OutcomeUnknown),
    ],
)
async def test_a_refused_write_is_the_ports_error_with_code_and_reason(
    server: Server, code: int, error: type[KubeError]
) -> None:
    server.handler = status(code, "the reason why")
    with pytest.raises(error, match="the reason why") as refused:
        await server.client.merge_patch(CONFIG_MAPS, "a", "x", {})
    assert (refused.value.code, refused.value.reason) == (code, "Reason")


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_a_read_that_failed_is_only_unavailable(server: Server, code: int) -> None:
    server.handler = status(code)
    with pytest.raises(Unavailable):
        await server.client.get(CONFIG_MAPS, "a", "x")


@pytest.mark.parametrize("fault", [hang, hang_up, half])
async def test_a_write_without_an_answer_may_have_been_done(server: Server, fault: Handler) -> None:
    server.handler = fault
    with pytest.raises(OutcomeUnknown, match="patch /api/v1/namespaces/a/configmaps/x"):
        await server.client.merge_patch(CONFIG_MAPS, "a", "x", {})
    with pytest.raises(Unavailable):
        await server.client.get(CONFIG_MAPS, "a", "x")


async def test_nobody_listening_means_nothing_was_done() -> None:
    configuration = Configuration(host="http://127.0.0.1:9", client_session_kwargs={"trust_env": False})
    client = KubeClient(Login(configuration, None), metrics=Metrics())
    with pytest.raises(Unavailable, match="not reached"):
        await client.merge_patch(CONFIG_MAPS, "a", "x", {})
    await client.close()


async def test_pages_are_one_listing_and_an_expired_token_starts_over(server: Server) -> None:
    async def pages(request: web.Request) -> web.Response:
        following = request.query.get("continue")
        if following == "page2":
            return await expired(request)
        items = [{"metadata": {"name": "a", "managedFields": [{}]}}]
        if "limit" not in request.query:
            items.append({"metadata": {"name": "b"}})
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": items})
        return web.json_response({"metadata": {"resourceVersion": "5", "continue": "page2"}, "items": items})

    async def expired(request: web.Request) -> web.Response:
        return web.json_response({"message": "the continue parameter is too old", "reason": "Expired"}, status=410)

    server.handler = pages
    listing = await server.client.list(CONFIG_MAPS)
    assert listing.resource_version == "9"
    assert [(item["kind"], item["metadata"]) for item in listing.items] == [
        ("ConfigMap", {"name": "a"}),
        ("ConfigMap", {"name": "b"}),
    ]


async def test_calls_carry_the_token_and_are_counted(server: Server) -> None:
    server.handler = status(404)
    with pytest.raises(NotFound):
        await server.client.get(CONFIG_MAPS, "a", "x")
    assert server.seen[0].headers["Authorization"] == "Bearer token-1"
    counted = 'pantograph_api_requests_total{code="404",resource="configmaps",verb="get"} 1.0'
    assert counted in server.metrics.render().decode()


async def test_a_proxys_error_page_is_no_crash(server: Server) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>bad gateway</html>")

    server.handler = page
    with pytest.raises(Unavailable, match="bad gateway"):
        await server.client.get(CONFIG_MAPS, "a", "x")
