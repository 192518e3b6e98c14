"""People beside the operator: their clones of our templates are theirs, whatever they copied from us."""

from __future__ import annotations

import pytest

from tests.fakes.proxmox import Machine
from tests.simulation.lab import Lab

CLONE = 9001


def marks_of(machine: Machine) -> set[str]:
    return {tag for tag in machine.tags if tag.startswith("pg-")}


async def test_a_linked_clone_blocks_the_deletion_by_name_until_it_is_gone() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        await lab.people.linked_clone(vmid, CLONE, name="web")
        clone = lab.truth.machine(CLONE)

        replica = lab.replica("pve2")
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.condition(replica).get("reason") == "InUse")
        assert f"VM {CLONE} on node pve2" in lab.condition(replica)["message"]
        await lab.until(lambda: f"VM {CLONE} on node pve2" in lab.condition("vmtemplate/debian")["message"])
        await lab.quiet(for_s=3600)
        assert lab.truth.machine(CLONE) == clone
        assert lab.truth.machine(vmid).is_real_template
        assert lab.truth.mutation_counts()["destroy_vm"] == 2

        await lab.people.destroy(CLONE)
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
        assert lab.truth.leftover_volumes() == []


async def test_a_full_clone_does_not_block_the_deletion_and_is_not_touched() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        await lab.people.full_clone(lab.vmid("pve2"), CLONE, name="web")
        clone, content = lab.truth.machine(CLONE), lab.truth.disk_sha256(CLONE)

        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == [clone]
        assert lab.truth.disk_sha256(CLONE) == content


@pytest.mark.parametrize("as_template", [False, True], ids=["machine", "template"])
@pytest.mark.parametrize("full", [False, True], ids=["linked", "full"])
async def test_a_clone_that_copied_our_marks_is_never_taken_for_ours(full: bool, as_template: bool) -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        await (lab.people.full_clone if full else lab.people.linked_clone)(vmid, CLONE)
        if as_template:
            await lab.people.make_template(CLONE)
        clone = lab.truth.machine(CLONE)
        assert marks_of(clone) == marks_of(lab.truth.machine(vmid)), "the clone has our tag"
        assert clone.config["description"] == lab.truth.machine(vmid).config["description"]

        await lab.restart()
        await lab.quiet(for_s=2 * 3600)
        assert lab.vmid("pve2") == vmid
        assert lab.is_ready("vmtemplate/debian")
        assert lab.truth.machine(CLONE) == clone


async def test_a_clone_that_copied_our_marks_is_not_adopted_when_our_template_has_vanished() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve2"])
        vmid = lab.vmid("pve2")
        await lab.people.full_clone(vmid, CLONE)
        await lab.people.make_template(CLONE)
        clone = lab.truth.machine(CLONE)
        await lab.people.destroy(vmid)

        await lab.until(lambda: len(lab.truth.machines_marked()) == 1 and lab.is_ready("vmtemplate/debian"))
        assert lab.vmid("pve2") != CLONE
        assert lab.truth.machine(CLONE) == clone
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == [clone]


async def test_a_machine_made_under_the_vmid_of_a_vanished_template_is_left_alone() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve2"])
        vmid = lab.vmid("pve2")
        await lab.kill()
        await lab.people.destroy(vmid)
        await lab.people.create(vmid, "pve2", name="theirs", memory="512")
        theirs = lab.truth.machine(vmid)
        await lab.start()

        await lab.until(lambda: len(lab.truth.machines_marked()) == 1 and lab.is_ready("vmtemplate/debian"))
        assert lab.vmid("pve2") != vmid
        assert lab.truth.machine(vmid) == theirs


async def test_a_machine_restored_under_its_old_vmid_with_our_old_mark_is_ours_again_only_for_its_own_replica() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve2"])
        vmid = lab.vmid("pve2")
        config = lab.truth.machine(vmid).config
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        lab.pve.add_guest(vmid, "pve2", {key: config[key] for key in ("name", "tags", "description", "memory")})
        restored = lab.truth.machine(vmid)

        await lab.make_ready(nodes=["pve2"])
        assert lab.vmid("pve2") != vmid
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == [restored]


async def test_a_persons_own_copy_beside_the_plan_is_made_counted_and_never_pruned() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve1"])
        mine = {
            "apiVersion": "pantograph.dev/v1alpha1",
            "kind": "TemplateReplica",
            "metadata": {"name": "mine", "labels": {"team": "a"}},
            "spec": {
                "type": "Copy",
                "templateRef": {"name": "debian"},
                "clusterRef": {"name": "prod"},
                "node": "pve3",
                "storage": "local",
            },
        }
        await lab.apply(mine)
        await lab.until(lambda: lab.is_ready("templatereplica/mine"))
        await lab.until(lambda: lab.status("vmtemplate/debian")["replicas"]["extra"] == 1)
        assert lab.status("vmtemplate/debian")["replicas"]["summary"] == "1/1"
        assert sorted(machine.node for machine in lab.truth.machines_marked()) == ["pve1", "pve3"]

        await lab.restart()
        await lab.patch("vmtemplate/debian", {"spec": {"maxParallel": 2}})
        await lab.quiet(for_s=3600)
        body = lab.get("templatereplica/mine")
        assert body is not None
        assert body["metadata"]["labels"] == {"team": "a"}
        assert lab.is_ready("templatereplica/mine")


async def test_a_persons_own_copy_outlives_its_template_and_can_still_be_deleted() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve1"])
        replica = lab.get(lab.replica("pve1"))
        assert replica is not None
        spec = {key: replica["spec"][key] for key in ("type", "templateRef", "clusterRef", "storage")}
        await lab.apply(
            {
                "apiVersion": "pantograph.dev/v1alpha1",
                "kind": "TemplateReplica",
                "metadata": {"name": "mine"},
                "spec": {**spec, "node": "pve3"},
            }
        )
        await lab.until(lambda: lab.is_ready("templatereplica/mine"))
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        await lab.quiet()
        assert [machine.node for machine in lab.truth.machines()] == ["pve3"]
        assert lab.condition("templatereplica/mine")["reason"] == "TemplateNotFound"

        await lab.delete("templatereplica/mine")
        await lab.until(lambda: lab.get("templatereplica/mine") is None)
        assert lab.truth.machines() == []
