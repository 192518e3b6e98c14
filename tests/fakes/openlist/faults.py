"""What can be wrong with an answer of `/api/fs/list`; each was seen in the wild or read in the server's source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

BAN_PAGE = (
    "<!doctypehtml><html><head><title>405</title></head>"
    "<body>由于您访问的URL有可能对网站造成安全威胁 您的访问被阻断。</body></html>"
)


class Fault(StrEnum):
    """How an answer is spoilt."""

    ERROR_500 = "500 in the body"
    BAN_IN_MESSAGE = "500 in the body, the cloud's ban page its message"
    FORBIDDEN = "403 in the body"
    STORAGE_GONE = "500 in the body, storage not found"
    CODE_ZERO = "code 0 without a message"
    EMPTY = "200 and null, as if the directory were empty"
    SHORT_PAGE = "200 and fewer entries than total, on every page"
    TOTAL_TOO_HIGH = "200 and a total that nothing reaches"
    TOTAL_CHANGES = "200 and another total each time"
    NO_CONTENT_KEY = "200 and data without content"
    NULL_DATA = "200 and null for data"
    WRONG_TYPES = "200 and names that are numbers"
    MOUNTS_ONLY = "200 and only the storages mounted below it"
    ROOT_ECHO = "200 and the listing of the root"
    BAN_PAGE = "HTTP 200 and the ban page"
    STATUS_405 = "HTTP 405 and the ban page"
    STATUS_429 = "HTTP 429 and Retry-After"
    STATUS_502 = "HTTP 502 of a proxy"
    HANG = "no answer"
    CUT = "the connection closes in the middle of the body"
    TOKEN_EXPIRED = "401 in the body, whatever the token"


@dataclass(slots=True)
class _Rule:
    fault: Fault
    path: str | None
    left: int | None


class Faults:
    """`begin` one, `end` all."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def begin(self, fault: Fault, path: str | None = None, *, times: int | None = None) -> None:
        """From now on, for `path` (absolute on the server; None: any), the next `times` questions or all."""
        self._rules.append(_Rule(fault, path, times))

    def end(self) -> None:
        self._rules.clear()

    def take(self, path: str) -> Fault | None:
        """The fault of this very question; the oldest rule wins."""
        for rule in self._rules:
            if rule.path not in (None, path):
                continue
            if rule.left is not None:
                rule.left -= 1
                if rule.left == 0:
                    self._rules.remove(rule)
            return rule.fault
        return None
