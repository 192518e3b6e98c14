"""What the tests of the operator as a whole share: what they declare, and what they read off the API server's log."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from hack.stage import KINDS, SERVICE_ACCOUNT, SYSTEM, Body, Operator, Simulator, Stage, example, until
from pantograph.api.kstatus import Verdict, verdict
from tests.chart.argocd import ARGO_OF, health
from tests.fakes.images import qcow2

ACCOUNT = f"system:serviceaccount:{SYSTEM}:{SERVICE_ACCOUNT}"
IMAGE = qcow2(payload=b"golden" * 20_000)
QUICK = ("--task-seconds", "0.05")
"""For tests in which nothing has to be caught while a task runs."""
PATIENT = {"PANTOGRAPH_LEASE_DURATION": "300s", "PANTOGRAPH_LEASE_RENEW_DEADLINE": "240s"}
"""For an operator that is to live through an absence of the API server: by default it ends itself after 10 s."""
SLOW = 500
"""`slow_copies` by this: an import lasts two minutes, and goes on at full speed within 4 s of `slow_copies` by 1."""


def template(url: str, *, name: str = "debian", storage: str = "local", **spec: Any) -> Body:
    """The example's `VMTemplate` with another image."""
    body = example("vmtemplate")
    body["metadata"]["name"] = name
    body["spec"]["source"]["http"] = {"url": url}
    body["spec"]["placements"][0]["proxmox"]["storage"] = storage
    body["spec"] |= spec
    return body


def audited(stage: Stage, *, since: int = 0) -> list[Body]:
    """The operator's calls about resources that the API server has answered, from line `since` of its audit log on."""
    lines = stage.plane.audit_log.read_bytes().splitlines()[since:]
    return [event for line in lines if ACCOUNT.encode() in line and "objectRef" in (event := json.loads(line))]


def audit_mark(stage: Stage) -> int:
    """Where the audit log ends now, for `audited`."""
    return len(stage.plane.audit_log.read_bytes().splitlines())


def writes(events: Sequence[Body]) -> list[str]:
    """The changes among them, but for the Lease, in words."""
    return [
        f"{event['verb']} {resource_of(event)}/{event['objectRef'].get('name')} {event['responseStatus']['code']}"
        for event in events
        if event["verb"] not in ("get", "list", "watch") and event["objectRef"]["resource"] != "leases"
    ]


def resource_of(event: Body) -> str:
    """`group/resource/subresource`, the core group without a name."""
    reference = event["objectRef"]
    parts = (reference.get("apiGroup"), reference["resource"], reference.get("subresource"))
    return "/".join(part for part in parts if part)


def await_calm(operator: Operator) -> None:
    """Return when the operator has listed every kind, has looked at every object, and has nothing in hand: what happens
    at a start has happened."""

    def calm() -> bool:
        text = operator.metrics()
        lists = (_value(text, "pantograph_api_requests_total", f'resource="{kind}",verb="list"') for kind in WATCHED)
        objects = _value(text, "pantograph_cached_objects")
        looked = _value(text, "pantograph_reconciles_total")
        busy = _value(text, "pantograph_queue_depth") + _value(text, "pantograph_operations_running")
        return min(lists) >= 1 and looked >= objects and busy == 0

    until(calm, f"{operator.name} calm", process=operator.process)


WATCHED = (*KINDS.split(","), "jobs")


def _value(text: str, name: str, labels: str = "") -> float:
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.M)
    return sum(float(value) for said, value in found if all(label in said for label in labels.split(",")))


def mutations(simulator: Simulator) -> list[str]:
    """Every change that was asked of the simulated cluster, refused ones included, in words."""
    return [f"{each['call']['verb']} {each['call']['path']}" for each in simulator.truth("mutations")]


def disagreements(stage: Stage) -> list[str]:
    """Objects of ours of which kstatus, Argo CD's health script and their own Ready do not say the same."""
    return [
        f"{body['kind']}/{body['metadata']['name']}: "
        f"Ready={_is_ready(body)}, kstatus={verdict(body)}, Argo CD={health(body)}"
        for body in stage.all(KINDS)
        if not _agree(body)
    ]


def _is_ready(body: Body) -> bool:
    """As `kubectl wait --for=condition=Ready` sees it."""
    status, generation = body.get("status", {}), body["metadata"]["generation"]
    ready: Body = next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})
    seen = {status.get("observedGeneration", generation), ready.get("observedGeneration", generation)}
    return ready.get("status") == "True" and seen == {generation}


def _agree(body: Body) -> bool:
    said = verdict(body)
    if said is Verdict.TERMINATING:
        return health(body) == "Progressing"
    if body["spec"].get("suspend"):
        return health(body) == "Suspended"
    return (said is Verdict.CURRENT) == _is_ready(body) and health(body) == ARGO_OF[said]
