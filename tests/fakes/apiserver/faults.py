"""What can go wrong between a client and the server, planned by a test."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from pantograph.engine.kube import KubeError, Unavailable

Verb = Literal["list", "get", "create", "apply", "merge_patch", "json_patch", "replace", "delete", "served"]
WRITES: frozenset[Verb] = frozenset({"create", "apply", "merge_patch", "json_patch", "replace", "delete"})


class Crash(BaseException):
    """The process ends here: raised by a hook, and past every `except Exception` of the code under test."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    verb: Verb
    kind: str
    namespace: str
    name: str
    subresource: Literal["status"] | None = None

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES


@dataclass(frozen=True, slots=True)
class Write:
    """A write that reached the server, whatever it answered."""

    verb: Verb
    kind: str
    namespace: str
    name: str
    subresource: str | None
    at: datetime
    outcome: str
    """`changed`, `unchanged`, or the name of the error."""


class Hook(Protocol):
    """Called before a request leaves and after its effect; may raise `Crash` or cancel the calling task."""

    def __call__(self, when: Literal["before", "after"], call: Call, /) -> None: ...


@dataclass(slots=True)
class _Planned:
    verb: Verb | Literal["write", "any"]
    kind: str | None
    error: KubeError
    after_effect: bool
    times: int

    def concerns(self, call: Call) -> bool:
        fits = self.verb in ("any", call.verb) or (self.verb == "write" and call.is_write)
        return fits and self.kind in (None, call.kind)


class Faults:
    """The errors still to come."""

    def __init__(self) -> None:
        self._planned: deque[_Planned] = deque()
        self.unreachable = False

    def plan(
        self,
        verb: Verb | Literal["write", "any"],
        error: KubeError,
        *,
        kind: str | None,
        after_effect: bool,
        times: int,
    ) -> None:
        self._planned.append(_Planned(verb, kind, error, after_effect, times))

    def take(self, call: Call) -> _Planned | None:
        """The planned error that this call meets, now spent once."""
        planned = next((item for item in self._planned if item.concerns(call)), None)
        if planned is None:
            return None
        planned.times -= 1
        if planned.times == 0:
            self._planned.remove(planned)
        return planned

    def refuse_unreachable(self) -> None:
        if self.unreachable:
            raise Unavailable("cannot connect to the API server: connection refused")
