"""Creating a guest: a locked stub until its task has ended, its name and tags only then."""

from __future__ import annotations

from typing import Any

from tests.fakes.proxmox import disks
from tests.fakes.proxmox.answers import TaskError, forbidden, refusal
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.disks import DiskSpec
from tests.fakes.proxmox.gate import Request, vmid_of
from tests.fakes.proxmox.guests import BOOT_DISK, Guest, normal_tags
from tests.fakes.proxmox.locks import CREATE_WAIT_S
from tests.fakes.proxmox.settings import check_keys, check_privileges, check_tags
from tests.fakes.proxmox.tasks import Task

_NOT_SETTINGS = frozenset({"vmid", "pool", "start", "storage", "bwlimit", "unique", "force"})


async def create_vm(r: Request) -> Any:
    cluster, node = r.cluster, r.node
    vmid = vmid_of(r.params["vmid"], "vmid")
    values = {k: v for k, v in r.params.items() if k not in _NOT_SETTINGS}
    check_keys(values)
    pool = _check_allowed(r, vmid)
    check_privileges(r, vmid, values, creating=True)
    if cluster.nodes[r.node].at_least(9):
        check_tags(cluster, r.user, "", values.get("tags", ""))
    specs = disks.parse_disks(r, node, values)
    cluster.require_quorum()
    if (taken := cluster.guests.get(vmid)) is not None:
        kind = "VM" if taken.type == "qemu" else "CT"
        raise refusal(f"unable to create VM {vmid} - {kind} {vmid} already exists on node '{taken.node}'")
    guest = cluster.add_guest(vmid, node, {"lock": "create"})
    guest.pool = pool

    async def body(task: Task) -> None:
        async with cluster.locks.hold(vmid, wait_s=CREATE_WAIT_S):
            await _create(cluster, task, guest, values, specs)

    return cluster.fork(node=node, type="qmcreate", id=str(vmid), user=r.user, body=body)


def _check_allowed(r: Request, vmid: int) -> str | None:
    pool = r.params.get("pool")
    if pool is not None and pool not in r.cluster.pools:
        raise forbidden(f"pool '{pool}' does not exist")
    access = r.cluster.access
    if access.allows(r.user, f"/vms/{vmid}", "VM.Allocate"):
        return pool
    if pool is not None and access.allows(r.user, f"/pool/{pool}", "VM.Allocate"):
        return pool
    raise forbidden()


async def _create(
    cluster: SimulatedCluster, task: Task, guest: Guest, values: dict[str, str], specs: list[DiskSpec]
) -> None:
    made: dict[str, str] = {}
    try:
        await cluster.clock.sleep(cluster.pace.task_s)
        for spec in sorted(specs, key=lambda s: s.key):
            made[spec.key] = await disks.make_disk(cluster, task, guest, spec)
    except BaseException as error:
        if task.killed:
            raise
        disks.drop_made(cluster, guest.node, made.values())
        del cluster.guests[guest.vmid]
        if isinstance(error, TaskError):
            raise TaskError(f"unable to create VM {guest.vmid} - {error}") from None
        raise
    cluster.write_config(guest, _finished(cluster, guest.node, values | made))


def _finished(cluster: SimulatedCluster, node: str, values: dict[str, str]) -> dict[str, str]:
    """The configuration with what Proxmox adds of its own. Tags are kept as given before version 9."""
    config = {key: cluster.identities.net(v) if key.startswith("net") else v for key, v in values.items()}
    if "tags" in config and cluster.nodes[node].at_least(9):
        config["tags"] = normal_tags(config["tags"])
    if "boot" not in config:
        first = next((k for k in sorted(config) if BOOT_DISK.match(k) and "media=cdrom" not in config[k]), None)
        config["boot"] = f"order={first}" if first else " "
    ctime = int(cluster.clock.now().timestamp())
    return config | {
        "smbios1": f"uuid={cluster.identities.uuid()}",
        "vmgenid": cluster.identities.uuid(),
        "meta": f"creation-qemu=9.2.0,ctime={ctime}",
    }
