"""The steps that keep one `TemplateReplica` a place: planned, applied, pruned, and all deleted in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pantograph.api import labels
from pantograph.api.conditions import READY, find, name_some
from pantograph.api.meta import RECONCILE_AT, Body, Key
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.api.templatereplica import TemplateReplica
from pantograph.controllers import indexes
from pantograph.controllers.namespaces import refuse_foreign_namespace
from pantograph.controllers.vmtemplate.planning import Child, ClusterId, ClusterView, Place, StorageView, make_plan
from pantograph.controllers.vmtemplate.scope import TemplateScope
from pantograph.engine.errors import Waiting
from pantograph.engine.kube import Conflict, NotFound

DELETION_RETRY_S = 10.0
_DROPPED_WITH_OURS: Final = ("stagingStorage", "interval")
"""What a child may not keep once the template does not say it any more."""


async def plan_places(scope: TemplateScope) -> None:
    """After this it is decided which places must hold a copy."""
    assert scope.status.revision is not None, "ensure_revision has made sure"
    references = [placement.proxmox.cluster_ref for placement in scope.object.spec.placements]
    namespace = scope.object.metadata.namespace
    clusters: set[ClusterId] = {(reference.namespace or namespace, reference.name) for reference in references}
    scope.plan = make_plan(
        scope.object.metadata.name,
        revision=scope.status.revision,
        namespace=namespace,
        placements=scope.object.spec.placements,
        views={cluster: _view(scope, cluster) for cluster in clusters},
        children={
            child.metadata.name: Child(
                child.spec.type,
                child.status.holds_anything,
                copy_of=child.spec.copy_ref.name if child.spec.copy_ref else None,
            )
            for child in scope.children()
            if not child.deleting
        },
    )


async def ensure_replicas(scope: TemplateScope) -> None:
    """After this every planned place has its TemplateReplica, as planned."""
    if scope.object.status.revision != scope.status.revision:
        # They read image and revision from the stored template: each would find none, and write that it waits.
        await scope.commit()
    existing = {child.metadata.name: child for child in scope.children()}
    for place in scope.plan.places:
        wanted = _replica(scope, place)
        child = existing.get(place.name)
        if child is not None and (child.deleting or _agrees(child, wanted)):
            continue
        if child is not None and child.spec.type != wanted["spec"]["type"]:
            # The type is immutable, so another replica takes its name when it is gone. Nothing is lost: a view has
            # nothing outside, and the plan makes no view of a copy that has.
            await _delete(scope, child)
            continue
        answer = await scope.kube.apply(
            TemplateReplica.info.resource, scope.object.metadata.namespace, place.name, wanted
        )
        scope.services.learn(answer)
        scope.services.queue.add(Key("TemplateReplica", scope.object.metadata.namespace, place.name))


async def give_turns(scope: TemplateScope) -> None:
    """After this as many waiting copies look again as may be begun: that each asks again and again costs far more."""
    making = scope.services.cache.indexed(indexes.making(scope.key))
    waiting = scope.services.cache.indexed(indexes.queued(scope.key)) - making
    free = scope.object.spec.max_parallel - len(making)
    for key in sorted(waiting)[: max(0, free)]:
        scope.services.queue.add(key)


async def prune_replicas(scope: TemplateScope) -> None:
    """After this replicas of places that left the plan are being deleted; a place nobody can judge now stays."""
    for child in scope.children():
        cluster = _cluster_of(child)
        if child.deleting or scope.plan.keeps(cluster=cluster, name=child.metadata.name):
            continue
        await _delete(scope, child)


async def delete_replicas(scope: TemplateScope) -> None:
    """After this no replica of ours exists any more; what blocks their deletion is repeated here."""
    children = scope.children()
    retain = scope.object.spec.deletion_policy == "Retain"
    for child in children:
        if not child.deleting:
            if retain and child.spec.deletion_policy != "Retain":
                await _retain(scope, child)
            await _delete(scope, child)
    if not children:
        return
    blockers = [
        f"{child.metadata.name}: {ready.message}"
        for child in children
        if (ready := find(child.status.conditions, READY)) is not None and child.deleting and ready.status != "True"
    ]
    detail = f": {name_some(blockers)}" if blockers else ""
    raise Waiting("DeletingReplicas", f"{len(children)} replicas still exist{detail}", DELETION_RETRY_S)


def _view(scope: TemplateScope, cluster: ClusterId) -> ClusterView | None:
    """What its `ProxmoxCluster` says; None if that is not there, or says nothing that could be relied on now."""
    found = scope.services.cache.read(Key("ProxmoxCluster", *cluster), ProxmoxCluster)
    if found is None:
        return None
    refuse_foreign_namespace(found, scope.object.metadata.namespace)
    if not found.status.nodes or not found.status.quorate:
        return None
    reachable = find(found.status.conditions, "Reachable")
    if reachable is None or reachable.status != "True":
        return None
    return ClusterView(
        online={node.name: node.online for node in found.status.nodes},
        storages={
            storage.name: StorageView(frozenset(storage.nodes), storage.shared)
            for storage in found.status.storages or ()
        },
    )


def _replica(scope: TemplateScope, place: Place) -> Body:
    """The child as it is applied: our labels only, never those of the parent (a GitOps tool would adopt it)."""
    metadata = scope.object.metadata
    cluster_namespace, cluster_name = place.cluster
    spec: dict[str, Any] = {
        "type": "Copy" if place.copy_of is None else "Logical",
        "templateRef": {"name": metadata.name},
        "revision": scope.status.revision,
        "clusterRef": {"name": cluster_name, "namespace": cluster_namespace},
        "node": place.node,
        "storage": place.storage,
        "transfer": place.transfer,
        "deletionPolicy": scope.object.spec.deletion_policy,
    }
    if place.staging_storage is not None:
        spec["stagingStorage"] = place.staging_storage
    if place.copy_of is not None:
        spec["copyRef"] = {"name": place.copy_of}
    if scope.object.spec.interval is not None:
        spec["interval"] = scope.object.spec.interval
    resource = TemplateReplica.info.resource
    body: Body = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": place.name,
            "namespace": metadata.namespace,
            "labels": {
                labels.TEMPLATE: labels.label_value(metadata.name),
                labels.REVISION: scope.status.revision,
                labels.CLUSTER: labels.label_value(cluster_name),
                labels.NODE: labels.label_value(place.node),
                labels.ROLE: "replica",
                labels.MANAGED: "true",
            },
            "ownerReferences": [
                {
                    "apiVersion": scope.object.info.resource.api_version,
                    "kind": scope.object.info.resource.kind,
                    "name": metadata.name,
                    "uid": metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }
    if (token := metadata.annotations.get(RECONCILE_AT)) is not None:
        body["metadata"]["annotations"] = {RECONCILE_AT: token}
    return body


def _agrees(child: TemplateReplica, wanted: Body) -> bool:
    """Whether the child says all that we apply, and no more (but a person's `suspend`)."""
    metadata = wanted["metadata"]
    spec = child.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return (
        _contains(spec, wanted["spec"])
        and all(spec.get(name) == wanted["spec"].get(name) for name in _DROPPED_WITH_OURS)
        and _contains(child.metadata.labels, metadata["labels"])
        and _contains(child.metadata.annotations, metadata.get("annotations", {}))
    )


def _contains(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    return all(
        _contains(outer.get(name) or {}, value) if isinstance(value, Mapping) else outer.get(name) == value
        for name, value in inner.items()
    )


def _cluster_of(child: TemplateReplica) -> ClusterId:
    reference = child.spec.cluster_ref
    return (reference.namespace or child.metadata.namespace, reference.name)


async def _retain(scope: TemplateScope, child: TemplateReplica) -> None:
    """The template's policy may have changed while nobody looked; a child that goes must know the last word."""
    patch = {"spec": {"deletionPolicy": "Retain"}}
    await scope.kube.merge_patch(child.info.resource, child.metadata.namespace, child.metadata.name, patch)


async def _delete(scope: TemplateScope, child: TemplateReplica) -> None:
    try:
        await scope.kube.delete(
            child.info.resource, child.metadata.namespace, child.metadata.name, uid=child.metadata.uid
        )
    except (NotFound, Conflict):
        # Gone, or another object under its name: the watch tells.
        return
