"""Guests through the port, wherever it leads."""

from __future__ import annotations

import pytest

from pantograph.providers.errors import AlreadyExists, Busy, NotFound, Rejected
from pantograph.providers.proxmox.port import Upid
from tests.contract.proxmox.world import GIB, World


async def test_the_cluster_says_its_version_its_nodes_and_that_it_has_quorum(world: World) -> None:
    status = await world.api.cluster_status()
    assert int((await world.api.version()).split(".")[0]) >= 8
    assert status.quorate
    assert world.node in {node.name for node in status.nodes if node.online and node.fingerprint}


async def test_the_nodes_version_is_the_one_in_its_status(world: World) -> None:
    assert await world.api.node_version(world.node) == await world.api.version()


async def test_a_node_says_which_content_its_storages_take(world: World) -> None:
    found = {storage.storage: storage for storage in await world.api.storages(world.node)}
    assert "images" in found[world.storage].content
    assert found[world.storage].active
    assert found[world.storage].avail


async def test_permissions_are_told_by_path(world: World) -> None:
    assert (await world.api.permissions())["/"]["VM.Allocate"] is True


async def test_a_created_guest_has_what_was_asked_for(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid, name="web", memory="512", scsi0=f"{world.storage}:4", description="k=v; 100 %")
    config = await world.api.vm_config(world.node, vmid)
    assert config.values["name"] == "web"
    assert config.values["memory"] == "512"
    assert config.description == "k=v; 100 %"
    assert f"vm-{vmid}-disk-0" in config.values["scsi0"]
    assert "size=4G" in config.values["scsi0"]
    assert config.values["boot"] == "order=scsi0"
    assert config.lock is None
    assert config.digest


async def test_a_created_guest_is_in_the_bulk_listing_with_its_tags(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid, tags="b;a")
    row = next(row for row in await world.api.guests() if row.vmid == vmid)
    assert row.node == world.node
    assert set(row.tags) == {"a", "b"}


async def test_a_number_is_given_once(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid)
    with pytest.raises(AlreadyExists) as taken:
        await world.api.create_vm(world.node, vmid, {})
    assert taken.value.reason == "VmidTaken"
    assert str(vmid) in taken.value.message


@pytest.mark.parametrize(
    ("config", "parameter"),
    [({"name": "under_score"}, "name"), ({"foo": "1"}, "foo")],
)
async def test_what_is_no_setting_is_refused_by_name(world: World, config: dict[str, str], parameter: str) -> None:
    with pytest.raises(Rejected, match=f"{parameter}: ") as refused:
        await world.api.create_vm(world.node, world.vmid(), config)
    assert refused.value.reason == "InvalidParameter"


async def test_numbers_below_100_are_refused(world: World) -> None:
    with pytest.raises(Rejected, match="does not look like a valid VM ID"):
        await world.api.create_vm(world.node, 99, {})


async def test_a_guest_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="guest 99999") as gone:
        await world.api.vm_config(world.node, 99999)
    assert gone.value.reason == "GuestNotOnNode"
    with pytest.raises(NotFound):
        await world.api.destroy_vm(world.node, 99999)


async def test_an_update_is_seen_at_once(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid, description="old", cores="1")
    await world.api.set_config(world.node, vmid, {"cores": "4"}, delete=["description"])
    config = await world.api.vm_config(world.node, vmid)
    assert config.values["cores"] == "4"
    assert config.description == ""


async def test_an_update_on_a_stale_digest_changes_nothing(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid)
    stale = (await world.api.vm_config(world.node, vmid)).digest
    await world.api.set_config(world.node, vmid, {"description": "first"}, digest=stale)
    with pytest.raises(Busy) as changed:
        await world.api.set_config(world.node, vmid, {"description": "second"}, digest=stale)
    assert changed.value.reason == "ConfigChanged"
    assert (await world.api.vm_config(world.node, vmid)).description == "first"


async def test_tags_are_normalised_by_an_update(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid)
    await world.api.set_config(world.node, vmid, {"tags": "Zeta;alpha;alpha"})
    assert (await world.api.vm_config(world.node, vmid)).tags == ("alpha", "zeta")


