"""Images on their way: fetched by a node, imported, converted, cloned. The bytes are real."""

from __future__ import annotations

import hashlib
import random

import pytest

from pantograph.providers.errors import MissingPrivilege, Rejected
from pantograph.providers.proxmox.errors import Call, task_error
from pantograph.providers.proxmox.tasks import progress
from tests.contract.proxmox.world import GIB, IMAGE, IMAGE_SHA256, STAGED, SimulatedWorld
from tests.fakes.proxmox import People, SimulatedCluster, Storage, Truth, qcow2, serving

SHA256 = f"sha256:{IMAGE_SHA256}"


async def test_a_node_fetches_the_bytes_themselves(sim: SimulatedWorld) -> None:
    await sim.stage()
    [staged] = sim.truth.staged_files()
    assert (staged.node, staged.storage, staged.name) == ("pve1", "local", STAGED)
    assert (staged.size, staged.sha256) == (len(IMAGE), IMAGE_SHA256)
    [volume] = await sim.api.content("pve1", "local", content="import")
    assert (volume.volid, volume.size, volume.format) == (f"local:import/{STAGED}", len(IMAGE), "qcow2")


async def test_a_node_sees_what_lies_at_a_url(sim: SimulatedWorld) -> None:
    seen = await sim.api.query_url_metadata("pve1", sim.world.image_url)
    assert (seen.filename, seen.size) == ("image.qcow2", len(IMAGE))


async def test_fetching_again_moves_no_bytes(sim: SimulatedWorld) -> None:
    await sim.stage()
    sim.sim.faults.block_url("pve1", "http://")
    await sim.stage()
    assert len(sim.truth.staged_files()) == 1


async def test_other_bytes_than_declared_are_removed(sim: SimulatedWorld) -> None:
    upid = await sim.api.download_url(
        "pve1", "local", url=sim.world.image_url, filename=STAGED, checksum=f"sha256:{'0' * 64}"
    )
    status = await sim.world.done(upid)
    assert status.exitstatus == f"checksum mismatch: got '{IMAGE_SHA256}' != expect '{'0' * 64}'"
    assert sim.truth.staged_files() == []


async def test_a_file_with_other_content_is_not_replaced(sim: SimulatedWorld) -> None:
    await sim.stage()
    upid = await sim.api.download_url(
        "pve1", "local", url=sim.world.image_url, filename=STAGED, checksum=f"sha256:{'0' * 64}"
    )
    status = await sim.world.done(upid)
    assert status.exitstatus is not None
    assert task_error(status.exitstatus, call=Call()).reason == "StagedFileDiffers"
    assert [file.sha256 for file in sim.truth.staged_files()] == [IMAGE_SHA256]


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda sim: sim.sim.faults.block_url("pve1", "http://"), "DownloadFailed"),
        (lambda sim: sim.sim.faults.fill_storage("local", "pve1", leave_bytes=1000), "StorageFull"),
        (lambda sim: setattr(sim.sim, "fetch", serving({})), "DownloadFailed"),
        (lambda sim: setattr(sim.sim, "fetch", serving({sim.world.image_url: qcow2(backing_file=True)})), None),
    ],
    ids=["unreachable", "full", "404", "other-image"],
)
async def test_a_download_that_fails_says_why_and_leaves_nothing(
    sim: SimulatedWorld, break_it: object, reason: str | None
) -> None:
    assert callable(break_it)
    break_it(sim)
    upid = await sim.api.download_url("pve1", "local", url=sim.world.image_url, filename=STAGED, checksum=SHA256)
    status = await sim.world.done(upid)
    assert status.exitstatus is not None
    error = task_error(status.exitstatus, await sim.api.task_log(upid), call=Call(node="pve1", storage="local"))
    assert error.reason == (reason or "ChecksumMismatch")
    assert sim.truth.staged_files() == []


async def test_an_image_with_a_backing_file_is_refused(sim: SimulatedWorld) -> None:
    image = qcow2(backing_file=True)
    sim.sim.fetch = serving({"http://x/b.qcow2": image})
    checksum = f"sha256:{hashlib.sha256(image).hexdigest()}"
    upid = await sim.api.download_url("pve1", "local", url="http://x/b.qcow2", filename="b.qcow2", checksum=checksum)
    status = await sim.world.done(upid)
    assert task_error(status.exitstatus or "", call=Call()).reason == "UnsafeImage"
    assert sim.truth.staged_files() == []


