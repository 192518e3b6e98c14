"""HTTP as the drivers need it: a bounded answer or a typed error, and a ban page known for what it is.

Clouds and the walls before them answer a ban with whatever status they like, 200 too, and a page for people.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from pantograph.clock import Clock
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
from pantograph.providers.media.settings import ServerSettings
from pantograph.providers.trust import trusting

MAX_BODY_BYTES = 256 << 20
"""A directory of half a million entries in OpenList's JSON; more is not a directory listing."""
_CONNECT_TIMEOUT_S = 15.0
_PIECE_BYTES = 256 << 10
NAME_AUTHORITY = (
    "put the certificate (PEM) of the authority that signed the server's under `ca.crt` into the Secret that the"
    " DataServer names in spec.tls.caRef"
)
_BAN = re.compile(
    r"too many requests|too frequent|too fast|rate.?limit|frequency limit|request limit|risk control"
    r"|频繁|限流|风控|流控|被封|封禁|访问被阻断|访问被拦截|频率|\b429\b|\b405 (not allowed|method)",
    re.IGNORECASE,
)
_PAGE = re.compile(r"<!doctype html|<html[\s>]", re.IGNORECASE)
_BAN_STATUSES = (405, 429)


def is_page(text: str) -> bool:
    """Whether `text` holds a page for people, where a program was to be answered."""
    return _PAGE.search(text) is not None


def tells_of_ban(text: str) -> bool:
    """Whether `text` is how a cloud, or the wall before it, says "not so fast"."""
    return is_page(text) or _BAN.search(text) is not None


def shown(text: str) -> str:
    """The product's own message fit for ours: no tags, printable, one line, not long.

    Only for a field that the product's API defines. Any other text of an address that a user chose is not shown: the
    operator stands where users do not, and would read to them what only it can reach.
    """
    plain = "".join(letter if letter.isprintable() else " " for letter in re.sub(r"<[^>]*>", " ", text))
    plain = " ".join(plain.split())
    return plain if len(plain) <= 160 else f"{plain[:160]}…"


def phrase_of(status: int) -> str:
    """What the standard calls a status; what the server calls it is a stranger's word."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class Http:
    """One connection pool to one server."""

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        """Must be made on the event loop. Raises `Rejected` for an endpoint that cannot be used."""
        if not settings.endpoint.startswith(("http://", "https://")):
            raise Rejected(f"{settings.name}: the endpoint {settings.endpoint!r} is no http(s) address")
        connector = None
        if settings.ca_pem is not None:
            context = trusting(settings.ca_pem, remedy=NAME_AUTHORITY)
            context.load_default_certs()  # a file may be redirected to a cloud's own servers
            connector = aiohttp.TCPConnector(ssl=context)
        self.name = settings.name
        self.endpoint = settings.endpoint.rstrip("/")
        self._clock = clock
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=settings.list_timeout_s, connect=_CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, follow: bool = False, **parts: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange with `url`, which is encoded already.

        Raises `Unreachable` when it fails or breaks off, also while the body is read inside. `follow` redirects only
        for files; aiohttp takes `Authorization` off when another host is meant.
        """
        try:
            async with self._session.request(
                method, URL(url, encoded=True), allow_redirects=follow, **parts
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def body(self, response: aiohttp.ClientResponse) -> bytes:
        """All of it. Raises `ProtocolError` beyond `MAX_BODY_BYTES`."""
        held = bytearray()
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            held += piece
            if len(held) > MAX_BODY_BYTES:
                raise ProtocolError(f"{self.name} answered with more than {MAX_BODY_BYTES >> 20} MiB to one question")
        return bytes(held)

    async def pieces(self, url: str, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        """The content of a file. Raises as `refuse`, and `Unreachable` when it breaks off."""
        async with self.request("GET", url, follow=True, headers=headers) as response:
            await self.refuse(response)
            async for piece in response.content.iter_chunked(_PIECE_BYTES):
                yield piece

    async def refuse(self, response: aiohttp.ClientResponse) -> None:
        """Raises what the status means, unless it is a success."""
        if response.status < 300:
            return
        text = (await response.content.read(_PIECE_BYTES)).decode("utf-8", "replace")
        raise self.status_error(response, text)

    def status_error(self, response: aiohttp.ClientResponse, text: str) -> ProviderError:
        """What a status that is no success means; `text` is (the beginning of) the body."""
        status = response.status
        message = f"{self.name} answered {status} {phrase_of(status)}".rstrip()
        retry_after_s = self._retry_after_s(response.headers.get("Retry-After"))
        if status in (405, 501) and "Allow" in response.headers:
            return ProtocolError(message, remedy=f"look whether {self.endpoint} is the address of the right service")
        if status in _BAN_STATUSES or (status == 503 and retry_after_s is not None):
            return Busy(message, reason="RateLimited", retry_after_s=retry_after_s)
        if status == 403 and _BAN.search(text):
            return Busy(message, reason="RateLimited", retry_after_s=retry_after_s)
        if status == 401:
            return Unauthorized(message, remedy="put valid credentials into the Secret it names")
        if status == 403:
            return MissingPrivilege(message)
        if status in (404, 410):
            return NotFound(message)
        if status >= 500:
            return Unreachable(message)
        return ProtocolError(message)

    def _retry_after_s(self, value: str | None) -> float | None:
        if value is None:
            return None
        if value.strip().isdecimal():
            return float(value)
        try:
            return max(0.0, (parsedate_to_datetime(value) - self._clock.now()).total_seconds())
        except (ValueError, TypeError):
            return None

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            refused = getattr(error.certificate_error, "verify_message", "") or "it was not verified"
            return Unreachable(
                f"{self.name}: the certificate of {error.host}:{error.port} is not trusted: {refused}",
                reason="CertificateRefused",
                remedy=NAME_AUTHORITY,
            )
        # aiohttp quotes an answer that it does not understand; the failure to connect is in the system's words.
        is_systems = isinstance(error, aiohttp.ClientConnectorError) or not isinstance(error, aiohttp.ClientError)
        fault = (is_systems and str(error)) or type(error).__name__
        if isinstance(error, TimeoutError):
            fault = f"no whole answer in time ({type(error).__name__})"
        return Unreachable(f"{self.name} does not answer: {fault}")
