"""What a failed call to CloudDrive2 means, in the words of who keeps the server and not in those of gRPC.

Its own codes are not documented: the unknown is a failure, never an absence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from grpc import StatusCode

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
from pantograph.providers.media.http import NAME_AUTHORITY, shown, tells_of_ban

_PUT_CREDENTIALS: Final = "put valid credentials into the Secret it names"
_LOOK_AT_ENDPOINT: Final = "see that CloudDrive2 runs, and that {endpoint} is its address"
_LOOK_AT_CLOUD: Final = "open {endpoint} and see whether the cloud account works there"


@dataclass(frozen=True, slots=True)
class _Meaning:
    words: str
    error: type[ProviderError]
    remedy: str | None = None
    reason: str | None = None


_MEANINGS: Final[Mapping[StatusCode, _Meaning]] = {
    StatusCode.UNAUTHENTICATED: _Meaning("it refused the credentials", Unauthorized, _PUT_CREDENTIALS),
    StatusCode.PERMISSION_DENIED: _Meaning(
        "these credentials may not do that",
        MissingPrivilege,
        "make an API token with allow_list, allow_push_message and allow_read",
    ),
    StatusCode.NOT_FOUND: _Meaning("it knows no such thing", NotFound),
    StatusCode.UNAVAILABLE: _Meaning("it does not answer at {endpoint}", Unreachable, _LOOK_AT_ENDPOINT),
    StatusCode.CANCELLED: _Meaning("its answer broke off", Unreachable),
    StatusCode.DEADLINE_EXCEEDED: _Meaning(
        "no whole answer came in time",
        Unreachable,
        "open {endpoint} and see whether it answers; a slow cloud behind it needs a longer limits.listTimeout",
    ),
    StatusCode.INVALID_ARGUMENT: _Meaning("it does not take the question", Rejected),
    StatusCode.OUT_OF_RANGE: _Meaning("it does not take the question", Rejected),
    StatusCode.UNIMPLEMENTED: _Meaning(
        "it does not know the question",
        ProtocolError,
        "see that {endpoint} is CloudDrive2, of a version that this one knows",
    ),
}
_BANNED: Final = _Meaning("it, or the cloud behind it, wants to be left alone", Busy, reason="RateLimited")
_TOO_LARGE: Final = _Meaning("one message of its answer is larger than 64 MiB", ProtocolError)
_FAILED: Final = _Meaning("it, or the cloud behind it, failed", Unreachable, _LOOK_AT_CLOUD, UPSTREAM_FAILED)


class _Fault(NamedTuple):
    words: str
    remedy: str | None = None
    reason: str | None = None


_OF_GRPC: Final = (
    (r"connection refused", _Fault("nobody listens there")),
    (r"lookup|resolv|dns|name not found", _Fault("its name is not known")),
    (
        r"http1|http/2|http2|protocol error|content-type",
        _Fault(
            "what answers there is not gRPC",
            "see that {endpoint} is CloudDrive2 itself; a proxy between must let HTTP/2 through",
        ),
    ),
    (
        r"handshake|ssl|tls|certificate",
        _Fault(
            "no secure connection came about",
            f"{NAME_AUTHORITY}; CloudDrive2 by itself speaks http://",
            "CertificateRefused",
        ),
    ),
    (r"no route|unreachable|timed? ?out|shutdown", _Fault("no connection came about in time")),
    (r"reset|closed|pipe|rst_stream|goaway|stream removed|eof", _Fault("the connection broke off")),
)
"""What gRPC itself says of a connection (src/core of gRPC 1.6x and 1.7x), what that is, and what mends it."""
_IS_GRPCS: Final = re.compile(
    r"debug_error_string|grpc_status|failed to connect to all addresses|errors resolving|last error:|ipv[46]:"
    r"|stream removed|deadline exceeded|socket closed|rst_stream|goaway|http2 header|recvmsg|unexpected <class"
    r"|method not found",
    re.IGNORECASE,
)


def grpc_error(name: str, endpoint: str, act: str, error: Any) -> ProviderError:
    """What the failed call means. `act`: what the server was to do, such as `list /115`."""
    code, details = error.code(), error.details() or ""
    meaning = _meaning(code, details)
    fault = _fault(details, of_connection=meaning.error is Unreachable)
    words = meaning.words.format(endpoint=endpoint)
    text = f"{name} could not {act}: {words}" + (f" ({fault.words})" if fault.words else "")
    remedy = fault.remedy or meaning.remedy
    return meaning.error(
        text, reason=fault.reason or meaning.reason, remedy=remedy.format(endpoint=endpoint) if remedy else None
    )


def _meaning(code: StatusCode, details: str) -> _Meaning:
    if code is StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return _TOO_LARGE
    known = _MEANINGS.get(code)
    if code is StatusCode.RESOURCE_EXHAUSTED or (_may_be_ban(known) and tells_of_ban(details)):
        return _BANNED
    return known or _FAILED


def _may_be_ban(known: _Meaning | None) -> bool:
    """A text may quote a path, and a folder's name may hold any word: a clear refusal stays what it is."""
    return known is None or known.error not in (Unauthorized, MissingPrivilege, NotFound)


def _fault(details: str, *, of_connection: bool) -> _Fault:
    """What is wrong, and what mends it: the server's own words, or ours for what gRPC says of the connection."""
    if _IS_GRPCS.search(details) is None:
        return _Fault(shown(details))
    for pattern, fault in _OF_GRPC if of_connection else ():
        if re.search(pattern, details, re.IGNORECASE):
            return fault
    return _Fault("")
