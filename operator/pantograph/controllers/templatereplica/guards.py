"""The guards: what must hold before a machine is destroyed or changed for good. Each reads afresh what it judges."""

from __future__ import annotations

import re
from typing import Final

from pantograph.api.conditions import name_some
from pantograph.api.meta import FORCE_RELEASE
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.engine.errors import Terminal, Waiting
from pantograph.providers.proxmox.port import VmConfig, Volume

BLOCKED_RETRY_S: Final = 60.0
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
    if any(clone not in scope.world.guests for clone in clones):
        scope.world = await scope.connection.observer.fresh()
    named = name_some(f"VM {clone} on node {_node_of(scope, clone)}" for clone in clones)
    raise Waiting(
        "InUse",
        f"template {machine.vmid} on node {machine.node} cannot be {what}: linked clones depend on it: {named}",
        BLOCKED_RETRY_S,
        remedy="remove the clones, or make them independent by moving their disks",
    )


async def refuse_unsafe(scope: ReplicaScope, machine: VmConfig) -> None:
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
            f"kubectl annotate templatereplica {scope.object.metadata.name} -n {scope.object.metadata.namespace} "
            f"{FORCE_RELEASE}=true",
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
