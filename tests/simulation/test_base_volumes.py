"""Storages that hold no base volumes: Proxmox calls a conversion there OK, and no linked clone can ever be made."""

from __future__ import annotations

import pytest

from tests.fakes.proxmox import Storage
from tests.simulation.lab import Lab

BLOCKS = frozenset({"images", "rootdir"})


def lab_with(storage: Storage) -> Lab:
    return Lab(nodes=("pve1", "pve2"), storages=[Storage("local"), storage])


@pytest.mark.parametrize("type", ["lvm", "iscsi", "iscsidirect"])
async def test_a_storage_known_to_hold_no_base_volumes_is_refused_before_a_byte_moves(type: str) -> None:
    async with lab_with(Storage("thick", type=type, content=BLOCKS)) as lab:
        await lab.apply(lab.template("debian", storage="thick", nodes=["pve1"]))
        await lab.until(lambda: lab.all("templatereplica"))
        replica = lab.replica("pve1")
        await lab.until_reason(replica, "NoBaseVolumes")
        message = lab.condition(replica)["message"]
        assert f"storage thick of type {type} holds no base volumes" in message
        assert "lvmthin" in message
        assert lab.condition(replica, "Stalled")["status"] == "True"
        writes = len(lab.server.writes)
        await lab.quiet(for_s=7200)
        assert lab.truth.mutations == []
        assert lab.server.writes[writes:] == []


async def test_a_conversion_that_comes_to_nothing_stalls_the_copy_and_is_not_asked_for_again() -> None:
    async with lab_with(Storage("san", type="vendorsan", content=BLOCKS)) as lab:
        await lab.apply(lab.template("debian", storage="san", nodes=["pve1"]))
        await lab.until(lambda: lab.all("templatereplica"))
        replica = lab.replica("pve1")
        await lab.until_reason(replica, "NoBaseVolumes")
        vmid = lab.vmid("pve1")
        assert f"disk san:vm-{vmid}-disk-0 (scsi0) of template {vmid}" in lab.condition(replica)["message"]
        assert lab.condition(replica, "Stalled")["status"] == "True"
        asked = lab.truth.mutation_counts()["convert_to_template"]
        assert asked <= 2
        await lab.quiet(for_s=60)
        writes = len(lab.server.writes)
        await lab.quiet(for_s=7200)
        assert lab.truth.mutation_counts()["convert_to_template"] == asked
        assert lab.server.writes[writes:] == []

        await lab.people.move_disk(vmid, "scsi0", "local")
        await lab.until_ready(replica)
        assert lab.truth.machine(vmid).is_real_template


async def test_a_stalled_conversion_is_tried_once_more_when_somebody_asks() -> None:
    san = Storage("san", type="vendorsan", content=BLOCKS)
    async with lab_with(san) as lab:
        await lab.apply(lab.template("debian", storage="san", nodes=["pve1"]))
        await lab.until(lambda: lab.all("templatereplica"))
        replica = lab.replica("pve1")
        await lab.until_reason(replica, "NoBaseVolumes")
        await lab.quiet(for_s=60)

        san.type = "zfspool"  # the vendor's plugin was mended
        await lab.patch(replica, {"metadata": {"annotations": {"pantograph.dev/reconcile-at": "now"}}})
        await lab.until_ready(replica)
        assert lab.truth.machine(lab.vmid("pve1")).is_real_template


async def test_a_template_whose_disk_people_moved_to_thick_lvm_stays_ready_and_is_kept_as_declared() -> None:
    async with lab_with(Storage("thick", type="lvm", content=BLOCKS)) as lab:
        await lab.make_ready(nodes=["pve1"])
        vmid, replica = lab.vmid("pve1"), lab.replica("pve1")
        await lab.people.move_disk(vmid, "scsi0", "thick")
        assert lab.truth.machine(vmid).disks["scsi0"] == f"thick:vm-{vmid}-disk-0"
        converted = lab.truth.mutation_counts()["convert_to_template"]

        await lab.apply(lab.template("debian", nodes=["pve1"], hardware={"cores": 3}))
        await lab.until(lambda: lab.truth.machine(vmid).config["cores"] == "3" and lab.is_ready(replica))
        lab.people.lose_template_flag(vmid)
        await lab.until(lambda: lab.truth.machine(vmid).template and lab.is_ready(replica))
        await lab.people.full_clone(vmid, 9001)
        await lab.quiet(for_s=7200)
        assert lab.is_ready("vmtemplate/debian")
        assert lab.truth.mutation_counts()["convert_to_template"] == converted

        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert [machine.vmid for machine in lab.truth.machines()] == [9001]
