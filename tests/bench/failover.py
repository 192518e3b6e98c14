"""How long nobody leads: after a leader that stops in order, and after one that was killed. Reported, not judged here.

A test of the cluster tier judges that the successor finishes the same work.
"""

from __future__ import annotations

import json
import random
from time import monotonic

from hack.controlplane.process import free_ports
from hack.stage import SYSTEM, Operator, Stage, until
from tests.bench.results import Result

LEASE = "pantograph"


def run() -> list[Result]:
    """Two processes; the leader goes, the other takes over; then the other way round, by SIGKILL."""
    with Stage() as stage:
        stage.install_chart()
        # On one machine they cannot share the port that pods would share.
        ports = [str(port) for port in free_ports(2, rng=random.Random())]
        first = stage.start_operator("operator-1")
        first.await_ready()
        until(lambda: _holder(stage) == first.name, "the first leads")
        second = stage.start_operator("operator-2", PANTOGRAPH_DEPOT_PORT=ports[0])
        second.await_ready()
        began = monotonic()
        first.process.terminate()
        ordered_s = _taken_over(stage, second, began)
        third = stage.start_operator("operator-3", PANTOGRAPH_DEPOT_PORT=ports[1])
        third.await_ready()
        began = monotonic()
        second.process.kill()
        killed_s = _taken_over(stage, third, began)
    return [
        Result(name="failover.sigterm", value=ordered_s, unit="s"),
        Result(name="failover.sigkill", value=killed_s, unit="s"),
    ]


def _taken_over(stage: Stage, successor: Operator, began: float) -> float:
    until(lambda: _holder(stage) == successor.name, f"{successor.name} leads", process=successor.process)
    return monotonic() - began


def _holder(stage: Stage) -> str | None:
    lease = json.loads(stage.plane.kubectl("get", "lease", LEASE, "-n", SYSTEM, "-o", "json"))
    holder: str | None = lease["spec"].get("holderIdentity")
    return holder
