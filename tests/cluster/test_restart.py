"""A process that begins on a converged system reads and changes nothing, however the one before it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hack.stage import Operator, Simulator, Stage
from tests.cluster.playing import IMAGE, QUICK, audit_mark, audited, await_calm, mutations, template, writes


@dataclass
class Converged:
    """Two templates Ready on three nodes, and the operator that has made them."""

    stage: Stage
    simulator: Simulator
    operator: Operator


@pytest.fixture(scope="module")
def converged(whole_stage: Stage) -> Iterator[Converged]:
    with whole_stage.scene() as stage:
        simulator, operator = stage.start_simulator(*QUICK), stage.start_operator()
        url = stage.start_origin().put("debian.qcow2", IMAGE)
        stage.apply(*stage.connection(simulator), template(url), template(url, name="second"))
        stage.await_ready("vmtemplate/debian", "vmtemplate/second", "proxmoxcluster/pve")
        await_calm(operator)
        yield Converged(stage, simulator, operator)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_restart_on_a_converged_system_writes_nothing_and_changes_nothing_on_proxmox(
    converged: Converged, how: str
) -> None:
    stage, before = converged.stage, mutations(converged.simulator)
    versions = {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in stage.all(ALL)}
    mark = audit_mark(stage)
    if how == "SIGTERM":
        assert converged.operator.terminate() == 0
    else:
        converged.operator.kill()
    converged.operator = stage.start_operator()
    converged.operator.await_ready()
    await_calm(converged.operator)

    events = audited(stage, since=mark)
    assert {event["verb"] for event in events} >= {"list", "watch"}, "the new process is seen in the log"
    assert writes(events) == []
    assert {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in stage.all(ALL)} == versions
    assert mutations(converged.simulator) == before


ALL = "vmtemplates,templatereplicas,proxmoxclusters,configmaps,events,secrets"
