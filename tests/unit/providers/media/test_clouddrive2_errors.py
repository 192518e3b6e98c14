"""Errors of CloudDrive2 are read by people: they name the server, what it was to do, and what mends it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
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
from pantograph.providers.media.clouddrive2_errors import grpc_error

NAME, ENDPOINT = "DataServer media/cd2", "http://cd2:19798"
ALL = "failed to connect to all addresses; last error: "
"""How gRPC 1.7x begins to say that there is no connection."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A call's end as gRPC gives it."""

    status: StatusCode
    text: str

    def code(self) -> StatusCode:
        return self.status

    def details(self) -> str:
        return self.text


def said(status: StatusCode, text: str = "") -> ProviderError:
    return grpc_error(NAME, ENDPOINT, "list /115/Movies", Failed(status, text))


CASES = [
    (StatusCode.UNAUTHENTICATED, "token expired", Unauthorized, "it refused the credentials (token expired)", "Secret"),
    (StatusCode.PERMISSION_DENIED, "", MissingPrivilege, "these credentials may not do that", "allow_list"),
    (StatusCode.NOT_FOUND, "频繁 not found", NotFound, "it knows no such thing (频繁 not found)", None),
    (StatusCode.INVALID_ARGUMENT, "", Rejected, "it does not take the question", None),
    (StatusCode.UNIMPLEMENTED, "Method not found!", ProtocolError, "it does not know the question", ENDPOINT),
    (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", Unreachable, "no whole answer came in time", "listTimeout"),
    (StatusCode.RESOURCE_EXHAUSTED, "quota", Busy, "wants to be left alone (quota)", None),
    (StatusCode.UNKNOWN, "请求过于频繁", Busy, "wants to be left alone (请求过于频繁)", None),
    (
        StatusCode.RESOURCE_EXHAUSTED,
        "Stream removed (CLIENT: Received message larger than max (5242885 vs. 4194304))",
        ProtocolError,
        "one message of its answer is larger than 64 MiB",
        None,
    ),
    (StatusCode.INTERNAL, "cloud api error", Unreachable, "failed (cloud api error)", f"open {ENDPOINT}"),
    (
        StatusCode.UNAVAILABLE,
        f"{ALL}UNKNOWN: ipv4:10.0.0.9:19798: Failed to connect to remote host: Connection refused",
        Unreachable,
        f"it does not answer at {ENDPOINT} (nobody listens there)",
        f"{ENDPOINT} is its address",
    ),
    (
        StatusCode.UNAVAILABLE,
        "errors resolving cd2:80: [field:hostname lookup error:address lookup failed for cd2:80: Domain name not"
        " found]",
        Unreachable,
        f"it does not answer at {ENDPOINT} (its name is not known)",
        f"{ENDPOINT} is its address",
    ),
    (
        StatusCode.UNAVAILABLE,
        f"{ALL}INTERNAL: ipv4:10.0.0.9:80: Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, got frame"
        " type 80) (Trying to connect an http1.x server (HTTP status 400))",
        Unreachable,
        "(what answers there is not gRPC)",
        "must let HTTP/2 through",
    ),
    (
        StatusCode.UNAVAILABLE,
        f"{ALL}UNKNOWN: ipv4:10.0.0.9:443: Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:100000f7",
        Unreachable,
        "(no secure connection came about)",
        "http://",
    ),
    (
        StatusCode.UNAVAILABLE,
        f"{ALL}UNAVAILABLE: ipv4:10.0.0.9:80: recvmsg:Connection reset by peer (104)",
        Unreachable,
        "(the connection broke off)",
        f"{ENDPOINT} is its address",
    ),
]


@pytest.mark.parametrize(("status", "text", "error", "words", "mends"), CASES)
def test_an_error_says_which_server_could_not_do_what_and_what_mends_it(
    status: StatusCode, text: str, error: type[ProviderError], words: str, mends: str | None
) -> None:
    found = said(status, text)
    assert type(found) is error
    assert found.message.startswith(f"{NAME} could not list /115/Movies: ")
    assert found.message.endswith(words)
    assert (found.remedy is None) if mends is None else (found.remedy is not None and mends in found.remedy)


@pytest.mark.parametrize("status", StatusCode)
@pytest.mark.parametrize(
    "text", [*(case[1] for case in CASES if case[0] is StatusCode.UNAVAILABLE), "Stream removed", "{grpc_status:14}"]
)
def test_no_word_of_grpcs_own_is_shown(status: tuple[int, str] | StatusCode, text: str) -> None:
    assert isinstance(status, StatusCode)
    found = said(status, text)
    shown = f"{found.message} {found.remedy}"
    assert not re.search(r"[A-Z]{3,}_|ipv4|10\.0\.0\.9|last error|recvmsg|Stream removed|grpc_status|StatusCode", shown)


def test_a_failure_that_nobody_knows_is_no_absence() -> None:
    assert said(StatusCode.DATA_LOSS, "?").reason == "UpstreamFailed"
    assert said(StatusCode.RESOURCE_EXHAUSTED).reason == "RateLimited"
