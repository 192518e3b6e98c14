"""Changing a guest: configuration, disk size, power."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tests.fakes.proxmox import disks
from tests.fakes.proxmox.answers import TaskError, forbidden, parameter_error, refusal
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.gate import Request
from tests.fakes.proxmox.guests import (
    DISK_KEY,
    MASKED,
    Guest,
    normal_tags,
    options_of,
    parse_size,
    size_text,
    with_options,
)
from tests.fakes.proxmox.locks import CONFIG_WAIT_S
from tests.fakes.proxmox.settings import check_keys, check_not_locked, check_privileges, check_tags, privilege_of
from tests.fakes.proxmox.tasks import Task

_NOT_SETTINGS = frozenset({"digest", "delete", "skiplock", "force", "background_delay", "revert"})


async def set_config(r: Request) -> Any:
    """PUT: synchronous, up to 10 s for the lock."""
    if r.flag("skiplock"):
        raise parameter_error("skiplock", "Only root may use this option.")
    values = {k: v for k, v in r.params.items() if k not in _NOT_SETTINGS}
    deleted = [key for key in re.split(r"[,; ]", r.params.get("delete", "")) if key]
    if not values and not deleted:
        raise refusal("no options specified")
    _check(r, values, deleted)
    guest = r.cluster.guest_on(r.node, r.vmid)
    specs = disks.parse_disks(r, r.node, values)
    async with r.cluster.locks.hold(r.vmid, wait_s=CONFIG_WAIT_S):
        guest = r.cluster.guest_on(r.node, r.vmid)
        if r.params.get("digest") not in (None, guest.digest):
            raise refusal("checksum mismatch (file change by other user?)")
        check_not_locked(guest.lock)
        check_tags(r.cluster, r.user, guest.config.get("tags", ""), _tags_after(guest, values, deleted))
        if not r.cluster.quorate():
            raise refusal(unwritable(r.cluster, guest))
        task = Task("", r.node, "", "", r.user, 0, 0, 0)
        try:
            made = {spec.key: await disks.make_disk(r.cluster, task, guest, spec) for spec in specs}
        except TaskError as error:
            raise refusal(str(error)) from None
        _apply(r.cluster, guest, values | made, deleted)


async def post_config(r: Request) -> Any:
    """POST: the same as a task; on 8.4 checked, and the lock waited for, before it starts."""
    await set_config(r)
    changed = " ".join(f"-{key} {value}" for key, value in r.params.items() if key != "digest")

    async def body(task: Task) -> None:
        task.say(f"update VM {r.vmid}: {changed}")

    return r.cluster.fork(node=r.node, type="qmconfig", id=str(r.vmid), user=r.user, body=body)


def _check(r: Request, values: dict[str, str], deleted: list[str]) -> None:
    for key in deleted:
        if key == "lock":
            raise refusal("only root can set 'lock' config")
        if privilege_of(key) is None:
            raise parameter_error("delete", f"unknown option '{key}'")
    check_keys(values)
    if not any(p.startswith("VM.Config.") for p in r.cluster.access.privileges(r.user, f"/vms/{r.vmid}")):
        raise forbidden(f"/vms/{r.vmid}, VM.Config.Options")
    check_privileges(r, r.vmid, values | dict.fromkeys(deleted, ""), creating=False)


def _tags_after(guest: Guest, values: dict[str, str], deleted: list[str]) -> str:
    return "" if "tags" in deleted else values.get("tags", guest.config.get("tags", ""))


def unwritable(cluster: SimulatedCluster, guest: Guest) -> str:
    """Without quorum /etc/pve is read-only; the number is the writer's pid."""
    file = f"/etc/pve/nodes/{guest.node}/qemu-server/{guest.vmid}.conf.tmp.{cluster.random.randrange(1000, 32000)}"
    return f"unable to open file '{file}' - Permission denied"


