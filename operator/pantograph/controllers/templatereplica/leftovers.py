"""What stays outside and only people may remove: kept in the status while it is there, told when the object goes."""

from __future__ import annotations

from pantograph.api.conditions import name_some
from pantograph.api.templatereplica import Leftover
from pantograph.controllers.templatereplica.scope import STUB_LOCK, ReplicaScope
from pantograph.providers import errors as provider


async def forget_removed(scope: ReplicaScope) -> None:
    """After this the status lists only stubs that are there still; of one that was removed its disks are told."""
    known = scope.status.leftovers or ()
    scope.status.leftovers = [leftover for leftover in known if _is_left(scope, leftover)] or None
    for leftover in known:
        if scope.world.complete and leftover.vmid not in scope.world.guests:
            await _tell_left_disks(scope, leftover.node, leftover.vmid)


async def report_left_behind(scope: ReplicaScope) -> None:
    """After this it was said which stubs stay: nobody can read it in the status of an object that is gone."""
    for leftover in scope.status.leftovers or ():
        if not _is_left(scope, leftover):
            continue
        message = (
            f"VM {leftover.vmid} on node {leftover.node} stays; no token may remove it; there: {leftover.command}; "
            f"what disks it leaves: pvesm list {scope.object.spec.storage} --vmid {leftover.vmid}"
        )
        await scope.warn(reason="LeftBehind", message=message)


def _is_left(scope: ReplicaScope, leftover: Leftover) -> bool:
    """Whether the number is the stub's still. Whoever took it since must not be called one: the command destroys."""
    if leftover.vmid == scope.status.vmid:
        return False
    row = scope.world.guests.get(leftover.vmid)
    return not scope.world.complete if row is None else row.lock == STUB_LOCK


async def report_left_disks(scope: ReplicaScope) -> None:
    """After this it was said which disks the template that has just been removed left under its number."""
    destroyed = scope.settled
    if destroyed is not None and destroyed.type == "Destroy" and destroyed.vmid is not None and scope.machine is None:
        await _tell_left_disks(scope, destroyed.node or scope.home, destroyed.vmid)


async def _tell_left_disks(scope: ReplicaScope, node: str, vmid: int) -> None:
    """Of a machine that is gone: Proxmox removes what the configuration refers to, and a failure is only in its log.

    We remove nothing here: a number is no mark, and the disks may be an earlier guest's or another cluster's.
    """
    storage = scope.object.spec.storage
    try:
        volumes = await scope.pve.content(node, storage, content="images", vmid=vmid)
    except provider.ProviderError as unseen:
        told = f"whether VM {vmid}, which was removed from node {node}, left disks on {storage} cannot be told"
        message = f"{told}: {unseen.message}; to see: pvesm list {storage} --vmid {vmid}"
        await scope.warn(reason="DisksLeft", message=message)
        return
    if volumes:
        named = name_some(sorted(volume.volid for volume in volumes))
        message = (
            f"VM {vmid} was removed from node {node}, and disks of its number are there still: {named}; they may be an "
            "earlier guest's, or another cluster's on the same storage; if nobody needs them: pvesm free VOLUME"
        )
        await scope.warn(reason="DisksLeft", message=message)
