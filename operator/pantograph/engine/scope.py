"""One reconcile's view of one object: what was read, what will be reported, and when to look again.

A kind derives its own scope, with what its steps need:

    @dataclass(kw_only=True)
    class ReplicaScope(Scope[TemplateReplica, TemplateReplicaStatus]):
        pve: Proxmox
        machine: Machine | None = None      # filled by `observe`

Steps change `scope.status` in memory. How the reconcile ends decides `Ready`, `Reconciling` and `Stalled`:

    how it ends              Ready                     Reconciling              Stalled
    returned                 True Succeeded            -                        -
    Waiting(R)               False R                   True R                   -
    Transient(R)             False R                   True ProgressingWithRetry -
    Terminal(R)              False R                   -                        True R

`scope.ready(...)` replaces the Ready of the first three lines (a template that is usable though one place waits says
`scope.ready(reason="Degraded", ...)` and may then raise Waiting); Terminal overrules it. Other conditions are the
kind's own: `scope.set_condition(...)`, `scope.drop_condition(...)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from pantograph.api import conditions
from pantograph.api.base import CommonStatus, Resource
from pantograph.api.conditions import Condition, ConditionStatus
from pantograph.api.meta import RECONCILE_AT, Body, Key, to_body
from pantograph.clock import Clock

from .errors import StepError, Terminal, Transient, Waiting
from .kube import Conflict, KubeApi, OutcomeUnknown
from .services import Services

R = TypeVar("R", bound=Resource[Any, Any])
S = TypeVar("S", bound=CommonStatus)


@dataclass(kw_only=True)
class Scope(Generic[R, S]):
    """`object` is as the API server has it; `status` is what it will be told."""

    object: R
    services: Services
    status: S = field(init=False)
    again_in: float | None = field(init=False, default=None)
    _body: Body = field(init=False, default_factory=dict, repr=False)
    _ready: Condition | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        # Not deep: steps put new values in, they change none, as the object is shared.
        self.status = self.object.status.model_copy()

    # What steps read

    @property
    def key(self) -> Key:
        return self.object.key

    @property
    def spec(self) -> Any:
        """`object.spec`; steps that want its type write `scope.object.spec`."""
        return self.object.spec

    @property
    def kube(self) -> KubeApi:
        return self.services.kube

    @property
    def clock(self) -> Clock:
        return self.services.clock

    @property
    def now(self) -> datetime:
        return self.services.clock.now()

    @property
    def generation(self) -> int:
        return self.object.metadata.generation

    @property
    def requested(self) -> str | None:
        """The token of a `reconcile-at` annotation that was not obeyed yet: look afresh, trust no memory."""
        token = self.object.metadata.annotations.get(RECONCILE_AT)
        return token if token != self.object.status.last_handled_reconcile_at else None

    # What steps say

    def set_condition(self, type: str, status: bool | ConditionStatus, *, reason: str, message: str = "") -> None:
        """One of the kind's own conditions; Ready, Reconciling and Stalled follow from how the reconcile ends."""
        if type in (conditions.READY, conditions.RECONCILING, conditions.STALLED):
            raise ValueError(f"{type} follows from how the reconcile ends: use scope.ready, or raise a StepError")
        self.status.conditions = conditions.put(self.status.conditions, self._condition(type, status, reason, message))

    def drop_condition(self, *types: str) -> None:
        """These conditions no longer say anything."""
        self.status.conditions = conditions.drop(self.status.conditions, *types)

    def condition(self, type: str) -> Condition | None:
        return conditions.find(self.status.conditions, type)

    def ready(self, *, reason: str = "Succeeded", message: str = "", status: bool | ConditionStatus = True) -> None:
        """What Ready says if the reconcile ends well, or with Waiting or Transient. The last call holds."""
        self._ready = self._condition(conditions.READY, status, reason, message)

    def look_again(self, after: float) -> None:
        """Reconcile again in `after` seconds at the latest; of several, the earliest holds."""
        self.again_in = after if self.again_in is None else min(self.again_in, after)

    async def commit(self, expected_end: StepError | None = None) -> None:
        """Write the status now: before a call outside, so that a crash finds the intent.

        With `expected_end` (the Waiting that will end this reconcile) the conditions go with it, which saves a write.
        Carries the resourceVersion: raises Conflict if the object changed, also if that cannot be told.
        """
        if expected_end is not None:
            self.conclude(expected_end)
        await self.write_status()

    # What the skeleton and the operation record use

    def accept(self, body: Body) -> None:
        """The object is now `body` (an answer of the API server); what steps put into `status` stays."""
        if self._body and body["metadata"]["resourceVersion"] != self._body["metadata"]["resourceVersion"]:
            self.object = self.services.cache.parse(body, type(self.object))
        self._body = body
        self.services.learn(body)

    def conclude(self, end: StepError | None) -> None:
        """Derive the conditions from how the reconcile ends."""
        self.status.observed_generation = self.generation
        if token := self.object.metadata.annotations.get(RECONCILE_AT):
            self.status.last_handled_reconcile_at = token
        summary = _summary(end, generation=self.generation, now=self.now)
        if self._ready is not None and not isinstance(end, Terminal):
            summary = conditions.put(summary, self._ready)
        self.status.conditions = conditions.summarize(self.status.conditions, summary)

    async def write_status(self, *, last: bool = False) -> bool:
        """Send what differs from the API server's status, if anything does. Raises Conflict, NotFound, KubeError.

        After the `last` write of a reconcile nobody reads the scope again: the answer goes to the cache and to whom
        it concerns only.
        """
        wanted = to_body(self.status)
        changes = changed(self._body.get("status") or {}, wanted)
        if not changes:
            return False
        meta = self._body["metadata"]
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": changes}
        resource = self.object.info.resource
        try:
            answer = await self.kube.merge_patch(
                resource, self.key.namespace, self.key.name, patch, subresource="status"
            )
        except OutcomeUnknown as lost:
            answer = await self.kube.get(resource, self.key.namespace, self.key.name)
            if answer["metadata"]["uid"] != meta["uid"] or changed(answer.get("status") or {}, wanted):
                self.services.learn(answer)
                raise Conflict(f"the answer to a write of {self.key} was lost, and it was not done") from lost
        if last:
            self.services.learn(answer)
        else:
            self.accept(answer)
        return True

    async def patch_status(self, patch: Sequence[Mapping[str, Any]]) -> None:
        """Change a part of the status by JSON patch, under its own tests. Raises Invalid if one of them fails.

        It is done also where somebody changed the spec, or asked for a reconcile, meanwhile. What the steps have seen
        is old then: raises Conflict.
        """
        answer = await self.kube.json_patch(
            self.object.info.resource, self.key.namespace, self.key.name, patch, subresource="status"
        )
        if _wished(answer) != _wished(self._body):
            self.services.learn(answer)
            raise Conflict(f"{self.key} was changed while its status was written")
        self.accept(answer)

    @property
    def body(self) -> Body:
        """The object as the API server last gave it."""
        return self._body

    def _condition(self, type: str, status: bool | ConditionStatus, reason: str, message: str) -> Condition:
        if isinstance(status, bool):
            status = ConditionStatus.TRUE if status else ConditionStatus.FALSE
        return conditions.condition(
            type, status, reason=reason, message=message, generation=self.generation, now=self.now
        )


def _wished(body: Body) -> tuple[int | None, str | None]:
    """What people want of the object, as far as it is counted and stamped."""
    meta = body["metadata"]
    return meta.get("generation"), (meta.get("annotations") or {}).get(RECONCILE_AT)


def _summary(end: StepError | None, *, generation: int, now: datetime) -> list[Condition]:
    match end:
        case None:
            return conditions.ready(generation=generation, now=now)
        case Waiting():
            return conditions.waiting(end.reason, end.text, generation=generation, now=now)
        case Transient():
            return conditions.transient(end.reason, end.text, generation=generation, now=now)
        case _:
            return conditions.terminal(end.reason, end.text, generation=generation, now=now)


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch that makes `new` of `old`: empty if they are equal; lists are replaced whole."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := changed(before, value):
                patch[name] = inner
        elif value != before or name not in old:
            patch[name] = value
    return patch
