"""The steps that remove a copy, and the guards before anything is destroyed."""

from __future__ import annotations

import re
from typing import Final

from pantograph.api.conditions import name_some
from pantograph.api.meta import FORCE_RELEASE
from pantograph.api.templatereplica import StagedStatus, TemplateReplica
from pantograph.controllers import indexes
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.engine.errors import Terminal, Waiting
from pantograph.providers.proxmox import privileges
from pantograph.providers.proxmox.port import VmConfig, Volume

BLOCKED_RETRY_S: Final = 60.0
NEEDED_RETRY_S: Final = 30.0
_BASE: Final = re.compile(r"[:/]base-(?P<vmid>\d+)-disk-")

HIDES_CLONES: Final = frozenset({"lvmthin"})
"""LVM-thin: the API does not show its linked clones, but they survive their base, so nothing needs guarding there."""


async def refuse_while_cloned(scope: ReplicaScope, machine: VmConfig, what: str) -> None:
    """After this no linked clone depends on the machine's disks."""
    storage = scope.world.storages.get((machine.node, scope.object.spec.storage))
    if storage is not None and storage.type in HIDES_CLONES:
        return
    volumes = await scope.pve.content(machine.node, scope.object.spec.storage, content="images")
    clones = sorted({clone for volume in volumes if (clone := _clone_of(volume, machine.vmid)) is not None})
    if not clones:
        return
    named = name_some(f"VM {clone} on node {_node_of(scope, clone)}" for clone in clones)
    raise Waiting(
        "InUse",
        f"template {machine.vmid} on node {machine.node} cannot be {what}: linked clones depend on it: {named}",
        BLOCKED_RETRY_S,
        remedy="remove the clones, or make them independent by moving their disks",
    )


async def ensure_purged(scope: ReplicaScope) -> None:
    """After this our virtual machine and its disks are gone."""
    machine = scope.machine
    if machine is None or scope.object.spec.deletion_policy == "Retain":
        return
    await _refuse_unsafe(scope, machine)
    scope.status.phase = "Pending"
    await scope.begin("Destroy", lambda: scope.pve.destroy_vm(machine.node, machine.vmid), vmid=machine.vmid)


async def ensure_unstaged(scope: ReplicaScope) -> None:
    """After this the image file is gone from the node, unless it is needed elsewhere or may not be deleted."""
    staged = scope.status.staged
    if staged is None:
        scope.drop_condition("StagedFileKept")
        return
    if _is_needed_by_others(scope, staged):
        scope.look_again(NEEDED_RETRY_S)
        return
    files = await scope.pve.content(scope.home, staged.storage, content="import")
    if all(file.volid != staged.volid for file in files):
        scope.status.staged = None
        scope.drop_condition("StagedFileKept")
        return
    missing = privileges.missing_for(scope.world.permissions, privileges.delete_staged(staged.storage))
    if missing:
        await _report_kept(scope, staged, privileges.remedy(missing, await scope.pve.user()))
        return
    await scope.begin(
        "Unstage",
        lambda: scope.pve.delete_volume(scope.home, staged.storage, staged.volid),
        volid=staged.volid,
    )


async def report_left_behind(scope: ReplicaScope) -> None:
    """After this it was said which stubs stay: nobody can read it in the status of an object that is gone."""
    for leftover in scope.status.leftovers or ():
        if leftover.vmid not in scope.world.guests:
            continue
        message = f"VM {leftover.vmid} on node {leftover.node} stays; no token may remove it; there: {leftover.command}"
        await scope.services.events.record(
            scope.object.info.resource, scope.object.metadata, type="Warning", reason="LeftBehind", message=message
        )


def _is_needed_by_others(scope: ReplicaScope, staged: StagedStatus) -> bool:
    """Whether a replica that reads the same file has not imported it yet."""
    storage = scope.world.storages.get((scope.home, staged.storage))
    for key in scope.services.cache.indexed(indexes.staged(scope.cluster_key, staged.volid)) - {scope.object.key}:
        other = scope.services.cache.read(key, TemplateReplica)
        if other is None or (other.spec.node != scope.node and not (storage and storage.shared)):
            continue
        if other.status.vmid is None and not other.deleting:
            return True
    return False


async def _report_kept(scope: ReplicaScope, staged: StagedStatus, remedy: str) -> None:
    """The file stays and is reported: a right that only tidies up must not stop anything."""
    message = (
        f"image file {staged.volid} stays on node {scope.home}; the token may not delete it; to allow it: {remedy}"
    )
    if not scope.object.deleting:
        scope.set_condition("StagedFileKept", True, reason="MissingPrivilege", message=message)
        return
    await scope.services.events.record(
        scope.object.info.resource, scope.object.metadata, type="Warning", reason="StagedFileKept", message=message
    )


async def _refuse_unsafe(scope: ReplicaScope, machine: VmConfig) -> None:
    """The guards before the one call that cannot be taken back; each is read afresh."""
    # Without quorum Proxmox removes the disks and then fails to remove the configuration.
    status = await scope.pve.cluster_status()
    if not status.quorate:
        raise Waiting("QuorumLost", "the cluster has no quorum; nothing is destroyed", BLOCKED_RETRY_S)
    fresh = await scope.pve.vm_config(machine.node, machine.vmid)
    if not scope.owns(fresh):
        raise Terminal(
            "MarkLost",
            f"VM {machine.vmid} on node {machine.node} does not carry our mark any more, so it is not destroyed",
            remedy="remove it yourself if it should go, then: "
            f"kubectl annotate templatereplica {scope.object.metadata.name} {FORCE_RELEASE}=true",
        )
    if fresh.lock is not None:
        raise Waiting(
            "Locked",
            f"VM {machine.vmid} on node {machine.node} is locked ({fresh.lock})",
            BLOCKED_RETRY_S,
            remedy=f"if no task is at work on it: qm unlock {machine.vmid}",
        )
    if fresh.values.get("protection") == "1":
        raise Waiting(
            "Protected",
            f"VM {machine.vmid} on node {machine.node} is protected",
            BLOCKED_RETRY_S,
            remedy=f"qm set {machine.vmid} --protection 0",
        )
    await refuse_while_cloned(scope, fresh, "deleted")


def _clone_of(volume: Volume, vmid: int) -> int | None:
    """The VMID of the linked clone that this volume belongs to, if its base is a disk of `vmid`."""
    for text in (volume.volid, volume.parent or ""):
        base = _BASE.search(f"/{text}")
        if base is not None and int(base["vmid"]) == vmid and volume.vmid not in (None, vmid):
            return volume.vmid
    return None


def _node_of(scope: ReplicaScope, vmid: int) -> str:
    row = scope.world.guests.get(vmid)
    return row.node if row else "(unknown)"