def _apply(cluster: SimulatedCluster, guest: Guest, values: dict[str, str], deleted: list[str]) -> None:
    config = dict(guest.config)
    for key in deleted:
        removed = config.pop(key, None)
        if removed is not None and DISK_KEY.match(key) and "media=cdrom" not in removed:
            config[f"unused{_next_unused(config)}"] = options_of(removed)[0]
    for key, value in values.items():
        if key == "tags":
            config[key] = normal_tags(value)
        elif key.startswith("net") and not re.match(r"^\w+=", value):
            config[key] = cluster.identities.net(value)
        elif key != "cipassword" or value != MASKED:
            config[key] = value
    for key in ("tags", "template", "description"):
        if config.get(key) in ("", "0"):
            del config[key]
    cluster.write_config(guest, config)


def _next_unused(config: dict[str, str]) -> int:
    return next(n for n in range(256) if f"unused{n}" not in config)


async def resize_disk(r: Request) -> Any:
    r.require(f"/vms/{r.vmid}", "VM.Config.Disk")
    guest = r.cluster.guest_on(r.node, r.vmid)
    disk, wanted = r.params["disk"], r.params["size"]
    size = parse_size(wanted.lstrip("+"))
    if size is None:
        raise parameter_error("size", "value does not match the regex pattern")
    if disk not in guest.config:
        raise refusal(f"disk '{disk}' does not exist")
    r.require(f"/storage/{guest.config[disk].partition(':')[0]}", "Datastore.AllocateSpace")
    check_not_locked(guest.lock)

    async def body(task: Task) -> None:
        async with r.cluster.locks.hold(r.vmid, wait_s=CONFIG_WAIT_S):
            await r.cluster.clock.sleep(r.cluster.pace.task_s)
            _resize(r.cluster, guest, disk, size, relative=wanted.startswith("+"))
        task.say("Image resized.")

    return r.cluster.fork(node=r.node, type="resize", id=str(r.vmid), user=r.user, body=body)


def _resize(cluster: SimulatedCluster, guest: Guest, disk: str, size: int, *, relative: bool) -> None:
    volid, options = options_of(guest.config[disk])
    located = cluster.storages.locate(volid, guest.node)
    if located is None:
        raise TaskError(f"volume '{volid}' does not exist")
    place, volume = located
    size = volume.virtual_size + size if relative else size
    if size < volume.virtual_size:
        raise TaskError("shrinking disks is not supported")
    if not cluster.quorate():
        raise TaskError(unwritable(cluster, guest))
    place.put(replace(volume, virtual_size=size))
    cluster.write_config(guest, guest.config | {disk: with_options(volid, options | {"size": size_text(size)})})


async def start_vm(r: Request) -> Any:
    r.require(f"/vms/{r.vmid}", "VM.PowerMgmt")
    r.cluster.require_quorum()
    guest = r.cluster.guest_on(r.node, r.vmid)

    async def body(task: Task) -> None:
        await r.cluster.clock.sleep(r.cluster.pace.task_s)
        if guest.is_template:
            raise TaskError("you can't start a vm if it's a template")
        check_not_locked(guest.lock)
        r.cluster.before_change(guest)
        guest.running = True

    return r.cluster.fork(node=r.node, type="qmstart", id=str(r.vmid), user=r.user, body=body)


async def stop_vm(r: Request) -> Any:
    r.require(f"/vms/{r.vmid}", "VM.PowerMgmt")

    async def body(task: Task) -> None:
        await r.cluster.clock.sleep(r.cluster.pace.task_s)
        guest = r.cluster.guests.get(r.vmid)
        if guest is None or guest.node != r.node:
            raise TaskError(f"unable to find configuration file for VM {r.vmid} on node '{r.node}'")
        check_not_locked(guest.lock)
        r.cluster.before_change(guest)
        guest.running = False

    return r.cluster.fork(node=r.node, type="qmstop", id=str(r.vmid), user=r.user, body=body)
