"""One POST or GET and a typed error, whose words hold neither a secret nor what a stranger's server answered.

The answer of an address that a user chose is not shown: the operator stands where users do not, and would read to them
what only it can reach. Redirects are not followed, so a token stays with the server that it is for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from yarl import URL

from pantograph.providers.errors import (
    Busy,
    MissingPrivilege,
    NotFound,
    ProtocolError,
    ProviderError,
    Rejected,
    Unauthorized,
    Unreachable,
)

TIMEOUT_S: Final = 20.0
_CONNECT_TIMEOUT_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    def json(self) -> Any:
        """None if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


async def exchange(
    name: str,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    document: Mapping[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Ask once; any status is an answer. `name` stands for the address in messages.

    Raises Unreachable if no whole answer came in time, Rejected for an address or header that no request can hold.
    """
    timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(_CONNECT_TIMEOUT_S, timeout_s))
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method, URL(url, encoded=True), headers=headers, json=document, allow_redirects=False
            ) as response,
        ):
            return Answer(response.status, await _body(response))
    # Never `from error`: what aiohttp raises may hold the address, and the address may be the secret.
    except (aiohttp.InvalidURL, ValueError):
        raise Rejected(f"{name}: its address or one of its headers is malformed") from None
    except TimeoutError:
        raise Unreachable(f"{name} gave no whole answer within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"{name} does not answer: {_fault(error)}") from None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of it."""
    held = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        held += piece
        if len(held) >= _MAX_ANSWER_BYTES:
            break
    return bytes(held)


def refuse(name: str, answer: Answer, *, remedy: str) -> None:
    """Raises what the status means, unless it is a success. `remedy`: for refused credentials."""
    status = answer.status
    if 200 <= status < 300:
        return
    message = f"{name} answered {status}"
    if status == 401:
        raise Unauthorized(f"{message}: it refused the credentials", remedy=remedy)
    if status == 403:
        raise MissingPrivilege(f"{message}: the credentials lack the right", remedy=remedy)
    raise _error(message, status)


def _error(message: str, status: int) -> ProviderError:
    if 300 <= status < 400:
        return ProtocolError(f"{message}, a redirect", remedy="write the address that it leads to")
    if status in (404, 405, 410):
        return NotFound(f"{message}: there is no such service", remedy="check host, port and sub-path of the address")
    if status == 429:
        return Busy(message, reason="RateLimited")
    if status >= 500:
        return Unreachable(message)
    return Rejected(message)


def _fault(error: Exception) -> str:
    """Words for an error of the network that cannot hold an address: its kind, and the system's text for its number."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its TLS certificate is not trusted"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()  # the error's own text holds the addresses that were tried
    return type(error).__name__
