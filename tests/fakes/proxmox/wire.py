"""Requests and answers as pveproxy reads and writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus

from aiohttp import web

from tests.fakes.proxmox.answers import PveAnswer
from tests.fakes.proxmox.gate import Operation
from tests.fakes.proxmox.operations import OPERATIONS
from tests.fakes.proxmox.reads import LogPage

BODY_LIMIT_BYTES = 512 * 1024


class PlainAnswer(PveAnswer):
    """An error before routing: its body is not JSON."""


class EmptyAnswer(PveAnswer):
    """An answer without a body though its code usually has one (the 403 of an upload)."""


def _compile(template: str) -> re.Pattern[str]:
    """A volume id may hold slashes, percent-encoded or not; nothing else may."""
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template).replace("(?P<volume>[^/]+)", "(?P<volume>.+)")
    return re.compile(f"^{pattern}$")


_ROUTES = [(operation, _compile(operation.path)) for operation in OPERATIONS.values()]


def route(method: str, raw_path: str) -> tuple[Operation, dict[str, str]]:
    """The operation and the variables of its path. 501 for an unknown path or method, never 404."""
    path = raw_path.removeprefix("/api2/json").rstrip("/") or "/"
    for operation, pattern in _ROUTES:
        if operation.method == method and (match := pattern.match(path)) is not None:
            return operation, {name: unquote(value) for name, value in match.groupdict().items()}
    raise PveAnswer(501, f"Method '{method} {unquote(path)}' not implemented")


def check_framing(request: web.Request, *, upload: bool) -> None:
    """What pveproxy refuses before it looks at the path."""
    if request.headers.get("Transfer-Encoding", "").lower() == "chunked":
        raise PlainAnswer(501, "chunked transfer encoding not supported")
    length = request.content_length or 0
    if request.method in {"GET", "DELETE"} and length:
        raise PlainAnswer(501, f"Unexpected content for method '{request.method}'")
    if length > BODY_LIMIT_BYTES and not upload:
        raise PlainAnswer(501, "for data too large")


async def parameters(request: web.Request, path: Mapping[str, str]) -> dict[str, str]:
    """Of body and query; the query wins. A path's variable must not be given again with another value."""
    body = await request.read() if request.method in {"POST", "PUT"} else b""
    params = _body(request.content_type, body) if body else {}
    params |= _form(request.rel_url.raw_query_string)
    for name in params.keys() & path.keys():
        if params[name] != path[name]:
            raise PveAnswer(
                400,
                "Parameter verification failed.",
                {name: "duplicate parameter (already defined in URI) with conflicting values!"},
            )
    return {name: value for name, value in params.items() if name not in path}


def _body(content_type: str, body: bytes) -> dict[str, str]:
    if content_type == "application/json":
        given: dict[str, Any] = json.loads(body)
        return {name: str(int(value) if isinstance(value, bool) else value) for name, value in given.items()}
    if content_type in {"application/x-www-form-urlencoded", "application/octet-stream"}:
        return _form(body.decode())
    raise PlainAnswer(506, f"upload 'Content-Type '{content_type}' not implemented'")


def _form(text: str) -> dict[str, str]:
    """Pairs are split at `&` and at `;`, and a value is cut at its second `=`."""
    params = {}
    for pair in re.split(r"[&;]", text):
        if pair:
            parts = pair.split("=")
            params[unquote_plus(parts[0])] = unquote_plus(parts[1]) if len(parts) > 1 else ""
    return params


def success(data: Any) -> web.Response:
    body: dict[str, Any] = {"data": data}
    if isinstance(data, LogPage):
        body["total"] = data.total
    return web.json_response(body)


def refusal(answer: PveAnswer) -> web.Response:
    """The text is in the reason phrase, cut at its first newline; 401, 595, 596 have no body; the connection ends."""
    reason = answer.text.partition("\n")[0]
    if answer.code in {401, 595, 596} or isinstance(answer, EmptyAnswer):
        response = web.Response(status=answer.code, reason=reason)
    elif isinstance(answer, PlainAnswer):
        response = web.Response(status=answer.code, reason=reason, text=answer.text)
    else:
        body: dict[str, Any] = {"data": None, "message": f"{answer.text}\n"}
        if answer.errors:
            body["errors"] = answer.errors
        response = web.json_response(body, status=answer.code, reason=reason)
    response.force_close()
    return response
