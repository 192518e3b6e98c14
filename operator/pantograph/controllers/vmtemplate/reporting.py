"""The last step of a template: what its places say, summed up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pantograph.api import labels
from pantograph.api.conditions import READY, STALLED, ConditionStatus, find, is_true, name_some
from pantograph.api.meta import CONFIG_MAPS, Body
from pantograph.api.templatereplica import TemplateReplica
from pantograph.api.vmtemplate import MAX_LOCATIONS, Location, ReplicaCounts, TemplateProgress
from pantograph.controllers.vmtemplate.scope import TemplateScope
from pantograph.engine.errors import Terminal, Waiting

CHANGE_WAKES_S: Final = 300.0
PROGRESS_STEP: Final = 5
"""Percent: smaller progress is not worth a write."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """One wanted place: its replica, if there is one yet, and what that says."""

    name: str
    replica: TemplateReplica | None

    @property
    def is_ready(self) -> bool:
        return self.replica is not None and is_true(self.replica.status.conditions, READY)

    @property
    def is_unseen(self) -> bool:
        """Made and ready once, and not to be reached now: it still counts, and degrades."""
        ready = find(self.replica.status.conditions, READY) if self.replica else None
        return (
            ready is not None
            and ready.status is ConditionStatus.UNKNOWN
            and self.replica is not None
            and self.replica.status.phase == "Unknown"
        )

    @property
    def is_failed(self) -> bool:
        return self.replica is not None and is_true(self.replica.status.conditions, STALLED)

    @property
    def percent(self) -> int:
        if self.is_ready or self.is_unseen:
            return 100
        progress = self.replica.status.operation.progress if self.replica and self.replica.status.operation else None
        return (progress.percent or 0) if progress else 0

    def says(self) -> str:
        ready = find(self.replica.status.conditions, READY) if self.replica else None
        return f"{self.name}: {ready.message or ready.reason}" if ready else f"{self.name}: not begun"


async def report(scope: TemplateScope) -> None:
    """After this the status counts and names the places; Ready if enough of them are."""
    places = _standings(scope)
    good = [place for place in places if place.is_ready or place.is_unseen]
    lacking = [place for place in places if place not in good]
    scope.status.replicas = ReplicaCounts(
        desired=len(places),
        ready=len(good),
        failed=sum(place.is_failed for place in lacking),
        extra=len(scope.extras()),
        summary=f"{len(good)}/{len(places)}",
    )
    scope.status.progress = _progress(scope, places)
    await _publish_locations(scope, places)
    _judge_degraded(scope, places)

    if places and len(good) >= _min_ready(scope, len(places)) and not _unplanned(scope):
        scope.status.current = scope.status.revision
        message = f"{len(good)} of {len(places)} places hold revision {scope.status.revision}"
        scope.ready(message=message)
        return
    _refuse_unready(scope, places, lacking)


def _standings(scope: TemplateScope) -> list[_Standing]:
    children = {child.metadata.name: child for child in scope.children() if not child.deleting}
    kept = [child.metadata.name for child in children.values() if scope.plan.keeps(cluster=_cluster(child), name=child.metadata.name)]
    names = dict.fromkeys([*(place.name for place in scope.plan.places), *sorted(kept)])
    return [_Standing(name, children.get(name)) for name in names]


def _refuse_unready(scope: TemplateScope, places: Sequence[_Standing], lacking: Sequence[_Standing]) -> None:
    unplanned = _unplanned(scope)
    if unplanned:
        raise Waiting("ClusterNotReady", f"which places there are cannot be told yet: ProxmoxCluster {name_some(unplanned)} is not ready", CHANGE_WAKES_S)
    if not places:
        raise Terminal(
            "NoPlaces",
            "no node of the placements' clusters has the storage that they name",
            remedy="correct spec.placements[].proxmox.storage or nodes",
        )
    count = f"{len(places) - len(lacking)} of {len(places)} places are ready"
    message = f"{count}; {name_some((place.says() for place in lacking), limit=3)}"
    if lacking and all(place.is_failed for place in lacking):
        raise Terminal("PlacesFailed", message)
    raise Waiting("PlacesNotReady", message, CHANGE_WAKES_S)


def _unplanned(scope: TemplateScope) -> list[str]:
    """Clusters that were never planned: nothing is known of their places, not even from the replicas there."""
    planned = {_cluster(child) for child in scope.children()}
    return sorted("/".join(cluster) for cluster in scope.plan.unknown - planned)


def _min_ready(scope: TemplateScope, desired: int) -> int:
    wanted = scope.object.spec.min_ready
    return wanted if isinstance(wanted, int) else desired


def _judge_degraded(scope: TemplateScope, places: Sequence[_Standing]) -> None:
    unseen = [place for place in places if place.is_unseen]
    if unseen:
        scope.set_condition(
            "Degraded", True, reason="PlacesUnreachable", message=name_some((place.says() for place in unseen), limit=3)
        )
        return
    scope.drop_condition("Degraded")


def _progress(scope: TemplateScope, places: Sequence[_Standing]) -> TemplateProgress | None:
    """The mean of all places, in steps that are worth a write; None when there is nothing under way."""
    percent = sum(place.percent for place in places) // len(places) if places else 0
    if percent >= 100:
        return None
    known = scope.object.status.progress
    if known is not None and abs(percent - known.percent) < PROGRESS_STEP:
        return known
    return TemplateProgress(percent=percent)


async def _publish_locations(scope: TemplateScope, places: Sequence[_Standing]) -> None:
    """The first of them in the status, all of them in a ConfigMap; that is written when, and only when, one changes."""
    primaries = _primaries(scope, places)
    locations = [
        Location(
            replica=place.name,
            cluster="/".join(_cluster(place.replica)),
            node=place.replica.spec.node,
            storage=place.replica.spec.storage,
            vmid=place.replica.status.vmid,
            ready=place.is_ready,
            primary=True if place.name in primaries else None,
        )
        for place in places
        if place.replica is not None
    ]
    shown = locations[:MAX_LOCATIONS] or None
    if shown != scope.object.status.locations or len(locations) > MAX_LOCATIONS:
        await _write_config_map(scope, locations)
    scope.status.locations = shown


def _primaries(scope: TemplateScope, places: Sequence[_Standing]) -> set[str]:
    """One copy a cluster: the one that is already, while it is ready, else the oldest ready one."""
    were = {location.replica for location in scope.object.status.locations or () if location.primary}
    best: dict[tuple[str, str], TemplateReplica] = {}
    for place in places:
        replica = place.replica
        if replica is None or replica.spec.type != "Copy" or not place.is_ready:
            continue
        cluster = _cluster(replica)
        if cluster not in best or _seniority(replica, were) < _seniority(best[cluster], were):
            best[cluster] = replica
    return {replica.metadata.name for replica in best.values()}


def _seniority(replica: TemplateReplica, were: set[str]) -> tuple[bool, str, str]:
    return (replica.metadata.name not in were, str(replica.metadata.creation_timestamp), replica.metadata.name)


async def _write_config_map(scope: TemplateScope, locations: Sequence[Location]) -> None:
    metadata = scope.object.metadata
    name = f"{metadata.name}-locations"
    resource = scope.object.info.resource
    body: Body = {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": CONFIG_MAPS.kind,
        "metadata": {
            "name": name,
            "namespace": metadata.namespace,
            "labels": {labels.TEMPLATE: labels.label_value(metadata.name), labels.MANAGED: "true"},
            "ownerReferences": [
                {"apiVersion": resource.api_version, "kind": resource.kind, "name": metadata.name, "uid": metadata.uid}
            ],
        },
        "data": {
            "locations.json": json.dumps(
                [location.model_dump(mode="json", by_alias=True, exclude_none=True) for location in locations], indent=1
            )
        },
    }
    await scope.kube.apply(CONFIG_MAPS, metadata.namespace, name, body)


def _cluster(replica: TemplateReplica) -> tuple[str, str]:
    key = replica.spec.cluster_ref.key("ProxmoxCluster", replica.metadata.namespace)
    return (key.namespace, key.name)
