"""Crash points: where an operator's life can end, and whether the world looks the same in the end all the same.

A `Tap` sits between the operator and both of its outsides. It counts every effect (API writes and Proxmox mutations) in
the order in which they are asked for, and strikes at the ones it is told to: the process dies before the call leaves,
or after its effect, or the answer is lost. `sweep` runs one job and its deletion under such a tap.

Nothing here knows which API server is behind the tap, so the same points and the same comparison serve the in-memory
one and a real one: wrap the client by `Tap.kube`, put `Tap.pve` among the simulated cluster's hooks, and compare what
`end_state` makes of the objects and of the simulated machines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pantograph.api.meta import Body, ResourceType
from pantograph.engine.kube import KubeApi, OutcomeUnknown
from tests.fakes.apiserver import Crash
from tests.fakes.proxmox import ConnectionLost, PveAnswer, Truth
from tests.fakes.proxmox.faults import Call as PveCall

Mode = Literal["killed before", "killed after", "answer lost"]
MODES: tuple[Mode, ...] = ("killed before", "killed after", "answer lost")
WRITES = frozenset({"create", "apply", "merge_patch", "json_patch", "replace", "delete"})


def spread(effects: int, count: int) -> list[tuple[int, Mode]]:
    """`count` crash points, spread evenly over the effects and over the modes: for where all would take too long."""
    return [(1 + at * (effects - 1) // max(1, count - 1), MODES[at % len(MODES)]) for at in range(count)]


@dataclass(slots=True)
class Tap:
    """Counts effects from 1 and strikes at those in `strikes`."""

    strikes: Mapping[int, Mode] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    """Every effect that was asked for, in words; effect k is `effects[k - 1]`."""
    struck: list[int] = field(default_factory=list)
    dead: bool = False
    """The process has been killed: whatever it still tries ends it again. `revive` begins the next life."""

    def revive(self) -> None:
        self.dead = False

    def before(self, effect: str) -> int:
        """An effect is about to be asked for; its number. Raises Crash."""
        self.breathe()
        self.effects.append(effect)
        number = len(self.effects)
        if self.strikes.get(number) == "killed before":
            self._kill(number)
        return number

    def after(self, number: int, lose: Callable[[], BaseException]) -> None:
        """The effect has happened. Raises Crash, or what `lose` makes if the answer is to be lost."""
        self.breathe()
        match self.strikes.get(number):
            case "killed after":
                self._kill(number)
            case "answer lost":
                self.struck.append(number)
                raise lose()

    def breathe(self) -> None:
        """A dead process does nothing more: raises Crash."""
        if self.dead:
            raise Crash("dead already")

    def kube(self, kube: KubeApi) -> KubeApi:
        """The client through which the operator speaks to its API server."""
        return cast(KubeApi, _TappedKube(kube, self))

    def pve(self) -> Callable[[PveCall, Literal["before", "after"]], None]:
        """A hook for `SimulatedCluster.faults.hooks`."""
        numbers: dict[int, int] = {}

        def hook(call: PveCall, when: Literal["before", "after"]) -> None:
            if not call.mutation:
                return
            if when == "before":
                numbers[call.number] = self.before(f"{call.verb} {call.path}")
            else:
                number = numbers.pop(call.number)
                self.after(number, _connection_reset if number % 2 else _gateway_timeout)

        return hook

    def _kill(self, number: int) -> None:
        self.struck.append(number)
        self.dead = True
        raise Crash(f"at effect {number}")


class _TappedKube:
    """Passes every call on; writes are effects."""

    def __init__(self, kube: KubeApi, tap: Tap) -> None:
        self._kube = kube
        self._tap = tap

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._kube, verb)
        if verb not in WRITES:
            return call

        async def write(resource: ResourceType, namespace: str, *args: Any, **options: Any) -> Any:
            target = args[0] if isinstance(args[0], str) else args[0]["metadata"]["name"]
            sub = f" {options['subresource']}" if options.get("subresource") else ""
            number = self._tap.before(f"{verb} {resource.kind}/{target}{sub}")
            answer = await call(resource, namespace, *args, **options)
            self._tap.after(number, _write_unknown)
            return answer

        return write


def _write_unknown() -> BaseException:
    return OutcomeUnknown("the connection broke while the answer was awaited")


def _connection_reset() -> BaseException:
    return ConnectionLost("Remote end closed connection without response", sent=True)


def _gateway_timeout() -> BaseException:
    return PveAnswer(596, "Connection timed out")


# -- the comparison --------------------------------------------------------------------------------------------------

_OF_THE_MOMENT = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "managedFields", "lastTransitionTime", "token", "updatedAt"}
    # By HMAC with the installation's key, which every lab makes for itself.
    | {"appliedDigest", "passwordFingerprint"}
)
_UID = re.compile(r"uid=[0-9a-f-]{36}")
_INSTALLATION = re.compile(r"installation=[0-9a-f]+")
_CARRIER = re.compile(r"pg-[0-9a-f]{16}-")


def end_state(bodies: Iterable[Body], truth: Truth) -> dict[str, Any]:
    """What two runs must agree on: every object's spec, status and finalizers; every machine, volume and staged file;
    and how often each kind of work was done outside.

    Without what is random or of the moment (uids, versions, times, VMIDs). That a VMID in a status belongs to the
    machine that carries the object's mark is told separately, under `placed`.
    """
    objects = {f"{body['kind']}/{body['metadata']['name']}": body for body in bodies}
    return {
        "objects": {name: _without_moment(body, truth) for name, body in sorted(objects.items())},
        "placed": {
            name: _own_vmids(body, truth) for name, body in sorted(objects.items()) if body["kind"] == "TemplateReplica"
        },
        "outside": json.loads(_masked(json.dumps(truth.state()))),
        "work": truth.mutation_counts(),
        "marked": len(truth.machines_marked()),
        "stubs": len(truth.stubs()),
    }


def difference(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where two end states differ, one line each; empty if they are equal."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        lines: list[str] = []
        for key in sorted({*expected, *found}):
            if key not in found:
                lines.append(f"{path}.{key}: missing, was {_short(expected[key])}")
            elif key not in expected:
                lines.append(f"{path}.{key}: new: {_short(found[key])}")
            else:
                lines += difference(expected[key], found[key], f"{path}.{key}")
        return lines
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for at, (one, other) in pairs for line in difference(one, other, f"{path}[{at}]")]
    return [] if expected == found else [f"{path}: {_short(found)}, was {_short(expected)}"]


def _without_moment(body: Body, truth: Truth) -> Any:
    text = _masked(json.dumps(_pruned(body)))
    for vmid in (machine.vmid for machine in truth.machines()):
        text = re.sub(rf'(\\?"vmid\\?": ){vmid}\b', r"\g<1>0", text)
        text = re.sub(rf"\b((?:VM|template|VMID) ){vmid}\b", r"\g<1>N", text)
    return json.loads(text)


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _pruned(item) for key, item in value.items() if key not in _OF_THE_MOMENT}
    return [_pruned(item) for item in value] if isinstance(value, list) else value


def _masked(text: str) -> str:
    return _CARRIER.sub("pg-UID-", _INSTALLATION.sub("installation=I", _UID.sub("uid=UID", text)))


def _own_vmids(body: Body, truth: Truth) -> str:
    """Whether the status names the one machine that carries this object's mark."""
    marked = [machine.vmid for machine in truth.machines_marked(body["metadata"]["uid"].replace("-", "")[:16])]
    named = body.get("status", {}).get("vmid")
    if body["spec"]["type"] == "Logical":
        return "names a machine" if named in {machine.vmid for machine in truth.machines()} else "names none"
    return "its own" if marked == [named] else f"status names {named}, marked are {marked}"


def _short(value: Any, limit: int = 300) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= limit else f"{text[:limit]}…"


@dataclass(frozen=True, slots=True)
class Failure:
    """One crash point whose end was another one."""

    strikes: Mapping[int, Mode]
    effects: Sequence[str]
    lines: Sequence[str]

    def __str__(self) -> str:
        where = "; ".join(
            f"{mode} {self.effects[k - 1] if k <= len(self.effects) else '?'} (k={k})"
            for k, mode in self.strikes.items()
        )
        return "\n    ".join([where, *self.lines[:12]])
