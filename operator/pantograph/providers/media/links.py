"""What a `.strm` line holds: the one place where a link's parts are put together and percent-encoded.

Media servers read one line, UTF-8, without a BOM or a newline; so does this return it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from urllib.parse import quote, urlsplit

from pantograph.providers.errors import Rejected
from pantograph.providers.media.port import Link

_SAFE = "$&+=:@/"
"""Beside letters, digits and `-_.~`, what Go's url.PathEscape leaves: OpenList's links are made so. Slashes stay."""
_MOST_ESCAPES = 10_000
"""More characters than a library uses; all that there are would take a hundred megabytes."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MINIMAL = str.maketrans({"%": "%25", "?": "%3F", "#": "%23"})


class Encoding(StrEnum):
    """How the path of an HTTP link is encoded, always once, segment by segment."""

    PATH = "Path"
    """As OpenList itself does it; what Kodi and strict players need."""
    MINIMAL = "Minimal"
    """Only what would change the address's meaning (`%`, `?`, `#`); for players that show what they read."""
    NONE = "None"
    """Not at all: a name with `%`, `?` or `#` does not play."""


def encode_path(path: str, encoding: Encoding) -> str:
    """`path` with every segment encoded; slashes stay."""
    if encoding is Encoding.NONE:
        return path
    if encoding is Encoding.MINIMAL:
        return path.translate(_MINIMAL)
    directory, slash, name = path.rpartition("/")
    return _encoded(directory) + slash + _encode(name)


class _Escapes(dict[int, str]):
    """What stands for a character, by its number: the few of names come again and again."""

    def __missing__(self, number: int) -> str:
        escape = quote(chr(number), safe=_SAFE)
        if len(self) < _MOST_ESCAPES:
            self[number] = escape
        return escape


_escapes = _Escapes()


def _encode(text: str) -> str:
    """As `urllib.parse.quote`, in half its time for names with spaces or of other scripts."""
    return text.translate(_escapes)


_encoded = lru_cache(maxsize=256)(_encode)
"""For directories: one after another, each for all its files."""


def http_line(link: Link, *, encoding: Encoding, base: str | None = None, prefix: str | None = None) -> str:
    """The address of a file. `base` and `prefix` replace the driver's own; raises `Rejected` for what has no address.

    The signature is never encoded: its `:` and `=` stand literally, as the server writes them.
    """
    start = _start(link.base if base is None else base, link.prefix if prefix is None else prefix)
    if not start:
        raise Rejected(f"{link.path} has no HTTP address; set link.publicBase or link.mode: Mount")
    query = f"?sign={link.sign}" if link.sign else ""
    if link.pickcode:
        query = f"?pickcode={quote(link.pickcode, safe='')}{query.replace('?', '&', 1)}"
    line = f"{start}{encode_path(link.path, encoding)}{query}"
    _refuse_control(start + query if encoding is Encoding.PATH else line)  # an encoded path holds none
    return line


@lru_cache(maxsize=256)
def _start(base: str, prefix: str) -> str:
    """What stands before a file's path; empty without a base."""
    base = normal_base(base)
    if not base:
        return ""
    if "{" in prefix:
        parts = urlsplit(base)
        prefix = prefix.replace("{scheme}", parts.scheme).replace("{host}", parts.netloc)
    return f"{base}/{prefix.strip('/')}" if prefix.strip("/") else base


def mount_line(link: Link, *, mount_prefix: str | None = None) -> str:
    """The path of a file on the player's file system, unencoded. Raises `Rejected` when nothing says where it is."""
    prefix = (link.mount_prefix if mount_prefix is None else mount_prefix).rstrip("/")
    if not prefix.startswith("/") and mount_prefix != "/":
        raise Rejected(f"{link.path} has no path on a file system; set link.mountPrefix to where the source is mounted")
    line = f"{prefix}{link.path}"
    _refuse_control(line)
    return line


@lru_cache(maxsize=256)
def normal_base(base: str) -> str:
    """`base` as it is compared and written: scheme and host in lower case, no default port, no trailing slash."""
    base = base.strip()
    if "://" not in base:
        return base.rstrip("/")
    parts = urlsplit(base)
    user, at, host = parts.netloc.rpartition("@")
    host = host.lower()
    default = {"http": ":80", "https": ":443"}.get(parts.scheme.lower(), "")
    if default and host.endswith(default):
        host = host.removesuffix(default)
    return f"{parts.scheme.lower()}://{user}{at}{host}{parts.path.rstrip('/')}"


def openlist_sign(path: str, *, key: str, expires: int = 0) -> str:
    """OpenList's signature of an absolute, cleaned, unencoded path (its pkg/sign/hmac.go).

    `key` is the server's admin token; `expires` is in seconds since 1970, 0 = never.
    """
    digest = hmac.new(key.encode(), f"{path}:{expires}".encode(), hashlib.sha256).digest()
    return f"{base64.urlsafe_b64encode(digest).decode()}:{expires}"


def sign_expiry(sign: str) -> datetime | None:
    """When an OpenList signature ends; None: never, or not such a signature."""
    _, _, expires = sign.rpartition(":")
    if not expires.isdecimal() or int(expires) == 0:
        return None
    try:
        return datetime.fromtimestamp(int(expires), UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _refuse_control(line: str) -> None:
    # What is not printable may still be harmless: a space of another width, a character of tomorrow.
    if not line.isprintable() and _CONTROL.search(line):
        raise Rejected(f"{line!r} holds a control character, which would break the one line of a .strm file; rename it")
