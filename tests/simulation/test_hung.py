"""A node or a cluster that takes calls and does not answer: it costs itself time, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pantograph.api.meta import Body
from tests.fakes.proxmox import SimulatedCluster
from tests.fakes.proxmox.answers import ConnectionLost
from tests.fakes.proxmox.faults import Call
from tests.fakes.proxmox.gate import PROXY_TIMEOUT_S
from tests.simulation.lab import IMAGE_URL, Lab, encoded

COPIES = 20
ROWS_EXPIRE_S = 330.0
OVERALL_S = 90.0
"""After so long a call is given up, however many endpoints were tried."""


@asynccontextmanager
async def lab_of_two_clusters(busy: str) -> AsyncIterator[tuple[Lab, SimulatedCluster]]:
    """A lab with `COPIES` ready copies on the node `busy` of `prod`, and with a second cluster, `other`."""
    async with Lab() as lab:
        other = SimulatedCluster(clock=lab.clock, random=lab.random, name="other", nodes=("one", "two"))
        lab.network.clusters["other"] = other
        token = {"tokenId": encoded(other.operator), "tokenSecret": encoded(other.token_secret)}
        await lab.apply(lab.credentials() | {"metadata": {"name": "other-token"}, "data": token})
        endpoints = [f"https://{node}.other:8006" for node in other.nodes]
        await lab.apply(lab.cluster("other", endpoints=endpoints, credentialsRef={"name": "other-token"}))
        await lab.apply(lab.template("debian", nodes=["pve1"], maxParallel=64))
        for number in range(COPIES):
            await lab.apply(copy(number, busy))
        await lab.until_ready("vmtemplate/debian")
        for number in range(COPIES):
            await lab.until_ready(f"templatereplica/copy-{number}")
        yield lab, other
        await other.close()


def copy(number: int, node: str) -> Body:
    spec: dict[str, Any] = {
        "type": "Copy",
        "templateRef": {"name": "debian"},
        "clusterRef": {"name": "prod"},
        "node": node,
        "storage": "local",
    }
    return {
        "apiVersion": "pantograph.dev/v1alpha1",
        "kind": "TemplateReplica",
        "metadata": {"name": f"copy-{number}"},
        "spec": spec,
    }


async def require_progress_elsewhere(lab: Lab, other: SimulatedCluster) -> None:
    """The other cluster's changes are noticed in time, each of several times."""
    for _ in range(5):
        other.faults.cut("two")
        await lab.until(lambda: lab.status("proxmoxcluster/other")["nodesOnline"] == "1/2", within_s=45)
        other.faults.mend("two")
        await lab.until(lambda: lab.status("proxmoxcluster/other")["nodesOnline"] == "2/2", within_s=45)


def reasons(lab: Lab) -> Sequence[tuple[str, str]]:
    """What Ready says of the copies, each once."""
    ready = [lab.condition(f"templatereplica/copy-{number}") for number in range(COPIES)]
    return sorted({(each["status"], each["reason"]) for each in ready})


async def test_a_hung_node_with_many_copies_delays_neither_healthy_nodes_nor_other_clusters() -> None:
    async with lab_of_two_clusters("pve2") as (lab, other):
        lab.pve.faults.hang("pve2")
        await lab.quiet(for_s=ROWS_EXPIRE_S)
        await lab.until(lambda: reasons(lab) == [("Unknown", "NodeUnreachable")], within_s=60)

        await lab.apply(lab.template("alma", url=IMAGE_URL, nodes=["pve1"], hardware={"cores": 2}))
        await lab.until_ready("vmtemplate/alma", within_s=60)
        await require_progress_elsewhere(lab, other)
        assert reasons(lab) == [("Unknown", "NodeUnreachable")]

        lab.pve.faults.thaw("pve2")
        await lab.until(lambda: reasons(lab) == [("True", "Succeeded")], within_s=120)