async def test_a_storage_without_import_content_is_named_with_the_command_that_allows_it(sim: SimulatedWorld) -> None:
    sim.sim.faults.remove_content_type("local", "import")
    with pytest.raises(Rejected) as refused:
        await sim.api.download_url("pve1", "local", url=sim.world.image_url, filename=STAGED, checksum=SHA256)
    assert refused.value.reason == "StorageLacksContent"
    assert "pvesm set local --content" in (refused.value.remedy or "")


@pytest.mark.parametrize("version", ["8.2.4", "8.3.5"])
async def test_a_node_before_8_4_imports_no_qcow2(sim: SimulatedWorld, version: str) -> None:
    sim.sim.nodes["pve1"].version = version
    with pytest.raises(Rejected) as refused:
        await sim.api.download_url("pve1", "local", url=sim.world.image_url, filename=STAGED, checksum=SHA256)
    assert refused.value.reason == "ImportUnsupported"


@pytest.mark.parametrize(
    ("path", "privilege"), [("/storage/local", "Datastore.AllocateTemplate"), ("/nodes/pve1", "Sys.AccessNetwork")]
)
async def test_fetching_without_a_right_names_it(sim: SimulatedWorld, path: str, privilege: str) -> None:
    sim.sim.faults.lose_rights(path, privilege)
    with pytest.raises(MissingPrivilege, match=privilege) as refused:
        await sim.api.download_url("pve1", "local", url=sim.world.image_url, filename=STAGED, checksum=SHA256)
    assert "pveum" in (refused.value.remedy or "")
    sim.sim.faults.regain_rights(path, privilege)
    await sim.stage()


async def test_an_import_copies_the_bytes_and_takes_the_virtual_size(sim: SimulatedWorld) -> None:
    source = await sim.stage()
    upid = await sim.api.create_vm("pve1", 100, {"scsi0": f"local:0,import-from={source},discard=on"})
    assert (await sim.world.done(upid)).ok
    scsi0 = (await sim.api.vm_config("pve1", 100)).values["scsi0"]
    assert scsi0 == "local:100/vm-100-disk-0.qcow2,discard=on,size=2G"
    assert sim.truth.disk_sha256(100) == IMAGE_SHA256
    done = progress(await sim.api.task_log(upid))
    assert done is not None
    assert (done.percent, done.total_bytes) == (100.0, 2 * GIB)


async def test_an_import_that_finds_no_room_leaves_neither_guest_nor_disks(sim: SimulatedWorld) -> None:
    source = await sim.stage()
    sim.sim.faults.fill_storage("local", "pve1", leave_bytes=1000)
    upid = await sim.api.create_vm("pve1", 100, {"scsi0": f"local:0,import-from={source}"})
    status = await sim.world.done(upid)
    assert (status.exitstatus or "").startswith("unable to create VM 100 - cannot import from")
    assert "No space left on device" in "\n".join(await sim.api.task_log(upid))
    assert sim.truth.machines() == []
    assert sim.truth.leftover_volumes() == []


async def test_an_import_of_a_file_that_is_not_there_fails_in_the_task(sim: SimulatedWorld) -> None:
    upid = await sim.api.create_vm("pve1", 100, {"scsi0": "local:0,import-from=local:import/nope.qcow2"})
    status = await sim.world.done(upid)
    assert status.exitstatus == "unable to create VM 100 - failed to stat '/var/lib/vz/import/nope.qcow2'"


async def test_cloud_init_efi_and_tpm_get_volumes_of_their_own(sim: SimulatedWorld) -> None:
    await sim.world.created(
        100, ide2="local:cloudinit", efidisk0="local:1,efitype=4m", tpmstate0="local:1,version=v2.0", bios="ovmf"
    )
    values = (await sim.api.vm_config("pve1", 100)).values
    assert values["ide2"] == "local:100/vm-100-cloudinit.qcow2,media=cdrom"
    assert values["efidisk0"].endswith("efitype=4m,size=528K")
    assert values["tpmstate0"].endswith("version=v2.0,size=4M")
    assert (await sim.world.done(await sim.api.destroy_vm("pve1", 100))).ok
    assert sim.truth.leftover_volumes() == []


