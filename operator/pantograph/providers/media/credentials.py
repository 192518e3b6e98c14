"""Credentials from the files of a mounted Secret, and the session they open: one login at a time, none in vain.

Nothing here ever puts a secret into an argument, an environment, a message or a repr.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pantograph.providers.errors import Rejected, Unauthorized

_TOTP_PERIOD_S = 30
_TOTP_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token, or a user name and a password; all empty: a guest."""

    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    otp: str = field(default="", repr=False)
    """The seed of the user's one-time passwords, base32, as the server showed it when they were switched on."""

    def otp_code(self, now: datetime) -> str:
        """The one-time password of this moment (RFC 6238: SHA-1, 30 s, 6 digits), or "" without a seed."""
        if not self.otp:
            return ""
        seed = self.otp.replace(" ", "").upper()
        try:
            key = base64.b32decode(seed + "=" * (-len(seed) % 8))
        except binascii.Error:
            raise Rejected(
                "the key `otp` of the credentials is not base32",
                remedy="put the seed there that the server showed with the QR code, not a code of six digits",
            ) from None
        counter = int(now.timestamp()) // _TOTP_PERIOD_S
        digest = hmac.new(key, counter.to_bytes(8, "big"), hashlib.sha1).digest()
        offset = digest[-1] & 0xF
        number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
        return f"{number % 10**_TOTP_DIGITS:0{_TOTP_DIGITS}d}"


_KEYS = ("token", "username", "password", "otp")


class CredentialFiles:
    """Reads anew each time: a Secret that was changed is used at the next login."""

    def __init__(self, source: Path | Mapping[str, str] | None) -> None:
        """A directory of files, or a Secret's values as the API server gave them; None: a guest."""
        self._source = source

    def read(self) -> Credentials:
        """Raises `Rejected` when they cannot be read or make no sense."""
        if self._source is None:
            return Credentials()
        found = Credentials(*(self._value(self._source, key) for key in _KEYS))
        if not found.token and not (found.username and found.password):
            raise Rejected(
                "the credentials hold neither `token` nor `username` and `password`",
                remedy="kubectl create secret generic NAME --from-literal=username=… --from-literal=password=…",
            )
        return found

    def _value(self, source: Path | Mapping[str, str], key: str) -> str:
        if isinstance(source, Mapping):
            return source.get(key, "").strip("\r\n")
        try:
            return (source / key).read_text(encoding="utf-8").strip("\r\n")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise Rejected(f"the key `{key}` of the credentials cannot be read: {type(error).__name__}") from None


T = TypeVar("T")
Login = Callable[[Credentials], Awaitable[str]]


class Session:
    """The token that calls carry. Many callers, one login; what the server refused is not tried again.

    Servers lock an address out after a few failures (OpenList: five), with everybody behind it.
    """

    def __init__(self, name: str, files: CredentialFiles, login: Login) -> None:
        """`login` turns credentials into what calls carry ("": a guest); raises `Unauthorized` if they are refused."""
        self._name = name
        self._files = files
        self._login = login
        self._lock = asyncio.Lock()
        self._token: str | None = None
        self._used: Credentials | None = None
        self._refused: Credentials | None = None

    async def token(self) -> str:
        """The token to use now. Logs in when there is none."""
        async with self._lock:
            if self._token is None:
                self._token = await self._open()
            return self._token

    async def call(self, call: Callable[[str], Awaitable[T]]) -> T:
        """`call(token)`; once more with a new token when the server no longer takes this one."""
        token = await self.token()
        try:
            return await call(token)
        except Unauthorized:
            fresh = await self._renewed(token)
        try:
            return await call(fresh)
        except Unauthorized:
            self._refuse(fresh)
            raise

    async def _renewed(self, stale: str) -> str:
        async with self._lock:
            if self._token is None or self._token == stale:
                self._token = None
                self._token = await self._open(stale)
            return self._token

    def _refuse(self, token: str) -> None:
        """`token` is fresh and was refused all the same: its credentials are not used again before they change."""
        if self._token == token:
            self._token = None
            self._refused = self._used

    async def _open(self, stale: str | None = None) -> str:
        credentials = self._files.read()
        if credentials == self._refused:
            raise self._unauthorized("refused these credentials before, and they have not changed since")
        self._used = credentials
        try:
            token = await self._login(credentials)
            if token == stale:
                raise self._unauthorized("refused the credentials" if token else "takes no guests")
        except Unauthorized:
            self._refused = credentials
            raise
        return token

    def _unauthorized(self, what: str) -> Unauthorized:
        return Unauthorized(f"{self._name} {what}", remedy="put valid credentials into the Secret it names")
