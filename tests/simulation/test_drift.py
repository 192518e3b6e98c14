"""What happens to a finished template behind the operator's back, and how it is put right."""

from __future__ import annotations

from tests.fakes.proxmox import Machine
from tests.fakes.proxmox.faults import Call
from tests.simulation.lab import Lab

VERIFIED_WITHIN_S = 2 * 3600.0
"""A change that the bulk listing does not show is found when the configuration is read again."""


def is_whole(machine: Machine) -> bool:
    return machine.is_real_template and machine.lock is None


async def test_a_template_destroyed_outside_is_made_again() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        gone = lab.vmid("pve2")
        await lab.people.destroy(gone)
        await lab.until(lambda: len(lab.truth.machines_marked()) == 3 and lab.is_ready("vmtemplate/debian"))
        assert {machine.node for machine in lab.truth.machines_marked()} == {"pve1", "pve2", "pve3"}
        assert len({lab.truth.disk_sha256(machine.vmid) for machine in lab.truth.machines_marked()}) == 1
        await lab.quiet()
        assert lab.truth.staged_files() == []


async def test_a_template_destroyed_outside_is_made_again_though_the_origin_is_gone_as_long_as_the_depot_holds_it() -> (
    None
):
    async with Lab() as lab:
        await lab.make_ready()
        lab.disk.origin.clear()
        await lab.people.destroy(lab.vmid("pve2"))
        await lab.until(lambda: len(lab.truth.machines_marked()) == 3 and lab.is_ready("vmtemplate/debian"))
        assert len(lab.disk.fetches) == 1


async def test_a_lost_template_flag_is_set_again_and_no_byte_moves() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        lab.people.lose_template_flag(vmid)
        await lab.until(lambda: is_whole(lab.truth.machine(vmid)))
        await lab.until(lambda: lab.is_ready(lab.replica("pve2")))
        counts = lab.truth.mutation_counts()
        assert counts["create_vm"] == 3
        assert counts["convert_to_template"] == 3


async def test_a_lost_template_flag_is_not_set_while_a_linked_clone_depends_on_the_disks() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        await lab.people.linked_clone(vmid, 9001)
        lab.people.lose_template_flag(vmid)
        await lab.until(lambda: lab.condition(lab.replica("pve2"))["reason"] == "InUse")
        message = lab.condition(lab.replica("pve2"))["message"]
        assert f"template {vmid} on node pve2 cannot be made a template again" in message
        assert "VM 9001 on node pve2" in message
        await lab.quiet(for_s=3600)
        assert not lab.truth.machine(vmid).template
        assert lab.status(lab.replica("pve2"))["phase"] == "NotTemplate"

        await lab.people.destroy(9001)
        await lab.until(lambda: is_whole(lab.truth.machine(vmid)))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))


async def test_a_started_machine_is_not_made_a_template_again_before_it_is_stopped() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        lab.people.lose_template_flag(vmid)
        await lab.people.start(vmid)
        await lab.until(lambda: lab.condition(lab.replica("pve2"))["reason"] == "Running")
        assert f"qm shutdown {vmid}" in lab.condition(lab.replica("pve2"))["message"]
        await lab.people.stop(vmid)
        await lab.until(lambda: is_whole(lab.truth.machine(vmid)))


async def test_an_edited_description_gets_our_mark_back_and_keeps_what_the_person_wrote() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        mark = lab.truth.machine(vmid).config["description"]
        await lab.people.set_config(vmid, description="Ask Ada before you use it.")
        await lab.until(
            lambda: mark in lab.truth.machine(vmid).config["description"].splitlines(), within_s=VERIFIED_WITHIN_S
        )
        assert lab.truth.machine(vmid).config["description"].splitlines()[0] == "Ask Ada before you use it."
        await lab.until(lambda: lab.is_ready(lab.replica("pve2")))


async def test_edited_tags_get_our_mark_back_within_a_minute() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        before = lab.truth.machine(lab.vmid("pve2"))
        await lab.people.set_config(before.vmid, tags="blessed")
        await lab.until(lambda: set(before.tags) <= set(lab.truth.machine(before.vmid).tags), within_s=60)
        assert lab.is_ready("vmtemplate/debian")
        assert lab.truth.mutation_counts()["create_vm"] == 3


async def test_a_machine_whose_mark_is_wholly_gone_is_neither_destroyed_nor_replaced_silently() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve2"])
        vmid = lab.vmid("pve2")
        await lab.people.set_config(vmid, tags="", description="")
        bare = lab.truth.machine(vmid)
        await lab.until(lambda: lab.truth.machines_marked() and lab.is_ready("vmtemplate/debian"))
        assert lab.vmid("pve2") != vmid
        assert lab.truth.machine(vmid) == bare


