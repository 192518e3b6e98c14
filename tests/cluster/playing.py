"""What the tests of the operator as a whole share: what they declare, and what they read off the API server's log."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from hack.stage import SERVICE_ACCOUNT, SYSTEM, Body, Operator, Simulator, Stage, example, until
from tests.fakes.images import qcow2

ACCOUNT = f"system:serviceaccount:{SYSTEM}:{SERVICE_ACCOUNT}"
IMAGE = qcow2(payload=b"golden" * 20_000)
QUICK = ("--task-seconds", "0.05")
"""For tests in which nothing has to be caught while a task runs."""


def template(url: str, *, name: str = "debian", storage: str = "local", **spec: Any) -> Body:
    """The example's `VMTemplate` with another image."""
    body = example("vmtemplate")
    body["metadata"]["name"] = name
    body["spec"]["source"]["http"] = {"url": url}
    body["spec"]["placements"][0]["proxmox"]["storage"] = storage
    body["spec"] |= spec
    return body


def audited(stage: Stage, *, since: int = 0) -> list[Body]:
    """The operator's calls that the API server has answered, from line `since` of its audit log on."""
    lines = stage.plane.audit_log.read_bytes().splitlines()[since:]
    return [event for line in lines if ACCOUNT.encode() in line and (event := json.loads(line))]


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
    """Return when the operator has looked at every object, has nothing in hand, and has compared its cache with the
    API server after the relist with which its watch began: what happens at a start has happened."""

    def calm() -> bool:
        text = operator.metrics()
        lists = (_value(text, "pantograph_api_requests_total", f'resource="{kind}",verb="list"') for kind in KINDS)
        objects = _value(text, "pantograph_cached_objects")
        looked = _value(text, "pantograph_reconciles_total")
        busy = _value(text, "pantograph_queue_depth") + _value(text, "pantograph_operations_running")
        return min(lists) >= 2 and looked >= objects and busy == 0

    until(calm, f"{operator.name} calm", process=operator.process)


KINDS = ("proxmoxclusters", "vmtemplates", "templatereplicas")


def _value(text: str, name: str, labels: str = "") -> float:
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.M)
    return sum(float(value) for said, value in found if all(label in said for label in labels.split(",")))


def mutations(simulator: Simulator) -> list[str]:
    """Every change that was asked of the simulated cluster, refused ones included, in words."""
    return [f"{each['call']['verb']} {each['call']['path']}" for each in simulator.truth("mutations")]
