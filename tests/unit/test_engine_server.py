"""What the process serves, and how its log lines look."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aiohttp import web

from pantograph.engine import logs
from pantograph.engine.metrics import Metrics
from pantograph.engine.server import ProbeServer


class State:
    ready = False


@pytest.fixture
async def server() -> AsyncIterator[ProbeServer]:
    async def image(_: web.Request) -> web.Response:
        return web.Response(text="bytes")

    metrics = Metrics()
    metrics.provider_calls.labels("proxmox", "GET", "200").inc()
    server = ProbeServer(
        metrics=metrics, ready=lambda: State.ready, host="127.0.0.1", port=0, routes=[web.get("/depot/x", image)]
    )
    task = asyncio.create_task(server.run())
    await server.listening.wait()
    yield server
    task.cancel()
    await asyncio.wait([task])


async def fetch(server: ProbeServer, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession(trust_env=False) as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_probes_metrics_and_mounted_routes_are_served(
    server: ProbeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await fetch(server, "/healthz") == (200, "ok\n")
    assert (await fetch(server, "/readyz"))[0] == 503
    monkeypatch.setattr(State, "ready", True)
    assert await fetch(server, "/readyz") == (200, "ready\n")
    assert (
        'pantograph_provider_calls_total{code="200",provider="proxmox",verb="GET"} 1.0'
        in (await fetch(server, "/metrics"))[1]
    )
    assert await fetch(server, "/depot/x") == (200, "bytes")


async def test_a_taken_port_is_an_error_and_not_a_silence(server: ProbeServer) -> None:
    second = ProbeServer(metrics=Metrics(), ready=lambda: True, host="127.0.0.1", port=server.port)
    with pytest.raises(OSError, match="address already in use"):
        await second.run()


@pytest.fixture
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("root_logger")
def test_json_lines_carry_the_object_also_from_other_loggers() -> None:
    stream = io.StringIO()
    logs.configure(format="json", stream=stream)
    with logs.about(kind="Toy", namespace="a", name="x", uid="u1"), logs.about(operation="feed"):
        logging.getLogger("some.library").info("painted %s", "red")
    logging.getLogger("some.library").info("idle")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["message"], first["level"], first["logger"]) == ("painted red", "INFO", "some.library")
    assert (first["kind"], first["namespace"], first["object_name"], first["uid"]) == ("Toy", "a", "x", "u1")
    assert first["operation"] == "feed"
    assert "kind" not in second


@pytest.mark.usefixtures("root_logger")
def test_console_lines_end_in_the_object() -> None:
    stream = io.StringIO()
    logs.configure(format="console", stream=stream)
    with logs.about(kind="Toy", namespace="a", name="x", uid="u1", operation="feed"):
        logging.getLogger("x").warning("the brush fell")
    assert stream.getvalue().rstrip().endswith("WARNING the brush fell  [Toy/a/x operation=feed]")
