"""Values of a Secret as they may go into a request: looked at first, so that none ends up in an error's text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pantograph.providers.errors import Rejected

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=:-]+")
_HEADER_NAME: Final = re.compile(r"[-._A-Za-z0-9]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_OURS: Final = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})
"""Headers that belong to the request itself."""


def value_of(secret: Mapping[str, str], key: str, *, name: str) -> str:
    """One key of a Secret that was read. Raises Rejected."""
    value = secret.get(key, "").strip()
    if not value:
        raise Rejected(
            f"{name}: its Secret has no key `{key}`",
            reason="SecretKeyMissing",
            remedy=f"kubectl create secret generic NAME --from-literal={key}=…",
        )
    return value


def checked_token(token: str, *, name: str, pattern: re.Pattern[str] = _TOKEN) -> str:
    """`token`, if it looks like one. Raises Rejected."""
    if not pattern.fullmatch(token):
        raise Rejected(
            f"{name}: the key `token` of its Secret holds no token", remedy="put the token there, alone on one line"
        )
    return token


def checked_headers(secret: Mapping[str, str], *, name: str) -> dict[str, str]:
    """A Secret's keys and values as headers. Raises Rejected."""
    headers = {key: value.strip() for key, value in secret.items()}
    for key, value in headers.items():
        if not _HEADER_NAME.fullmatch(key) or key.lower() in _OURS or not _HEADER_VALUE.fullmatch(value):
            raise Rejected(f"{name}: the key {key!r} of headersFrom cannot be sent as a header", remedy="remove it")
    return headers
