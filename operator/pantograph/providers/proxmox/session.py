"""HTTP sessions to one endpoint of Proxmox: whom we trust, how long we wait, and what a failure leaves open.

proxmoxer brings paths, form encoding and token headers. Its defaults do not fit: five seconds for everything, passwords
sent over a session that cannot pin a certificate, and `total` lost from task logs.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
import urllib3.exceptions
from proxmoxer.backends.https import ProxmoxHTTPAuthBase, ProxmoxHttpSession
from proxmoxer.core import ProxmoxResource
from requests.adapters import HTTPAdapter

from pantograph.providers.errors import ProtocolError
from pantograph.providers.proxmox.auth import authentication
from pantograph.providers.proxmox.settings import ConnectionSettings, Tls, UserPassword
from pantograph.providers.trust import trusting

for _name in ("proxmoxer", "proxmoxer.core", "proxmoxer.backends.https", "urllib3"):
    # They write whole payloads and signed URLs at INFO and DEBUG.
    logging.getLogger(_name).setLevel(logging.ERROR)


class NoConnection(Exception):
    """Nothing was sent; `certificate`: because the node did not prove who it is."""

    def __init__(self, text: str, *, certificate: bool = False) -> None:
        super().__init__(text)
        self.certificate = certificate


class ConnectionLost(Exception):
    """The request, or a part of it, was sent and no answer came; `timed_out`: within the read time-out."""

    def __init__(self, text: str, *, timed_out: bool) -> None:
        super().__init__(text)
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class Answer:
    data: Any
    total: int | None = None
    """Lines or rows there are in all, where the answer is a part."""


class Endpoint:
    """One address of a cluster, used from several threads at once."""

    def __init__(self, url: str, settings: ConnectionSettings, *, monotonic: Callable[[], float]) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"endpoint {url!r} would send the credentials unencrypted: give https://")
        self.url = url.rstrip("/")
        self._base = f"{self.url}/api2/json"
        self._context = tls_context(settings.tls) if parts.scheme == "https" else None
        self._reads = self._session(settings)
        self._mutations = self._session(settings)
        # A mutation goes over a connection of its own: one that the node has just closed for idleness (after 5 s)
        # would leave open whether it was sent.
        self._mutations.headers["Connection"] = "close"
        self._logins = self._session(settings)
        self._logins.auth = ProxmoxHTTPAuthBase(verify_ssl=True)
        self.auth = authentication(settings.credentials, self._login, monotonic=monotonic)
        self._reads.auth = self._mutations.auth = self.auth

    def request(self, verb: str, parts: list[str], values: Mapping[str, str]) -> Answer:
        """One request. Raises `NoConnection`, `ConnectionLost`, `ProtocolError`, or proxmoxer's `ResourceException`."""
        session = self._reads if verb == "GET" else self._mutations
        resource = ProxmoxResource(base_url=self._base, session=session, serializer=_Serializer())(parts)
        # GET and DELETE take their values from the query: a body there is refused (501).
        send = {"GET": resource.get, "POST": resource.post, "PUT": resource.put, "DELETE": resource.delete}[verb]
        try:
            answer = send(**values)
        except requests.exceptions.RequestException as error:
            # `from None`: the texts of requests hold whole URLs, signatures included.
            raise _transport_error(error) from None
        if not isinstance(answer, Answer):
            raise ProtocolError(f"{self.url} answered {verb} with something that is no result: is it Proxmox VE?")
        return answer

    def close(self) -> None:
        for session in (self._reads, self._mutations, self._logins):
            session.close()

    def _session(self, settings: ConnectionSettings) -> _Session:
        session = _Session()
        session.trust_env = False  # reading ~/.netrc and proxies for every request costs more than the request
        session.time_limits = (settings.timeouts.connect_s, settings.timeouts.read_s)
        session.headers["accept"] = "application/json"
        if self._context is not None:
            session.mount("https://", _TlsAdapter(self._context, settings))
        return session

    def _login(self, login: UserPassword) -> Mapping[str, str]:
        resource = ProxmoxResource(base_url=self._base, session=self._logins, serializer=_Serializer())
        answer = resource(["access", "ticket"]).post(username=login.username, password=login.password)
        if not isinstance(answer, Answer) or not isinstance(answer.data, dict):
            raise ProtocolError(f"{self.url} answered the login with something that is no ticket: is it Proxmox VE?")
        return answer.data


