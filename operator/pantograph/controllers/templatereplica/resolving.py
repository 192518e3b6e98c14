"""The first steps of a replica: what it refers to, and what is true of its place."""

from __future__ import annotations

from typing import Final

from pantograph.api.conditions import ConditionStatus
from pantograph.api.meta import FORCE_RELEASE, Key
from pantograph.api.operation import Operation
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.api.templatereplica import Leftover
from pantograph.api.vmtemplate import VMTemplate
from pantograph.controllers import operations
from pantograph.controllers.namespaces import refuse_foreign_namespace
from pantograph.controllers.secrets import SecretNotFound
from pantograph.controllers.templatereplica.follower import TaskFollower, in_time
from pantograph.controllers.templatereplica.scope import STUB_LOCK, ReplicaScope
from pantograph.engine.errors import Terminal, Waiting
from pantograph.providers import errors as provider
from pantograph.providers.proxmox.port import VmConfig

OFFLINE_RETRY_S: Final = 30.0
MAX_LEFTOVERS: Final = 16


async def resolve_template(scope: ReplicaScope) -> None:
    """After this the template is known, with its image and the revision that this replica holds."""
    key = Key("VMTemplate", scope.object.metadata.namespace, scope.object.spec.template_ref.name)
    template = scope.services.cache.read(key, VMTemplate)
    if template is None:
        raise Waiting("TemplateNotFound", f"VMTemplate {key.name} does not exist", 60)
    if template.status.image is None or template.status.revision is None:
        scope.status.phase = "Pending"
        raise Waiting("ImageNotReady", f"VMTemplate {key.name} has no verified image yet", 60)
    wanted = scope.object.spec.revision or scope.status.revision or template.status.revision
    if wanted != template.status.revision:
        raise Terminal(
            "RevisionUnknown",
            f"VMTemplate {key.name} has revision {template.status.revision}, not {wanted}",
            remedy="delete this replica",
        )
    scope.status.revision = wanted
    scope.template = template


async def resolve_cluster(scope: ReplicaScope) -> None:
    """After this the connection is open and the cluster was observed; a copy that cannot be seen now is Unknown."""
    key = scope.cluster_key
    cluster = scope.services.cache.read(key, ProxmoxCluster)
    if cluster is None:
        message = f"ProxmoxCluster {key.namespace}/{key.name} does not exist"
        raise Waiting("ClusterNotFound", message, 60, remedy=_release(scope) if scope.object.deleting else None)
    if not scope.object.deleting:
        # What was made while it was allowed must still be possible to remove.
        refuse_foreign_namespace(cluster, scope.object.metadata.namespace)
    scope.cluster = cluster
    try:
        scope.connection = await scope.outside.connections.open(cluster, scope.kube, finalising=scope.object.deleting)
        scope.world = await scope.connection.observer.snapshot()
    except SecretNotFound as gone:
        if not scope.object.deleting:
            raise
        raise Waiting("CredentialsGone", gone.message, 60, remedy=f"create it again, or {_release(scope)}") from gone
    except provider.Unreachable as unreachable:
        raise unknown(scope, "ClusterUnreachable", f"ProxmoxCluster {key.name}: {unreachable.message}") from unreachable


async def require_node(scope: ReplicaScope) -> None:
    """After this the node is an online member of a quorate cluster; a copy on another node is Unknown meanwhile."""
    if not scope.world.status.quorate:
        # First, since whoever answers is in the minority: what it says of other nodes means little.
        raise unknown(scope, "QuorumLost", f"cluster {scope.cluster_key.name} has no quorum; nothing is changed there")
    nodes = {node.name: node for node in scope.world.status.nodes}
    node = nodes.get(scope.node)
    if node is None and scope.object.deleting:
        # What is on a node that left is out of reach for ever; the machine may have been moved off it before.
        scope.status.operation = None
        scope.status.staged = None
        return
    if node is None:
        raise unknown(scope, "NodeNotMember", f"cluster {scope.cluster_key.name} has no node {scope.node}")
    if not node.online:
        raise unknown(scope, "NodeOffline", f"node {scope.node} is offline")


async def settle_operation(scope: ReplicaScope) -> None:
    """After this nothing of ours is under way here; `settled` is the work that has just ended, or came to nothing."""
    operation = scope.status.operation
    if operation is not None and operation.node is not None:
        require_answering(scope, operation.node)
    storage = scope.status.staged.storage if scope.status.staged else None
    try:
        scope.settled = await operations.settle(scope, TaskFollower(scope.pve, storage))
    except provider.AlreadyExists:
        raise  # what stands there is somebody else's
    except provider.ProviderError:
        # A look that failed says nothing: only a task that has ended, and badly, leaves something.
        if operation is not None and operation.type == "Import" and scope.status.operation is None:
            await note_leftover(scope, operation)
        raise


async def note_leftover(scope: ReplicaScope, operation: Operation) -> None:
    """List the locked stub that a killed create of ours leaves: no token can clear its lock (`qm unlock` is root's).

    Only for work that was seen to be ours, as a task: the command that is told destroys whatever has the number.
    """
    assert operation.vmid is not None
    config = await own_config(scope, scope.node, operation.vmid)
    if config is None or config.lock != STUB_LOCK or scope.owns(config):
        return
    kept = [leftover for leftover in scope.status.leftovers or () if leftover.vmid != operation.vmid]
    command = f"qm unlock {operation.vmid} && qm destroy {operation.vmid} --purge"
    scope.status.leftovers = [*kept, Leftover(node=scope.node, vmid=operation.vmid, command=command)][-MAX_LEFTOVERS:]
    # It leaves the list when the cluster no longer lists it, so the look at hand must have seen it.
    scope.world = await scope.connection.observer.fresh()


async def own_config(scope: ReplicaScope, node: str, vmid: int) -> VmConfig | None:
    """The machine's own configuration; None: this node has no machine with that VMID."""
    try:
        return await in_time(scope.pve.vm_config(node, vmid), node)
    except provider.NotFound:
        return None


def require_answering(scope: ReplicaScope, node: str) -> None:
    """Raises for a node that did not answer the observer: each call to it would hold a worker for half a minute."""
    if (why := scope.world.unread.get(node)) is not None:
        raise unknown(scope, "NodeUnreachable", why)


def unknown(scope: ReplicaScope, reason: str, message: str, *, remedy: str | None = None) -> Waiting:
    """What cannot be seen: of a copy that was made, Ready is Unknown, not False; a copy to be made waits."""
    waiting = Waiting(reason, message, OFFLINE_RETRY_S, remedy=remedy)
    if scope.status.vmid is None:
        scope.status.phase = "Pending"
    else:
        scope.status.phase = "Unknown"
        scope.ready(status=ConditionStatus.UNKNOWN, reason=reason, message=waiting.text)
    return waiting


def _release(scope: ReplicaScope) -> str:
    """The command that lets a replica go whose template nobody can reach any more."""
    metadata = scope.object.metadata
    command = f"kubectl annotate templatereplica {metadata.name} -n {metadata.namespace} {FORCE_RELEASE}=true"
    return f"let it go and leave its template where it is: {command}"
