"""Which places must hold a copy: pure, from the placements and what is known of their clusters.

A place leaves the plan only when the spec stops naming it or, while the cluster is quorate, its node is no longer a
member. Anything that merely cannot be used now keeps its place: the replica there says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from pantograph.api.names import replica_name
from pantograph.api.vmtemplate import Placement

ClusterId = tuple[str, str]
"""Namespace and name of a ProxmoxCluster."""


@dataclass(frozen=True, slots=True)
class StorageView:
    """A storage: the nodes that have it, and whether they share it."""

    nodes: frozenset[str]
    shared: bool


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What planning knows of a cluster. It exists only if the cluster was fully observed while quorate."""

    online: Mapping[str, bool]
    """Every member node, and whether it is online."""
    storages: Mapping[str, StorageView]


@dataclass(frozen=True, slots=True)
class Place:
    """One wanted copy."""

    name: str
    """Of the TemplateReplica and the virtual machine."""
    cluster: ClusterId
    node: str
    storage: str
    staging_storage: str | None
    transfer: Literal["Auto", "Depot"]
    copy_of: str | None = None
    """On shared storage: the name of the place that holds the real copy; None: this one does."""


@dataclass(frozen=True)
class Plan:
    """All wanted places, and the clusters about which nothing may be concluded now."""

    places: Sequence[Place]
    unknown: frozenset[ClusterId]

    @cached_property
    def names(self) -> frozenset[str]:
        """Of all wanted places."""
        return frozenset(place.name for place in self.places)

    def keeps(self, *, cluster: ClusterId, name: str) -> bool:
        """Whether an existing child stays: it is planned, or its cluster is named and cannot be judged now."""
        return cluster in self.unknown or name in self.names


def make_plan(
    template: str,
    namespace: str,
    *,
    revision: str,
    placements: Sequence[Placement],
    views: Mapping[ClusterId, ClusterView | None],
    holders: frozenset[str],
) -> Plan:
    """The places of `placements`; `holders` are the names of places that already hold, or are making, a real copy."""
    places: dict[str, Place] = {}
    unknown: set[ClusterId] = set()
    for placement in placements:
        reference = placement.proxmox.cluster_ref
        cluster = (reference.namespace or namespace, reference.name)
        view = views.get(cluster)
        if view is None:
            unknown.add(cluster)
            continue
        for place in _places_of(template, cluster, placement, revision=revision, view=view, holders=holders):
            places.setdefault(place.name, place)
    return Plan(
        tuple(sorted(places.values(), key=lambda place: (place.cluster, place.node, place.storage))), frozenset(unknown)
    )


def _places_of(
    template: str,
    cluster: ClusterId,
    placement: Placement,
    *,
    revision: str,
    view: ClusterView,
    holders: frozenset[str],
) -> list[Place]:
    proxmox = placement.proxmox
    storage = view.storages.get(proxmox.storage)
    nodes = [node for node in _nodes_of(placement, view, storage) if node not in (proxmox.exclude_nodes or ())]
    places = [
        Place(
            name=replica_name(template, cluster=cluster, node=node, storage=proxmox.storage, revision=revision),
            cluster=cluster,
            node=node,
            storage=proxmox.storage,
            staging_storage=proxmox.staging_storage,
            transfer=placement.transfer or "Auto",
        )
        for node in nodes
    ]
    if storage is None or not storage.shared or not places:
        return places
    owner = _owner(places, view, holders)
    return [place if place is owner else replace(place, copy_of=owner.name) for place in places]


def _nodes_of(placement: Placement, view: ClusterView, storage: StorageView | None) -> list[str]:
    """Named nodes as named; otherwise the members that have the storage (a restricted storage is no place of all)."""
    if placement.proxmox.nodes is not None:
        return sorted(node for node in placement.proxmox.nodes if node in view.online)
    return sorted(view.online.keys() & storage.nodes) if storage else []


def _owner(places: Sequence[Place], view: ClusterView, holders: frozenset[str]) -> Place:
    """Who holds the one real copy on shared storage: whoever does already, else the first node that is online."""
    return min(places, key=lambda place: (place.name not in holders, not view.online[place.node], place.node))
