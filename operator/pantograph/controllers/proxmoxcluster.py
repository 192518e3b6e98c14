"""`ProxmoxCluster`: keeps what is known of one cluster, and wakes who depends on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

from pantograph.api.conditions import name_some
from pantograph.api.meta import RECONCILE_AT
from pantograph.api.proxmoxcluster import (
    MAX_NODES,
    MAX_STORAGES,
    MissingPrivileges,
    NodeStatus,
    ProxmoxCluster,
    ProxmoxClusterStatus,
    StorageStatus,
)
from pantograph.controllers import faults
from pantograph.controllers.outside import Outside
from pantograph.engine.controller import Controller
from pantograph.engine.errors import StepError, Terminal, Transient, Waiting
from pantograph.engine.scope import Scope
from pantograph.engine.services import Services
from pantograph.providers import errors as provider
from pantograph.providers.proxmox import privileges
from pantograph.providers.proxmox.connection import ProxmoxConnection
from pantograph.providers.proxmox.observer import THOROUGH_S
from pantograph.providers.proxmox.snapshot import ClusterSnapshot

TICK_S: Final = 20.0
"""How often the cluster is observed unless `interval` says: a node that goes or comes is noticed within this time."""
IN_USE_RETRY_S: Final = 60.0


@dataclass(kw_only=True)
class ClusterScope(Scope[ProxmoxCluster, ProxmoxClusterStatus]):
    """The connection, and the cluster as it was observed."""

    outside: Outside
    connection: ProxmoxConnection = field(init=False)
    """By `connect`."""
    world: ClusterSnapshot = field(init=False)
    """By `observe`."""


async def connect(scope: ClusterScope) -> None:
    """After this the connection is open, with the credentials as they are now."""
    try:
        scope.connection = await scope.outside.connections.open(
            scope.object, scope.kube, afresh=scope.requested is not None, patience_s=THOROUGH_S
        )
    except provider.Unauthorized as refused:
        raise _refused(scope, refused) from refused
    except provider.ProviderError as error:
        # What a former process saw no longer holds: templates plan only on a cluster that answers.
        _unreachable(scope, error)
        raise


async def observe(scope: ClusterScope) -> None:
    """After this the cluster was observed; `Reachable` says whether anybody answered."""
    try:
        # More patiently than the many who depend on it: a cluster that is slow is not called unreachable.
        scope.world = await scope.connection.observer.snapshot(patience_s=THOROUGH_S)
    except provider.Unauthorized as refused:
        scope.outside.connections.refuse(scope.object, refused)
        raise _refused(scope, refused) from refused
    except provider.ProviderError as error:
        _unreachable(scope, error)
        raise
    scope.set_condition("Reachable", True, reason="Answering", message=f"{scope.world.version} answers")


async def describe(scope: ClusterScope) -> None:
    """After this the status names version, nodes and storages; what moves all the time is left to metrics."""
    world, status = scope.world, scope.status
    status.version = world.version
    status.cluster_name = world.status.name
    status.quorate = world.status.quorate
    nodes = sorted(world.status.nodes, key=lambda node: node.name)
    status.nodes = [
        NodeStatus(
            name=node.name,
            online=node.online,
            version=world.versions.get(node.name) or _known_version(scope, node.name),
        )
        for node in nodes[:MAX_NODES]
    ]
    status.nodes_online = f"{sum(node.online for node in nodes)}/{len(nodes)}"
    status.storages = _storages(scope)


async def judge_privileges(scope: ClusterScope) -> None:
    """After this `Authorized` says which rights are missing for what; the ones to see with are required."""
    permissions = scope.world.permissions
    needs = {"Observe": privileges.observe(), "DestroyTemplates": privileges.destroy()}
    missing = {feature: privileges.missing_for(permissions, wanted) for feature, wanted in needs.items()}
    scope.status.missing_privileges = [
        MissingPrivileges(feature=feature, path=right.path, privileges=list(right.privileges))
        for feature, rights in missing.items()
        for right in rights
    ] or None
    lacking = list(dict.fromkeys(right for rights in missing.values() for right in rights))
    if not lacking:
        scope.set_condition(
            "Authorized", True, reason="Sufficient", message="the credentials hold the rights to observe and to delete"
        )
        return
    user = await scope.connection.api.user()
    message = f"the credentials lack {name_some(lacking)}"
    remedy = privileges.remedy(lacking, user)
    scope.set_condition("Authorized", False, reason="MissingPrivilege", message=f"{message}; to mend it: {remedy}")
    if missing["Observe"]:
        raise Terminal("MissingPrivilege", message, remedy=remedy)


async def require_quorum(scope: ClusterScope) -> None:
    """After this the cluster can change: without quorum nothing is made or deleted there."""
    if not scope.world.status.quorate:
        raise Transient(
            "QuorumLost",
            "the cluster has no quorum; nothing is made or deleted there",
            TICK_S,
            remedy="bring the missing nodes back (pvecm status)",
        )


async def keep_watch(scope: ClusterScope) -> None:
    """After this who depends on a guest or node that changed is woken, and the next look is planned."""
    for key in scope.outside.changes.of(scope.object, scope.world, scope.services.cache):
        scope.services.queue.add(key)
    scope.look_again(scope.object.spec.interval_or(TICK_S))


async def refuse_while_used(scope: ClusterScope) -> None:
    """After this nothing that was made through this connection exists any more."""
    users = scope.services.cache.referrers(scope.key, kind="TemplateReplica")
    if users:
        named = name_some(f"{key.namespace}/{key.name}" for key in users)
        raise Waiting(
            "InUse",
            f"replicas on this cluster still exist: {named}",
            IN_USE_RETRY_S,
            remedy="delete the VMTemplates that placed them",
        )


async def disconnect(scope: ClusterScope) -> None:
    """After this no connection is open."""
    await scope.outside.connections.close(scope.object)


class ProxmoxClusterController(Controller[ProxmoxCluster]):
    """Keeps what is known of one Proxmox VE cluster."""

    model: ClassVar = ProxmoxCluster
    steps: ClassVar = (connect, observe, describe, judge_privileges, require_quorum, keep_watch)
    undo: ClassVar = (refuse_while_used, disconnect)

    def __init__(self, services: Services, outside: Outside) -> None:
        super().__init__(services)
        self.outside = outside

    def open_scope(self, obj: ProxmoxCluster) -> ClusterScope:
        return ClusterScope(object=obj, services=self.services, outside=self.outside)

    def explain(self, error: Exception) -> StepError | None:
        return faults.step_error(error)


def _unreachable(scope: ClusterScope, error: provider.ProviderError) -> None:
    scope.set_condition("Reachable", False, reason=error.reason, message=error.message)
    if error.reason == "CertificateRefused":
        scope.outside.connections.doubt(scope.object)


def _refused(scope: ClusterScope, refused: provider.Unauthorized) -> StepError:
    """Looked at again each minute, and tried only with a changed Secret or on request: Proxmox does not say why."""
    scope.set_condition("Authorized", False, reason=refused.reason, message=refused.message)
    scope.look_again(60)
    secret = scope.object.spec.credentials_ref.name
    return Terminal(
        refused.reason,
        refused.message,
        remedy=(
            f"put valid credentials into Secret {secret}; they are read again within a minute. If they were mended on"
            f" Proxmox: kubectl annotate proxmoxcluster {scope.key.name} -n {scope.key.namespace}"
            f' {RECONCILE_AT}="$(date)" --overwrite'
        ),
    )


def _known_version(scope: ClusterScope, node: str) -> str | None:
    """The version last seen, of a node that cannot be asked now."""
    return next((known.version for known in scope.object.status.nodes or () if known.name == node), None)


def _storages(scope: ClusterScope) -> list[StorageStatus]:
    found: dict[str, StorageStatus] = {}
    for row in sorted(scope.world.storage_rows, key=lambda row: (row.storage, row.node)):
        known = found.setdefault(
            row.storage,
            StorageStatus(name=row.storage, type=row.type, shared=row.shared, content=sorted(row.content), nodes=[]),
        )
        if len(known.nodes) < MAX_NODES:
            known.nodes.append(row.node)
    return list(found.values())[:MAX_STORAGES]
