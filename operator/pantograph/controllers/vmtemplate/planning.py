"""Which places must hold a copy: pure, from the placements and what is known of their clusters.

A place leaves the plan only when the spec stops naming it or, while the cluster is quorate, its node is no longer a
member. Anything that merely cannot be used now keeps its place: the replica there says why. A listing of storages only
adds places: Proxmox leaves out what is disabled, restricted to other nodes, or not for these credentials to see.
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
class Child:
    """A replica of this template that is there and is not being deleted."""

    type: Literal["Copy", "Logical"]
    holds: bool
    """Whether anything of it is outside."""
    copy_of: str | None = None
    """Of a view: the replica whose copy it shows."""

    @property
    def holds_copy(self) -> bool:
        return self.type == "Copy" and self.holds


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
    """All wanted places, and the clusters and storages about which nothing may be concluded now."""

    places: Sequence[Place]
    unknown: frozenset[ClusterId]
    unlisted: Sequence[tuple[ClusterId, str]] = ()
    """Storages that a placement names and their cluster does not list: they may be there all the same."""

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
    children: Mapping[str, Child],
) -> Plan:
    """The places of `placements`; `children` are the replicas that there are already, by name."""
    places: dict[str, Place] = {}
    unknown: set[ClusterId] = set()
    unlisted: set[tuple[ClusterId, str]] = set()
    for placement in placements:
        reference = placement.proxmox.cluster_ref
        cluster = (reference.namespace or namespace, reference.name)
        view = views.get(cluster)
        if view is None:
            unknown.add(cluster)
            continue
        if placement.proxmox.storage not in view.storages:
            unlisted.add((cluster, placement.proxmox.storage))
        for place in _places_of(template, cluster, placement, revision=revision, view=view, children=children):
            places.setdefault(place.name, place)
    return Plan(
        tuple(sorted(places.values(), key=lambda place: (place.cluster, place.node, place.storage))),
        frozenset(unknown),
        tuple(sorted(unlisted)),
    )


def _places_of(
    template: str,
    cluster: ClusterId,
    placement: Placement,
    *,
    revision: str,
    view: ClusterView,
    children: Mapping[str, Child],
) -> list[Place]:
    proxmox = placement.proxmox
    storage = view.storages.get(proxmox.storage)
    members = [
        Place(
            name=replica_name(template, cluster=cluster, node=node, storage=proxmox.storage, revision=revision),
            cluster=cluster,
            node=node,
            storage=proxmox.storage,
            staging_storage=proxmox.staging_storage,
            transfer=placement.transfer or "Auto",
        )
        for node in sorted(view.online)
        if node not in (proxmox.exclude_nodes or ())
    ]
    places = [place for place in members if _is_wanted(place, placement, storage, children)]
    if storage is None:
        return _as_they_are(places, children)
    if not places or not storage.shared:
        return places
    owner = _owner(places, view, storage, children)
    return [
        place if place is owner or _holds_copy(place, children) else replace(place, copy_of=owner.name)
        for place in places
    ]


def _is_wanted(place: Place, placement: Placement, storage: StorageView | None, children: Mapping[str, Child]) -> bool:
    """Named nodes as named; otherwise the members that have the storage, and those that hold a replica there already.

    A restricted storage is no new place of the other nodes; a replica goes only when the spec stops naming its place.
    """
    if placement.proxmox.nodes is not None:
        return place.node in placement.proxmox.nodes
    return place.name in children or (storage is not None and place.node in storage.nodes)


def _as_they_are(places: Sequence[Place], children: Mapping[str, Child]) -> list[Place]:
    """On a storage that is not listed: whether it is shared is not known, so views stay views, of the same copy."""
    shown = {child.copy_of for place in places if (child := children.get(place.name)) and child.copy_of}
    joined = min(shown, default=None)
    return [
        replace(place, copy_of=children[place.name].copy_of if place.name in children else joined) for place in places
    ]


def _owner(places: Sequence[Place], view: ClusterView, storage: StorageView, children: Mapping[str, Child]) -> Place:
    """Who holds the one real copy on shared storage: whoever does; else, of the nodes that have the storage, who is
    about to make it, or the first that is online.
    """

    def rank(place: Place) -> tuple[bool, bool, bool, bool, str]:
        child = children.get(place.name)
        is_copy = child is not None and child.type == "Copy"
        lacks_storage = place.node not in storage.nodes
        return (
            not _holds_copy(place, children), lacks_storage, not is_copy, not view.online[place.node], place.node,
        )  # fmt: skip

    return min(places, key=rank)


def _holds_copy(place: Place, children: Mapping[str, Child]) -> bool:
    """Whether a real copy is there, or being made: no listing turns it into a view, for that would destroy it."""
    return place.name in children and children[place.name].holds_copy