async def test_work_on_a_node_that_hangs_is_not_asked_after_and_is_followed_when_the_node_answers() -> None:
    async with lab_of_two_clusters("pve2") as (lab, other):
        lab.pve.faults.slow_copies(1000)
        busy = [lab.template(f"more-{number}", nodes=["pve2"], hardware={"cores": number + 2}) for number in range(12)]
        for template in busy:
            await lab.apply(template)
        await lab.until(lambda: sum(task.type == "qmcreate" for task in lab.pve.tasks.running()) == 12)
        lab.pve.faults.hang("pve2")
        await lab.quiet(for_s=60)
        await require_progress_elsewhere(lab, other)
        asked = lab.truth.calls["task_status"]
        await lab.quiet(for_s=600)
        assert lab.truth.calls["task_status"] == asked

        lab.pve.faults.slow_copies(1)
        lab.pve.faults.thaw("pve2")
        for template in busy:
            await lab.until_ready(f"vmtemplate/{template['metadata']['name']}")
        assert lab.truth.mutation_counts()["create_vm"] == 1 + COPIES + 12


async def test_a_node_that_hangs_when_it_is_asked_for_a_lost_create_loses_no_vmid() -> None:
    async with Lab() as lab:
        await lab.until_ready("proxmoxcluster/prod")
        created: list[str] = []

        def lose_create_then_hang(call: Call, when: str) -> None:
            if call.verb == "create_vm" and when == "before":
                created.append(call.params["vmid"])
                if len(created) == 1:
                    raise ConnectionLost("Connection reset by peer", sent=True)
            if call.verb == "vm_config" and when == "before" and len(created) == 1:
                lab.pve.faults.hang("pve1")

        lab.pve.faults.hooks.append(lose_create_then_hang)
        await lab.apply(lab.template("debian", nodes=["pve1"]))
        await lab.until(lambda: lab.pve.faults.frozen("pve1") is not None)
        await lab.quiet(for_s=600)
        assert str(lab.vmid("pve1")) == created[0]

        lab.pve.faults.hooks.clear()
        lab.pve.faults.thaw("pve1")
        await lab.until_ready("vmtemplate/debian")
        assert [str(machine.vmid) for machine in lab.truth.machines_marked()] == created


async def test_a_cluster_that_takes_calls_and_never_answers_delays_no_other_cluster() -> None:
    async with lab_of_two_clusters("pve2") as (lab, other):
        for node in lab.pve.nodes:
            lab.pve.faults.hang(node)
            lab.pve.faults.slow(node, OVERALL_S - PROXY_TIMEOUT_S)
        await require_progress_elsewhere(lab, other)
        await lab.until(lambda: reasons(lab) == [("Unknown", "ClusterUnreachable")], within_s=900)
        assert lab.condition("proxmoxcluster/prod", "Reachable")["status"] == "False"
        await require_progress_elsewhere(lab, other)

        await lab.restart()
        await lab.until(lambda: lab.condition("proxmoxcluster/other", "Reachable").get("status") == "True")
        await require_progress_elsewhere(lab, other)

        for node in lab.pve.nodes:
            lab.pve.faults.thaw(node)
            lab.pve.faults.slow(node, 0)
        await lab.until(lambda: reasons(lab) == [("True", "Succeeded")], within_s=300)


async def test_a_cluster_whose_answers_are_slow_is_used_all_the_same() -> None:
    async with Lab() as lab:
        await lab.until_ready("proxmoxcluster/prod")
        for node in lab.pve.nodes:
            lab.pve.faults.slow(node, 12.0)
        await lab.apply(lab.template("debian"))
        await lab.until_ready("vmtemplate/debian")
        changes = [lab.condition("proxmoxcluster/prod", "Reachable")["lastTransitionTime"]]
        await lab.quiet(for_s=1800)
        assert [lab.condition("proxmoxcluster/prod", "Reachable")["lastTransitionTime"]] == changes
        assert lab.is_ready("vmtemplate/debian")