class _Session(ProxmoxHttpSession):  # type: ignore[misc]
    time_limits: tuple[float, float]

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", self.time_limits)
        response: requests.Response = super().request(method, url, **options, allow_redirects=False)
        if 300 <= response.status_code < 400:
            raise ProtocolError(f"{url} redirects to {response.headers.get('Location')!r}: is it Proxmox VE?")
        return response


class _TlsAdapter(HTTPAdapter):
    """One TLS context for every connection, in place of the files that requests would load for each."""

    def __init__(self, context: ssl.SSLContext, settings: ConnectionSettings) -> None:
        self._context = context
        self._fingerprint = settings.tls.fingerprint
        super().__init__(pool_connections=1, pool_maxsize=settings.limits.concurrent, max_retries=0)

    def init_poolmanager(self, *positional: Any, **options: Any) -> None:
        options["ssl_context"] = self._context
        if self._fingerprint is not None:
            options["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(*positional, **options)

    def build_connection_pool_key_attributes(self, *positional: Any, **options: Any) -> Any:
        host, pool = super().build_connection_pool_key_attributes(*positional, **options)
        return host, {**pool, "cert_reqs": self._context.verify_mode}

    def cert_verify(self, *positional: Any, **options: Any) -> None:
        """The context holds all that is trusted: requests must not add the public authorities to it."""


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A context that trusts what `tls` says. Raises `Rejected` (reason `InvalidCA`) for certificates it cannot read."""
    if tls.fingerprint is not None or (tls.insecure_skip_verify and tls.ca_pem is None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # a pinned fingerprint is compared by urllib3, before anything is sent
        return context
    if tls.ca_pem is None:
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        return context
    return trusting(tls.ca_pem, remedy="use the content of /etc/pve/pve-root-ca.pem of a node")


class _Serializer:
    """Keeps `total`, and takes the empty and plain-text bodies that errors come with."""

    def loads(self, response: requests.Response) -> Answer | None:
        body = _object(response)
        return Answer(body["data"], body.get("total")) if "data" in body else None

    def loads_errors(self, response: requests.Response) -> Mapping[str, Any]:
        return _object(response)


def _object(response: requests.Response) -> dict[str, Any]:
    try:
        body = json.loads(response.content)
    except (UnicodeDecodeError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


# -- what went wrong on the way --------------------------------------------------------


def _transport_error(error: requests.exceptions.RequestException) -> NoConnection | ConnectionLost:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NoConnection(f"its certificate is not trusted: {cause.verify_message}", certificate=True)
        if "Fingerprints did not match" in str(cause):
            return NoConnection("its certificate has another fingerprint", certificate=True)
    for cause in causes:
        if isinstance(cause, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)):
            return NoConnection(_short(causes))
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return NoConnection("no connection within the time-out")
    if isinstance(error, requests.exceptions.Timeout):
        return ConnectionLost("no answer within the time-out", timed_out=True)
    return ConnectionLost(_short(causes), timed_out=False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps: by cause, by context, in the first argument, or as urllib3's `reason`."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (current.__cause__, current.__context__, getattr(current, "reason", None), *current.args)
        todo.extend(one for one in inner if isinstance(one, BaseException))


def _short(causes: list[BaseException]) -> str:
    """The system's own word for it (`Connection refused`): it names neither the URL nor an object's address."""
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return type(causes[-1]).__name__