async def test_deleting_an_unknown_setting_is_refused(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid)
    with pytest.raises(Rejected, match="unknown option 'nosuch'"):
        await world.api.set_config(world.node, vmid, {}, delete=["nosuch"])


async def test_a_resize_is_seen_in_the_configuration(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid, scsi0=f"{world.storage}:4")
    assert (await world.done(await world.api.resize_disk(world.node, vmid, disk="scsi0", size_bytes=8 * GIB))).ok
    assert "size=8G" in (await world.api.vm_config(world.node, vmid)).values["scsi0"]


async def test_a_smaller_size_is_refused_in_the_task(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid, scsi0=f"{world.storage}:4")
    status = await world.done(await world.api.resize_disk(world.node, vmid, disk="scsi0", size_bytes=2 * GIB))
    assert status.exitstatus == "shrinking disks is not supported"


async def test_a_template_has_base_volumes_and_is_made_once(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid, scsi0=f"{world.storage}:4")
    assert (await world.done(await world.api.convert_to_template(world.node, vmid))).ok
    config = await world.api.vm_config(world.node, vmid)
    assert config.is_template
    assert f"base-{vmid}-disk-0" in config.values["scsi0"]
    with pytest.raises(Rejected) as again:
        await world.api.convert_to_template(world.node, vmid)
    assert again.value.reason == "AlreadyTemplate"


async def test_a_destroyed_guest_is_gone_from_configuration_and_listing(world: World) -> None:
    vmid = world.vmid()
    await world.created(vmid, scsi0=f"{world.storage}:4")
    assert (await world.done(await world.api.destroy_vm(world.node, vmid))).ok
    with pytest.raises(NotFound):
        await world.api.vm_config(world.node, vmid)
    assert vmid not in {row.vmid for row in await world.api.guests()}


async def test_a_task_is_found_by_type_and_guest_and_ends_its_log_with_its_result(world: World) -> None:
    vmid = world.vmid()
    upid = await world.api.create_vm(world.node, vmid, {})
    await world.done(upid)
    row = next(row for row in await world.api.tasks(world.node, type="qmcreate") if row.upid == upid)
    assert (row.id, row.user, row.exitstatus) == (str(vmid), await world.api.user(), "OK")
    assert (await world.api.task_log(upid))[-1] == "TASK OK"


async def test_tasks_are_listed_newest_first(world: World) -> None:
    first = await world.api.create_vm(world.node, world.vmid(), {})
    await world.done(first)
    second = await world.api.create_vm(world.node, world.vmid(), {})
    await world.done(second)
    upids = [row.upid for row in await world.api.tasks(world.node)]
    assert upids.index(second) < upids.index(first)


async def test_a_task_that_nobody_started_is_not_found(world: World) -> None:
    upid = Upid(f"UPID:{world.node}:00001234:00005678:6B000000:qmcreate:100:{await world.api.user()}:")
    with pytest.raises(NotFound) as unknown:
        await world.api.task_status(upid)
    assert unknown.value.reason == "TaskUnknown"


async def test_a_storage_that_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(NotFound) as unknown:
        await world.api.content(world.node, "nope", content="import")
    assert unknown.value.reason == "StorageUnknown"


async def test_a_url_that_answers_nothing_is_refused(world: World) -> None:
    with pytest.raises(Rejected) as refused:
        await world.api.query_url_metadata(world.node, "http://127.0.0.1:1/image.qcow2")
    assert refused.value.reason == "DownloadFailed"


async def test_only_http_and_https_are_fetched(world: World) -> None:
    with pytest.raises(Rejected, match="url: "):
        await world.api.download_url(
            world.node, "local", url="ftp://example.org/x.qcow2", filename="x.qcow2", checksum=f"sha256:{'0' * 64}"
        )


async def test_an_image_with_a_wrong_extension_is_refused(world: World) -> None:
    with pytest.raises(Rejected) as refused:
        await world.api.download_url(
            world.node, "local", url=world.image_url, filename="x.img", checksum=f"sha256:{'0' * 64}"
        )
    assert refused.value.reason == "ImportUnsupported"
