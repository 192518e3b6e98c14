"""Templates: conversion to base volumes, linked and full clones, and the end of a guest."""

from __future__ import annotations

from typing import Any

from tests.fakes.proxmox import disks
from tests.fakes.proxmox.answers import TaskError, forbidden, parameter_error, refusal
from tests.fakes.proxmox.changes import unwritable
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.gate import Request, vmid_of
from tests.fakes.proxmox.guests import Guest, options_of, with_options
from tests.fakes.proxmox.locks import CLONE_WAIT_S, CONFIG_WAIT_S
from tests.fakes.proxmox.settings import check_not_locked
from tests.fakes.proxmox.storages import StoredVolume
from tests.fakes.proxmox.tasks import Task


async def convert_to_template(r: Request) -> Any:
    """The flag is written before the disks are converted, one by one; `disk=` repairs one of a template."""
    r.require(f"/vms/{r.vmid}", "VM.Allocate")
    guest, disk = r.cluster.guest_on(r.node, r.vmid), r.params.get("disk")
    check_not_locked(guest.lock)
    if guest.is_template and disk is None:
        raise refusal("you can't convert a template to a template")
    if guest.running:
        raise refusal("you can't convert a VM to template if VM is running")
    if disk is not None and disk not in guest.config:
        raise parameter_error("disk", f"unable to find disk '{disk}'")

    async def body(task: Task) -> None:
        async with r.cluster.locks.hold(r.vmid, wait_s=CONFIG_WAIT_S):
            await _convert(r.cluster, guest, disk)

    return r.cluster.fork(node=r.node, type="qmtemplate", id=str(r.vmid), user=r.user, body=body)


async def _convert(cluster: SimulatedCluster, guest: Guest, disk: str | None) -> None:
    if not cluster.quorate():
        raise TaskError(unwritable(cluster, guest))
    cluster.write_config(guest, guest.config | {"template": "1"})
    for key, volid in list(guest.disks()):
        if (disk is not None and key != disk) or "cloudinit" in volid or key.startswith("unused"):
            continue
        await cluster.clock.sleep(cluster.pace.task_s)
        located = cluster.storages.locate(volid, guest.node)
        if located is None:
            raise TaskError(f"volume '{volid}' does not exist")
        place, volume = located
        if volume.is_base or not place.storage.holds_base_volumes:
            continue  # without base volumes the task says OK all the same
        base = place.to_base(volume, cluster.blobs)
        cluster.write_config(guest, guest.config | {key: with_options(base.volid, options_of(guest.config[key])[1])})


# -- clone -----------------------------------------------------------------------------------------------------------
async def clone_vm(r: Request) -> Any:
    cluster, newid = r.cluster, vmid_of(r.params["newid"], "newid")
    _check_clone_rights(r, newid)
    cluster.require_quorum()
    source = cluster.guests.get(r.vmid)
    if source is None or source.node != r.node:
        raise refusal(f"unable to find configuration file for VM {r.vmid} on node '{r.node}'")
    check_not_locked(source.lock)
    linked = source.is_template if "full" not in r.params else not r.flag("full")
    target = r.params.get("target", r.node)
    _check_clone_target(r, source, target)
    _check_linked(r, source, linked)
    taken = cluster.guests.get(newid)
    if taken is not None and taken.node == r.node:
        raise refusal(f"unable to create VM {newid}: config file already exists")
    if taken is None:
        copy = cluster.add_guest(newid, r.node, {"lock": "clone", "description": " qmclone temporary file"})

    async def body(task: Task) -> None:
        if taken is not None:
            await cluster.clock.sleep(cluster.pace.task_s)
            file = f"/etc/pve/nodes/{r.node}/qemu-server/{newid}.conf"
            raise TaskError(f"close (rename) atomic file '{file}' failed: File exists")
        await cluster.locks.wait_free(source.vmid, wait_s=CLONE_WAIT_S)
        async with cluster.locks.hold(newid, wait_s=CLONE_WAIT_S):
            await _clone(cluster, task, source, copy, r.params, linked=linked)
        copy.node = target

    return cluster.fork(node=r.node, type="qmclone", id=str(r.vmid), user=r.user, body=body)


def _check_clone_rights(r: Request, newid: int) -> None:
    r.require(f"/vms/{r.vmid}", "VM.Clone")
    if not r.cluster.access.allows(r.user, f"/vms/{newid}", "VM.Allocate"):
        raise forbidden(f"/vms/{newid}, VM.Allocate")
    if (storage := r.params.get("storage")) is not None:
        r.require(f"/storage/{storage}", "Datastore.AllocateSpace")


def _check_clone_target(r: Request, source: Guest, target: str) -> None:
    cluster = r.cluster
    if target not in cluster.nodes:
        raise refusal(f"no such cluster node '{target}'")
    if target == r.node:
        return
    storage = r.params.get("storage")
    if storage is not None and not cluster.storages.get(storage).shared:
        raise refusal(f"can't clone to non-shared storage '{storage}'")
    if any(not cluster.storages.get(volid.partition(":")[0]).shared for _, volid in source.disks()):
        raise refusal(f"can't clone VM to node '{target}' (VM uses local storage)")


def _check_linked(r: Request, source: Guest, linked: bool) -> None:
    if not linked:
        return
    for name in ("storage", "format"):
        if name in r.params:
            raise refusal(f"parameter '{name}' not allowed for linked clones")
    for key, volid in source.disks():
        if "cloudinit" in volid:
            continue
        located = r.cluster.storages.locate(volid, source.node)
        if located is None or not located[1].is_base:
            raise refusal(f"Linked clone feature is not supported for '{volid}' ({key})")


