"""Who we are to Proxmox: an API token, or a ticket by user and password."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import requests
from proxmoxer.backends.https import ProxmoxHTTPApiTokenAuth, ProxmoxHTTPAuthBase
from proxmoxer.core import ResourceException
from requests.cookies import RequestsCookieJar

from pantograph.providers.errors import Rejected, Unauthorized
from pantograph.providers.proxmox.settings import ApiToken, Credentials, UserPassword

TICKET_RENEWAL_S = 3600.0
"""Half of a ticket's life."""
LOGIN_PAUSE_S = 600.0
"""After a refused login the same password is not tried again for this long: realms lock users out."""


def authentication(
    credentials: Credentials,
    login: Callable[[UserPassword], Mapping[str, str]],
    *,
    monotonic: Callable[[], float],
) -> ProxmoxHTTPAuthBase:
    if isinstance(credentials, UserPassword):
        return TicketAuth(credentials, login, monotonic=monotonic)
    return token_auth(credentials)


def token_auth(token: ApiToken) -> ProxmoxHTTPAuthBase:
    user, separator, name = token.token_id.partition("!")
    if not separator or "@" not in user or not name:
        raise Rejected(f"token id {token.token_id!r} is not of the form user@realm!name", reason="InvalidCredentials")
    return ProxmoxHTTPApiTokenAuth(user, name, token.secret, verify_ssl=True)


class TicketAuth(ProxmoxHTTPAuthBase):  # type: ignore[misc]
    """A ticket by user and password, renewed at half its life, and never asked for twice with a refused password."""

    def __init__(
        self,
        credentials: UserPassword,
        login: Callable[[UserPassword], Mapping[str, str]],
        *,
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(verify_ssl=True)
        self._credentials = credentials
        self._login = login
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._ticket: Mapping[str, str] | None = None
        self._since = 0.0
        self._refused: tuple[float, str] | None = None

    def get_cookies(self) -> RequestsCookieJar:
        """Called by the session ahead of each request, in the request's own thread."""
        cookies = RequestsCookieJar()
        cookies.set("PVEAuthCookie", self._current()["ticket"])
        return cookies

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if request.method != "GET":
            request.headers["CSRFPreventionToken"] = self._current()["CSRFPreventionToken"]
        return request

    def forget(self) -> None:
        """The ticket was refused: the next request asks for a new one."""
        with self._lock:
            self._ticket = None

    def _current(self) -> Mapping[str, str]:
        with self._lock:
            now = self._monotonic()
            if self._ticket is not None and now - self._since < TICKET_RENEWAL_S:
                return self._ticket
            if self._refused is not None and now - self._refused[0] < LOGIN_PAUSE_S:
                raise Unauthorized(f"login of {self._credentials.username!r} was refused: {self._refused[1]}")
            self._ticket = self._new_ticket(now)
            self._since, self._refused = now, None
            return self._ticket

    def _new_ticket(self, now: float) -> Mapping[str, str]:
        try:
            ticket = self._login(self._credentials)
        except ResourceException as error:
            if error.status_code == 401:
                self._refused = (now, str(error.content))
            raise
        if ticket.get("NeedTFA") is not None:
            self._refused = (now, "it needs a second factor")
            raise Unauthorized(f"user {self._credentials.username!r} needs a second factor", remedy="use an API token")
        return ticket
