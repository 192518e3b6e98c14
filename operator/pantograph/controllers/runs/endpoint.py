"""`POST /v1/runs/{id}` over TLS: the only door through which a run says something, and hears something.

What comes in is small, typed, and only from the run that it is about. Nothing here reads or writes the API's objects:
who may speak is the authority's matter, what was said the registry's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from pantograph.api.run import MAX_REPORT_BYTES, RunReport
from pantograph.controllers.runs.authority import Authority, NotAdmitted
from pantograph.controllers.runs.registry import Registry
from pantograph.engine.kube import KubeError

logger = logging.getLogger(__name__)

PATH: Final = "/v1/runs/{run}"
RECORD_WITHIN_S: Final = 3.0
"""A result is answered when it is recorded, or after so long: as a rule it is said once."""
READ_WITHIN_S: Final = 10.0
LEADER_HEADER: Final = "Pantograph-Leader"
_RUN: Final = re.compile(r"[0-9a-f]{1,32}")
_RETRY: Final = {"Retry-After": "1"}


def application(
    *,
    authority: Authority,
    registry: Registry,
    ready: Callable[[], bool],
    leader: Callable[[], str],
    record_within_s: float = RECORD_WITHIN_S,
) -> web.Application:
    """`ready`: this process leads and knows all objects; `leader`: the address of the one that does, if it is known.

    401 without a token, 403 for a token that is not this run's, 413 and 422 for what is no report, 503 with
    `Pantograph-Leader: host:port` on a standby.
    """

    async def report(request: web.Request) -> web.Response:
        if not ready():
            raise web.HTTPServiceUnavailable(
                text="this pod does not lead\n", headers=_RETRY | ({LEADER_HEADER: leader()} if leader() else {})
            )
        run, token = request.match_info["run"], _bearer(request)
        if not _RUN.fullmatch(run):
            raise web.HTTPForbidden(text=_NOT_YOURS)
        try:
            await authority.admit(run, token)
        except NotAdmitted:
            logger.warning(
                "a report for run %s was refused: its token is not that run's (from %s)", run, request.remote
            )
            raise web.HTTPForbidden(text=_NOT_YOURS) from None
        except KubeError as error:
            logger.warning("a report for run %s was put off: %s", run, error)
            raise web.HTTPServiceUnavailable(text="the API server cannot be asked now\n", headers=_RETRY) from None
        said = await _read(request)
        known = registry.get(run)
        if known is not None:
            registry.hear(run, said)
            if said.result is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(record_within_s):
                        await known.recorded.wait()
        answer = registry.answer(run)
        return web.Response(text=answer.model_dump_json(by_alias=True), content_type="application/json")

    app = web.Application(client_max_size=MAX_REPORT_BYTES)
    app.add_routes([web.post(PATH, report)])
    return app


_NOT_YOURS: Final = "this token does not report for this run\n"


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise web.HTTPUnauthorized(text="a bearer token is needed\n", headers={"WWW-Authenticate": "Bearer"})
    return token.strip()


async def _read(request: web.Request) -> RunReport:
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the report did not come within {READ_WITHIN_S:.0f} s\n") from None
    try:
        return RunReport.model_validate_json(body)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise web.HTTPUnprocessableEntity(text=f"this is no report: {faults}\n") from None
