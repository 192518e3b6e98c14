"""What OpenList means when it says no: a `code` and a text, which may be a whole page of the cloud behind it."""

from __future__ import annotations

import aiohttp

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
from pantograph.providers.media.bucket import UPSTREAM_FAILED
from pantograph.providers.media.http import Http, is_page, shown, tells_of_ban

LOGIN_LOCK_S = 300.0
"""OpenList locks an address out for five minutes after five refused logins."""


def api_error(name: str, code: object, message: str) -> ProviderError:
    """What a `code` other than 200 means. The unknown is a `ProtocolError`: never a success, never an absence."""
    text = f"{name} answered code {_code(code)}: {shown(message) or 'no reason'}"
    if code == 401:
        return Unauthorized(text, remedy="put valid credentials into the Secret it names")
    if code == 403 and "refresh" in message.lower():
        return MissingPrivilege(text, remedy="let the user write below this path")
    if code == 403:
        return MissingPrivilege(text, remedy="let the user read this path, and set no password on it")
    # Before the ban: the text quotes paths, and a folder's name may hold any word.
    if code == 404 or (code == 500 and "object not found" in message):
        return NotFound(text)
    if code in (405, 429) or (isinstance(code, int) and code >= 500 and tells_of_ban(message)):
        return Busy(text, reason="RateLimited")
    if isinstance(code, int) and code >= 500:
        return Unreachable(text, reason=UPSTREAM_FAILED)
    if code == 400:
        return Rejected(text)
    return ProtocolError(text)


def login_error(name: str, code: object, message: str) -> ProviderError:
    """What a refused login means."""
    text = f"{name} refused the login with code {_code(code)}: {shown(message) or 'no reason'}"
    if code == 402:
        return Unauthorized(text, remedy="put the seed of the user's one-time passwords under the key `otp`")
    if code == 429:
        return Busy(text, reason="LoginLocked", retry_after_s=LOGIN_LOCK_S)
    if code in (400, 401, 403):
        return Unauthorized(text, remedy="put a valid `username` and `password` into the Secret it names")
    return api_error(name, code, message)


def page_error(http: Http, response: aiohttp.ClientResponse | None, text: str) -> ProviderError:
    """What an answer that is not the API's means. `response` None: its status was a success."""
    if response is not None and response.status == 404:
        return ProtocolError(
            f"{http.name} has no OpenList API at {http.endpoint}", remedy=f"curl {http.endpoint}/ping must say pong"
        )
    if response is None or (response.status in (403, 405) and is_page(text)):
        if tells_of_ban(text):
            return Busy(
                f"{http.name} answered with a page for people",
                reason="RateLimited",
                remedy=f"wait; when it stays, look whether {http.endpoint} is OpenList's own address",
            )
        return ProtocolError(f"{http.name} answered with something that is no JSON")
    return http.status_error(response, text)


def _code(code: object) -> str:
    """OpenList's codes are numbers; anything else is a stranger's word."""
    return str(code) if isinstance(code, int) and abs(code) < 10**6 else "that is no number"