async def test_a_template_moved_to_another_node_is_named_with_the_way_back() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        lab.people.move(vmid, "pve3")
        await lab.until(lambda: lab.condition(lab.replica("pve2"))["reason"] == "Moved")
        assert f"qm migrate {vmid} pve2" in lab.condition(lab.replica("pve2"))["message"]
        await lab.quiet(for_s=3600)
        assert lab.truth.mutation_counts()["create_vm"] == 3
        assert len(lab.truth.machines()) == 3

        lab.people.move(vmid, "pve2")
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))


async def test_a_moved_template_is_destroyed_where_it_is_when_its_template_is_deleted() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        lab.people.move(lab.vmid("pve2"), "pve3")
        await lab.until(lambda: lab.condition(lab.replica("pve2"))["reason"] == "Moved")
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
        assert lab.truth.leftover_volumes() == []


async def test_a_staged_file_removed_by_hand_midway_is_downloaded_again() -> None:
    async with Lab() as lab:

        def hook(call: Call, when: str) -> None:
            if when == "before" and call.verb == "create_vm" and call.node == "pve2":
                lab.pve.faults.hooks.remove(hook)
                (file,) = [file for file in lab.truth.staged_files() if file.node == "pve2"]
                lab.people.remove_staged_file("pve2", file.storage, file.name)

        lab.pve.faults.hooks.append(hook)
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert lab.truth.mutation_counts()["download_url"] == 4
        assert len(lab.truth.machines()) == 3
        await lab.quiet()
        assert lab.truth.staged_files() == []
        assert lab.truth.leftover_volumes() == []


async def test_a_listing_that_lags_by_minutes_neither_hides_nor_doubles_anything() -> None:
    async with Lab() as lab:
        lab.pve.faults.lag_listing(240)
        await lab.make_ready()
        await lab.quiet(for_s=3600)
        assert lab.is_ready("vmtemplate/debian")
        counts = lab.truth.mutation_counts()
        assert (counts["create_vm"], counts["convert_to_template"]) == (3, 3)

        await lab.people.destroy(lab.vmid("pve2"))
        await lab.until(lambda: len(lab.truth.machines_marked()) == 3 and lab.is_ready("vmtemplate/debian"))
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []


async def test_a_listing_emptied_by_lost_rights_recreates_nothing_and_deletes_nothing() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        mutations, vmids = len(lab.truth.mutations), {machine.vmid for machine in lab.truth.machines()}
        lab.pve.faults.lose_rights("/vms", "VM.Audit")
        await lab.until(lambda: lab.condition("proxmoxcluster/prod", "Authorized")["status"] == "False")
        assert "VM.Audit" in lab.condition("proxmoxcluster/prod")["message"]
        await lab.until(lambda: {lab.condition(lab.replica(node))["status"] for node in lab.pve.nodes} == {"Unknown"})
        await lab.restart()
        await lab.quiet(for_s=2 * 3600)
        assert len(lab.truth.mutations) == mutations
        assert {machine.vmid for machine in lab.truth.machines()} == vmids
        assert lab.condition("vmtemplate/debian", "Degraded")["status"] == "True"

        lab.pve.faults.regain_rights("/vms", "VM.Audit")
        await lab.until(lambda: all(lab.is_ready(lab.replica(node)) for node in lab.pve.nodes))
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Degraded") == {})
        assert len(lab.truth.mutations) == mutations


async def test_rights_lost_while_a_template_is_deleted_destroy_nothing_until_they_are_back() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        lab.pve.faults.lose_rights("/vms", "VM.Audit")
        await lab.delete("vmtemplate/debian")
        await lab.quiet(for_s=3600)
        assert lab.get("vmtemplate/debian") is not None
        assert len(lab.truth.machines()) == 3
        assert "VM.Audit" in lab.condition("vmtemplate/debian")["message"]

        lab.pve.faults.regain_rights("/vms", "VM.Audit")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []


async def test_a_lost_quorum_stops_the_making_and_its_return_completes_it() -> None:
    async with Lab() as lab:
        lab.pve.faults.slow_copies(30)
        await lab.apply(lab.template("debian"))
        await lab.until(lab.truth.stubs)
        lab.pve.faults.lose_quorum()
        await lab.quiet(for_s=60)
        mutations = len(lab.truth.mutations)
        await lab.quiet(for_s=1800)
        assert len(lab.truth.mutations) == mutations
        assert lab.condition("proxmoxcluster/prod")["reason"] == "QuorumLost"
        assert {lab.condition(lab.replica(node))["reason"] for node in lab.pve.nodes} == {"QuorumLost"}

        lab.pve.faults.regain_quorum()
        lab.pve.faults.slow_copies(1)
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert len(lab.truth.machines()) == 3
        await lab.quiet()
        assert lab.truth.leftover_volumes() == []
