"""How long nobody leads: after a leader that stops in order, and after one that was killed. Reported, not judged here.

A test of the cluster tier judges that the successor finishes the same work.
"""

from __future__ import annotations

import json
from time import monotonic

from hack.stage import SYSTEM, Operator, Stage, until
from tests.bench.results import Result

LEASE = "pantograph"


def run() -> list[Result]:
    """Two processes; the leader goes, the other takes over; then the other way round, by SIGKILL."""
    with Stage() as stage:
        stage.install_chart()
        first = stage.start_operator("operator-1")
        first.await_ready()
        until(lambda: _holder(stage) == first.name, "the first leads")
        second = stage.start_operator("operator-2", **_ports(stage))
        second.await_ready()
        began = monotonic()
        first.process.terminate()
        ordered_s = _taken_over(stage, second, began)
        third = stage.start_operator("operator-3", **_ports(stage))
        third.await_ready()
        began = monotonic()
        second.process.kill()
        killed_s = _taken_over(stage, third, began)
    return [
        Result(name="failover.sigterm", value=ordered_s, unit="s"),
        Result(name="failover.sigkill", value=killed_s, unit="s"),
    ]


def _ports(stage: Stage) -> dict[str, str]:
    """On one machine two operators cannot share the ports that pods would share."""
    return {"PANTOGRAPH_DEPOT_PORT": str(stage.free_port()), "PANTOGRAPH_RUNS_PORT": str(stage.free_port())}


def _taken_over(stage: Stage, successor: Operator, began: float) -> float:
    until(lambda: _holder(stage) == successor.name, f"{successor.name} leads", process=successor.process)
    return monotonic() - began


def _holder(stage: Stage) -> str | None:
    lease = json.loads(stage.plane.kubectl("get", "lease", LEASE, "-n", SYSTEM, "-o", "json"))
    holder: str | None = lease["spec"].get("holderIdentity")
    return holder
