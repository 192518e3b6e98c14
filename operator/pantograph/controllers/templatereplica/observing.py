"""The step that finds this replica's virtual machine, and makes sure that nobody else's is taken for it."""

from __future__ import annotations

from typing import Final, NoReturn

from pantograph.api.conditions import READY, is_true
from pantograph.controllers.templatereplica.resolving import note_leftover, own_config, require_answering, unknown
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.engine.errors import Terminal, Waiting
from pantograph.providers import errors as provider
from pantograph.providers.proxmox.mark import carrier_tag, uid16
from pantograph.providers.proxmox.port import GuestRow, VmConfig
from pantograph.providers.proxmox.snapshot import absence

ABANDONED_S: Final = 900.0
"""How long an unfinished machine under the VMID of a lost create is waited for before another VMID is taken."""


async def observe(scope: ReplicaScope) -> None:
    """After this `machine` is our virtual machine as its own configuration says, or there certainly is none.

    A machine whose row is unchanged since it was last verified is not read again: then `verified` is true.
    """
    vmid = scope.status.vmid or scope.world.tagged.get(uid16(scope.object.metadata.uid))
    if vmid is None:
        await _observe_unconfirmed(scope)
        return
    row = scope.world.guests.get(vmid)
    if row is not None and _verified_lately(scope, row):
        scope.verified = True
        return
    config = await _read_config(scope, row.node if row else scope.home, vmid)
    if config is not None and scope.owns(config):
        _accept(scope, config)
        return
    if config is None:
        await _require_gone(scope, vmid)
    else:
        scope.world = await scope.connection.observer.fresh()
    _forget(scope)
    await _find_by_tag(scope, instead_of=vmid)


async def _find_by_tag(scope: ReplicaScope, *, instead_of: int) -> None:
    """The status named a machine that is not ours: perhaps ours stands elsewhere, where its tag leads."""
    vmid = scope.world.tagged.get(uid16(scope.object.metadata.uid))
    row = scope.world.guests.get(vmid) if vmid is not None and vmid != instead_of else None
    if row is None:
        return
    config = await _read_config(scope, row.node, row.vmid)
    if config is not None and scope.owns(config):
        _accept(scope, config)


async def _read_config(scope: ReplicaScope, node: str, vmid: int) -> VmConfig | None:
    """The configuration; where it may not be read, or nobody answers, the copy is Unknown."""
    if scope.world.node_online(node) is None:
        return None
    require_answering(scope, node)
    try:
        return await own_config(scope, node, vmid)
    except (provider.MissingPrivilege, provider.Unreachable) as unseen:
        raise unknown(scope, unseen.reason, unseen.message, remedy=unseen.remedy) from unseen


async def _require_gone(scope: ReplicaScope, vmid: int) -> None:
    """Gone is only what everything says is gone; anything less is Unknown, and nothing follows from it."""
    # A fresh look: the one at hand may be older than the answer that there is no such machine.
    scope.world = await scope.connection.observer.fresh()
    verdict = await absence(scope.pve, scope.world, vmid=vmid, last_node=scope.home)
    if not verdict.proved:
        message = f"whether VM {vmid} on node {scope.home} still exists cannot be told: {verdict.why}"
        raise unknown(scope, "Unobservable", message)


def _verified_lately(scope: ReplicaScope, row: GuestRow) -> bool:
    if scope.object.deleting or scope.requested is not None or scope.settled is not None:
        return False
    if row.node != scope.home or scope.settings_digest(row.vmid) != scope.status.applied_digest:
        return False
    uid = scope.object.metadata.uid
    if (
        is_true(scope.object.status.conditions, READY)
        and row.template
        and row.lock is None
        and carrier_tag(uid, row.vmid) in row.tags
    ):
        scope.outside.verified.trust(uid, row)
    return scope.outside.verified.holds(uid, row)


async def _observe_unconfirmed(scope: ReplicaScope) -> None:
    """A create that has just ended or whose answer was lost: what is there under its VMID?"""
    settled = scope.settled
    if settled is None or settled.type != "Import" or settled.vmid is None:
        return
    row = scope.world.guests.get(settled.vmid)
    where = row.node if row else scope.node
    try:
        require_answering(scope, where)
        config = await own_config(scope, where, settled.vmid)
    except (Waiting, provider.ProviderError):
        scope.status.operation = settled  # the question stays open, and with it the VMID
        raise
    if config is None:
        # The record stays until the create is repeated: a wait in between must not lose its VMID.
        scope.status.operation = settled
        return
    if scope.owns(config):
        _accept(scope, config)
    elif config.lock is not None:
        await _wait_for_unfinished(scope, config)
    else:
        scope.settled = None


async def _wait_for_unfinished(scope: ReplicaScope, config: VmConfig) -> None:
    """Tags become visible only when the create has ended, so a locked machine may still turn out to be ours."""
    settled = scope.settled
    assert settled is not None
    if (scope.now - settled.started_at).total_seconds() < ABANDONED_S:
        scope.status.operation = settled
        raise Waiting("Importing", f"VMID {config.vmid} on node {config.node} is held by an unfinished machine", 10)
    if settled.handle is not None:
        await note_leftover(scope, settled)
    scope.settled = None


def _accept(scope: ReplicaScope, config: VmConfig) -> None:
    """The machine is ours; refuse to go on while it is locked, or where it must not be."""
    scope.status.vmid = config.vmid
    scope.status.node = config.node
    scope.machine = config
    if config.node != scope.node and not scope.object.deleting and not _on_shared_storage(scope):
        _refuse_moved(scope, config)
    if config.lock is not None:
        raise Waiting(
            "Locked",
            f"VM {config.vmid} on node {config.node} is locked ({config.lock})",
            15,
            remedy=f"if no task is at work on it: qm unlock {config.vmid}",
        )


def _on_shared_storage(scope: ReplicaScope) -> bool:
    storage = scope.world.storages.get((scope.node, scope.object.spec.storage))
    return storage is not None and storage.shared


def _refuse_moved(scope: ReplicaScope, config: VmConfig) -> NoReturn:
    scope.status.phase = "Failed"
    raise Terminal(
        "Moved",
        f"template {config.vmid} was moved from node {scope.node} to node {config.node}",
        remedy=f"qm migrate {config.vmid} {scope.node}",
    )


def _forget(scope: ReplicaScope) -> None:
    """The machine is gone, or its VMID is somebody else's now: the copy will be made anew."""
    scope.status.vmid = None
    scope.status.node = None
    scope.status.phase = "Missing"
    scope.status.applied_digest = None
    scope.outside.verified.forget(scope.object.metadata.uid)
