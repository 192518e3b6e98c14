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
    scope.status.phase = copy.status.phase
    if ready is None or ready.status is not ConditionStatus.TRUE:
        reason = ready.reason if ready else "Progressing"
        message = f"the copy {reference.name} is not ready: {ready.message if ready else 'nobody has looked at it yet'}"
        if ready is not None and ready.status is ConditionStatus.UNKNOWN and copy.status.vmid is not None:
            scope.ready(status=ConditionStatus.UNKNOWN, reason=reason, message=message)
        raise Waiting(reason, message, CHANGE_WAKES_S)


def _is_online(scope: ReplicaScope, node: str) -> bool:
    """Whether the cluster says so; nobody knowing counts as online, since the copy's own state decides then."""
    cluster = scope.services.cache.read(scope.cluster_key, ProxmoxCluster)
    nodes = (cluster.status.nodes or []) if cluster else []
    return next((each.online for each in nodes if each.name == node), True)
