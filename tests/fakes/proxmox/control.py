"""Faults, people and truth over plain HTTP on loopback, for a simulated cluster in a process of its own.

`POST /_sim/faults/<verb>` and `POST /_sim/people/<verb>` take the verb's arguments as a JSON object;
`GET /_sim/truth/<name>` takes them from the query. What the API's own port offers is not touched.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.fakes.proxmox.answers import PveAnswer
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.people import People
from tests.fakes.proxmox.truth import Truth


def control_application(cluster: SimulatedCluster) -> web.Application:
    application = web.Application()
    application.router.add_post("/_sim/faults/{verb}", _caller(cluster.faults))
    application.router.add_post("/_sim/people/{verb}", _caller(People(cluster)))
    application.router.add_get("/_sim/truth/{verb}", _caller(Truth(cluster)))
    return application


def _caller(target: object) -> Callable[[web.Request], Any]:
    background: set[asyncio.Future[Any]] = set()

    async def handle(request: web.Request) -> web.Response:
        verb = request.match_info["verb"]
        member = None if verb.startswith("_") else inspect.getattr_static(target, verb, None)
        if member is None or not (callable(member) or isinstance(member, property)):
            return web.json_response({"error": f"no such verb: {verb}"}, status=404)
        value = getattr(target, verb)
        if isinstance(member, property):
            return web.json_response(_plain(value))
        given: dict[str, Any] = await request.json() if request.can_read_body else _typed(dict(request.query))
        try:
            result = value(**given)
            if verb == "hold_flock":  # ends when the lock is let go: not waited for
                held = asyncio.ensure_future(result)
                background.add(held)
                held.add_done_callback(background.discard)
                result = None
            elif inspect.isawaitable(result):
                result = await result
        except (PveAnswer, KeyError, TypeError, AssertionError, ValueError, StopIteration) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=409)
        return web.json_response(_plain(result))

    return handle


def _typed(query: dict[str, str]) -> dict[str, Any]:
    return {key: int(value) if value.isdigit() and key != "uid16" else value for key, value in query.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
