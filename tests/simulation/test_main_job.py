"""The main job: one declared image becomes a template on every node."""

from __future__ import annotations

from tests.simulation.lab import Lab


async def test_a_template_becomes_ready_on_all_three_nodes_with_equal_bytes() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        machines = lab.truth.machines_marked()
        assert sorted(machine.node for machine in machines) == ["pve1", "pve2", "pve3"]
        assert all(machine.is_real_template for machine in machines)
        assert len({lab.truth.disk_sha256(machine.vmid) for machine in machines}) == 1
        assert lab.status("vmtemplate/debian")["replicas"]["summary"] == "3/3"


async def test_a_template_says_ready_within_seconds_of_its_last_copy() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: len(lab.all("templatereplica")) == 3)
        replicas = [lab.replica(node) for node in lab.pve.nodes]
        await lab.until(lambda: all(lab.is_ready(replica) for replica in replicas))
        await lab.until_ready("vmtemplate/debian", within_s=2)
