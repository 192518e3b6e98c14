"""A `Logical` replica: another node's view of a copy on shared storage. Nothing outside is its own."""

from __future__ import annotations

from pantograph.api.conditions import READY, ConditionStatus, find
from pantograph.api.meta import Key
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.api.templatereplica import TemplateReplica
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.engine.errors import Waiting

CHANGE_WAKES_S = 300.0
"""A change of the copy or of the cluster wakes its views at once; this is for the change that nobody saw."""


async def mirror_copy(scope: ReplicaScope) -> None:
    """After this the status says what the real copy's does; Ready while that is and its owner node is online."""
    reference = scope.object.spec.copy_ref
    assert reference is not None, "the schema requires it of a Logical replica"
    copy = scope.services.cache.read(
        Key("TemplateReplica", scope.object.metadata.namespace, reference.name), TemplateReplica
    )
    if copy is None:
        raise Waiting("CopyNotFound", f"TemplateReplica {reference.name} does not exist", CHANGE_WAKES_S)
    owner = copy.status.node or copy.spec.node
    scope.status.revision = copy.status.revision
    scope.status.vmid = copy.status.vmid
    scope.status.node = owner
    ready = find(copy.status.conditions, READY)
    if copy.status.vmid is not None and not _is_online(scope, owner):
        scope.status.phase = "Unknown"
        message = f"node {owner}, which holds the template, is offline: nobody could clone from it"
        scope.ready(status=ConditionStatus.UNKNOWN, reason="OwnerNodeOffline", message=message)
        raise Waiting("OwnerNodeOffline", message, CHANGE_WAKES_S)
    _require_storage(scope)
    scope.status.phase = copy.status.phase
    if ready is None or ready.status is not ConditionStatus.TRUE:
        reason = ready.reason if ready else "Progressing"
        message = f"the copy {reference.name} is not ready: {ready.message if ready else 'nobody has looked at it yet'}"
        if ready is not None and ready.status is ConditionStatus.UNKNOWN and copy.status.vmid is not None:
            scope.ready(status=ConditionStatus.UNKNOWN, reason=reason, message=message)
        raise Waiting(reason, message, CHANGE_WAKES_S)


def _require_storage(scope: ReplicaScope) -> None:
    """After this the node can use the storage, or that is not listed at all: then its copy says why.

    A view that was ready once is Unknown meanwhile; one that never was waits.
    """
    cluster = scope.services.cache.read(scope.cluster_key, ProxmoxCluster)
    storages = (cluster.status.storages or []) if cluster else []
    node, storage = scope.object.spec.node, scope.object.spec.storage
    if all(each.name != storage or node in each.nodes for each in storages):
        return
    remedy = (
        f"make it available there: pvesm set {storage} --nodes NODES,{node}; or leave the node out of the placement"
    )
    waiting = Waiting("PlaceUnusable", f"node {node} has no storage {storage}", CHANGE_WAKES_S, remedy=remedy)
    known = find(scope.object.status.conditions, READY)
    if known is None or known.status is ConditionStatus.FALSE:
        scope.status.phase = "Pending"
        raise waiting
    scope.status.phase = "Unknown"
    scope.ready(status=ConditionStatus.UNKNOWN, reason=waiting.reason, message=waiting.text)
    raise waiting


def _is_online(scope: ReplicaScope, node: str) -> bool:
    """Whether the cluster says so; nobody knowing counts as online, since the copy's own state decides then."""
    cluster = scope.services.cache.read(scope.cluster_key, ProxmoxCluster)
    nodes = (cluster.status.nodes or []) if cluster else []
    return next((each.online for each in nodes if each.name == node), True)