async def _clone(
    cluster: SimulatedCluster, task: Task, source: Guest, copy: Guest, params: Any, *, linked: bool
) -> None:
    config = _inherited(cluster, source, params)
    try:
        await cluster.clock.sleep(cluster.pace.task_s)
        for key, volid in source.disks():
            if not key.startswith("unused"):
                volume = await _clone_disk(cluster, task, source, copy, key, volid, params, linked=linked)
                config[key] = with_options(volume.volid, options_of(source.config[key])[1])
    except BaseException as error:
        if task.killed:
            raise
        disks.drop_volumes(cluster, copy.node, copy.vmid)
        del cluster.guests[copy.vmid]
        if isinstance(error, TaskError):
            raise TaskError(f"clone failed: {error}") from None
        raise
    cluster.write_config(copy, config)


def _inherited(cluster: SimulatedCluster, source: Guest, params: Any) -> dict[str, str]:
    """Everything but the template flag, locks and unused disks; identities anew; tags and description copied."""
    config = {
        key: cluster.identities.net(value) if key.startswith("net") else value
        for key, value in source.config.items()
        if key not in {"template", "lock"} and not key.startswith("unused")
    }
    config["name"] = params.get("name") or f"Copy-of-VM-{source.config.get('name', source.vmid)}"
    if "description" in params:
        config["description"] = params["description"]
    return config | {"smbios1": f"uuid={cluster.identities.uuid()}", "vmgenid": cluster.identities.uuid()}


async def _clone_disk(
    cluster: SimulatedCluster,
    task: Task,
    source: Guest,
    copy: Guest,
    key: str,
    volid: str,
    params: Any,
    *,
    linked: bool,
) -> StoredVolume:
    located = cluster.storages.locate(volid, source.node)
    if located is None:
        raise TaskError(f"volume '{volid}' does not exist")
    place, volume = located
    where = place if linked or "storage" not in params else cluster.storages.in_task(params["storage"], copy.node)
    if "cloudinit" in volid:
        task.say(f"create full clone of drive {key} ({volid})")
        stem = f"vm-{copy.vmid}-cloudinit"
        return await disks.allocate(cluster, task, where, copy, size=disks.CLOUDINIT_BYTES, stem=stem)
    if not linked:
        task.say(f"create full clone of drive {key} ({volid})")
        format = params.get("format", volume.format) if where.storage.is_file_based else "raw"
        return await disks.copy_volume(cluster, task, place, volume, where, copy, format=format)
    task.say(f"create linked clone of drive {key} ({volid})")
    made = place.next_disk(copy.vmid, "qcow2")
    path = place.file_path("images", made)
    short = made.rpartition("/")[2]
    task.say(f"clone {volume.name}: images, {short}, {copy.vmid} to {short} (base=../{volume.name})")
    task.say(f"Formatting '{path}', fmt=qcow2 size={volume.virtual_size} backing_file=../{volume.name}")
    return place.put(
        StoredVolume(
            storage=place.storage.name,
            name=made,
            content="images",
            format="qcow2",
            path=path,
            virtual_size=volume.virtual_size,
            used=200 * 1024,
            ctime=int(cluster.clock.now().timestamp()),
            vmid=copy.vmid,
            base=volume.name,
        )
    )


# -- destroy ---------------------------------------------------------------------------------------------------------
async def destroy_vm(r: Request) -> Any:
    """Locks and linked clones are met inside the task; without quorum the disks go and the configuration stays."""
    if r.flag("skiplock"):
        raise parameter_error("skiplock", "Only root may use this option.")
    r.require(f"/vms/{r.vmid}", "VM.Allocate")
    guest = r.cluster.guest_on(r.node, r.vmid)
    if guest.config.get("protection") == "1":
        raise refusal(f"can't remove VM {r.vmid} - protection mode enabled")
    if guest.running:
        raise refusal(f"VM {r.vmid} is running - destroy failed")

    async def body(task: Task) -> None:
        async with r.cluster.locks.hold(r.vmid, wait_s=CONFIG_WAIT_S):
            r.cluster.guest_on(r.node, r.vmid)
            check_not_locked(guest.lock)
            if r.flag("purge"):
                task.say(f"purging VM {r.vmid} from related configurations..")
            await _destroy(r.cluster, task, guest, unreferenced=r.flag("destroy-unreferenced-disks"))

    return r.cluster.fork(node=r.node, type="qmdestroy", id=str(r.vmid), user=r.user, body=body)


async def _destroy(cluster: SimulatedCluster, task: Task, guest: Guest, *, unreferenced: bool) -> None:
    found = [
        located for _, volid in guest.disks() if (located := cluster.storages.locate(volid, guest.node)) is not None
    ]
    for place, volume in found:
        if place.clones_of(volume.name):
            raise TaskError(f"base volume '{volume.volid}' is still in use by linked cloned")
    await cluster.clock.sleep(cluster.pace.task_s)
    for place, volume in found:
        if volume.volid in cluster.faults.held_disks:
            task.say(f"Could not remove disk '{volume.volid}', check manually: it is busy")
        elif volume.vmid == guest.vmid:
            place.drop(volume, cluster.blobs)
    if unreferenced:
        disks.drop_volumes(cluster, guest.node, guest.vmid)
    if not cluster.quorate():
        raise TaskError(unwritable(cluster, guest))
    del cluster.guests[guest.vmid]
