"""By what a `TemplateReplica` is found in the cache besides its name, so that no step walks all of them."""

from __future__ import annotations

from pantograph.api.conditions import STALLED, is_true
from pantograph.api.meta import Key
from pantograph.api.templatereplica import TemplateReplica

Index = tuple[str, ...]


def vmid(cluster: Key, number: int) -> Index:
    """Replicas that have, or have announced, this VMID on this cluster."""
    return ("vmid", cluster.namespace, cluster.name, str(number))


def node(cluster: Key, name: str) -> Index:
    """Replicas whose place is on this node."""
    return ("node", cluster.namespace, cluster.name, name)


def unmade(cluster: Key, name: str) -> Index:
    """Copies on this node that have no VMID yet."""
    return ("unmade", cluster.namespace, cluster.name, name)


def making(template: Key) -> Index:
    """Replicas of a template that are being made."""
    return ("making", template.namespace, template.name)


def queued(template: Key) -> Index:
    """Replicas of a template that wait for their turn."""
    return ("queued", template.namespace, template.name)


def staging(cluster: Key, node: str | None, volid: str) -> Index:
    """Replicas that download this file; `node` is None on shared storage."""
    return ("staging", cluster.namespace, cluster.name, node or "", volid)


def staged(cluster: Key, volid: str) -> Index:
    """Replicas that know of this staged file."""
    return ("staged", cluster.namespace, cluster.name, volid)


def of(replica: TemplateReplica) -> list[Index]:
    """Everything under which a replica is found."""
    spec, status = replica.spec, replica.status
    namespace = replica.metadata.namespace
    cluster = spec.cluster_ref.key("ProxmoxCluster", namespace)
    operation = status.operation
    found: list[Index] = [node(cluster, spec.node)]
    if spec.type != "Copy":
        return found
    numbers = {status.vmid, operation.vmid if operation else None}
    if status.vmid is None:
        found.append(unmade(cluster, spec.node))
    found += [vmid(cluster, number) for number in numbers if number is not None]
    template = Key("VMTemplate", namespace, spec.template_ref.name)
    # Who failed for good holds no turn, and is not woken for one: that would try the same again and again. It asks for
    # a turn when it looks again by itself.
    stalled = is_true(status.conditions, STALLED)
    if operation is not None or (status.phase in ("Staging", "Importing", "Converting") and not stalled):
        found.append(making(template))
    if operation is None and status.phase == "Pending" and not stalled:
        found.append(queued(template))
    if operation is not None and operation.type == "Stage" and operation.volid:
        # Found by who knows that the storage is shared, and by who does not.
        found += [staging(cluster, spec.node, operation.volid), staging(cluster, None, operation.volid)]
    if status.staged is not None:
        found.append(staged(cluster, status.staged.volid))
    return found