async def test_a_destroy_removes_what_the_configuration_refers_to_and_no_other_disk_of_its_number(
    sim: SimulatedWorld,
) -> None:
    left = sim.sim.faults.leave_disk("local", "pve1", 100)
    await sim.template(100)
    assert (await sim.world.done(await sim.api.destroy_vm("pve1", 100))).ok
    assert sim.truth.leftover_volumes() == [f"pve1 {left}"]


async def test_a_create_that_fails_takes_back_what_it_made_and_no_other_disk_of_its_number(sim: SimulatedWorld) -> None:
    left = sim.sim.faults.leave_disk("local", "pve1", 100)
    config = {"ide2": "local:cloudinit", "scsi0": "local:0,import-from=local:import/nope.qcow2"}
    assert not (await sim.world.done(await sim.api.create_vm("pve1", 100, config))).ok
    assert sim.truth.leftover_volumes() == [f"pve1 {left}"]


async def test_a_destroy_keeps_the_disks_of_another_cluster_on_the_same_storage(sim: SimulatedWorld) -> None:
    other = SimulatedCluster(
        clock=sim.sim.clock, random=random.Random(8), storages=[Storage("shared", type="nfs", shared=True)]
    )
    sim.sim.faults.share_storage("shared", other)
    await People(other).create(100, "pve1", scsi0="shared:8", name="theirs")
    await sim.world.created(100, scsi0="shared:4", name="ours")
    assert (await sim.world.done(await sim.api.destroy_vm("pve1", 100))).ok
    disks = {volume.volid for place in other.storages.places() for volume in place.volumes.values()}
    assert disks == set(Truth(other).machine(100).disks.values())
    await other.close()


async def test_clones_copy_tags_and_description(sim: SimulatedWorld) -> None:
    await sim.template(100, tags="pantograph;pg-0123456789abcdef-100")
    people = People(sim.sim)
    await people.linked_clone(100, 101, name="linked")
    await people.full_clone(100, 102)
    for vmid in (101, 102):
        config = await sim.api.vm_config("pve1", vmid)
        assert set(config.tags) == {"pantograph", "pg-0123456789abcdef-100"}
        assert config.description == "made here"
        assert not config.is_template
        assert sim.truth.disk_sha256(vmid) == IMAGE_SHA256
    assert [machine.vmid for machine in sim.truth.machines_marked()] == [100]


async def test_a_linked_clone_protects_its_base(sim: SimulatedWorld) -> None:
    await sim.template(100)
    await People(sim.sim).linked_clone(100, 101)
    parents = {volume.volid: volume.parent for volume in await sim.api.content("pve1", "local", content="images")}
    assert parents["local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2"] == "../100/base-100-disk-0.qcow2"
    before = sim.truth.state_digest()
    status = await sim.world.done(await sim.api.destroy_vm("pve1", 100))
    assert task_error(status.exitstatus or "", call=Call()).reason == "InUse"
    assert sim.truth.state_digest() == before
    await People(sim.sim).destroy(101)
    assert (await sim.world.done(await sim.api.destroy_vm("pve1", 100))).ok
    assert sim.truth.leftover_volumes() == []


async def test_removing_a_staged_file_twice_is_no_error(sim: SimulatedWorld) -> None:
    source = await sim.stage()
    for _ in range(2):
        assert (await sim.world.done(await sim.api.delete_volume("pve1", "local", source))).ok
    assert sim.truth.staged_files() == []


async def test_a_storage_limited_to_other_nodes_is_met_in_the_task(sim: SimulatedWorld) -> None:
    sim.sim.storages.define(Storage("fast", nodes=frozenset({"pve2"})))
    upid = await sim.api.create_vm("pve1", 100, {"scsi0": "fast:1"})
    status = await sim.world.done(upid)
    assert status.exitstatus == "unable to create VM 100 - storage 'fast' is not available on node 'pve1'"
    assert sim.truth.machines() == []


async def test_shared_storage_is_one_place_for_all_nodes(sim: SimulatedWorld) -> None:
    upid = await sim.api.download_url("pve1", "shared", url=sim.world.image_url, filename=STAGED, checksum=SHA256)
    assert (await sim.world.done(upid)).ok
    assert [volume.volid for volume in await sim.api.content("pve3", "shared", content="import")] == [
        f"shared:import/{STAGED}"
    ]
    assert [file.node for file in sim.truth.staged_files()] == ["*"]
