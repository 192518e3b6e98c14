"""The last step of a template: what its places say, summed up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pantograph.api import labels
from pantograph.api.conditions import READY, STALLED, ConditionStatus, find, is_true, name_some
from pantograph.api.meta import CONFIG_MAPS, Body, Key
from pantograph.api.names import short_hash
from pantograph.api.templatereplica import TemplateReplica
from pantograph.api.vmtemplate import MAX_LOCATIONS, Location, ReplicaCounts, TemplateProgress
from pantograph.controllers.vmtemplate.scope import TemplateScope
from pantograph.engine.errors import StepError, Terminal, Waiting

CHANGE_WAKES_S: Final = 300.0
PROGRESS_S: Final = 30.0
"""While places are being made, the status is written at most this often."""


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
    def counts(self) -> bool:
        """Whether it holds a copy, as far as anybody can tell."""
        return self.is_ready or self.is_unseen

    @property
    def is_failed(self) -> bool:
        return self.replica is not None and is_true(self.replica.status.conditions, STALLED)

    @property
    def percent(self) -> int:
        if self.counts:
            return 100
        progress = self.replica.status.operation.progress if self.replica and self.replica.status.operation else None
        return (progress.percent or 0) if progress else 0

    def says(self) -> str:
        ready = find(self.replica.status.conditions, READY) if self.replica else None
        return f"{self.name}: {ready.message or ready.reason}" if ready else f"{self.name}: not begun"


async def report(scope: TemplateScope) -> None:
    """After this the status counts and names the places; Ready if enough of them are.

    While places are being made, news of them are gathered and written once in a while: they change all the time.
    """
    places = _standings(scope)
    good = [place for place in places if place.counts]
    lacking = [place for place in places if not place.counts]
    _judge_degraded(scope, places)
    verdict = _verdict(scope, places, lacking)
    if _is_mere_progress(scope, verdict):
        known = find(scope.object.status.conditions, READY)
        scope.look_again(PROGRESS_S)
        raise Waiting("PlacesNotReady", known.message if known else "", CHANGE_WAKES_S)
    scope.status.replicas = ReplicaCounts(
        desired=len(places),
        ready=len(good),
        failed=sum(place.is_failed for place in lacking),
        extra=len(scope.extras()),
        summary=f"{len(good)}/{len(places)}",
    )
    scope.status.progress = _progress(scope, places)
    await _publish_locations(scope, places)
    if verdict is not None:
        raise verdict
    scope.status.current = scope.status.revision
    scope.ready(message=f"{len(good)} of {len(places)} places hold revision {scope.status.revision}")


def _is_mere_progress(scope: TemplateScope, verdict: StepError | None) -> bool:
    """Whether nothing is new but how far the places are, and that was written only lately."""
    if verdict is None or verdict.reason != "PlacesNotReady":
        return False
    known, progress = find(scope.object.status.conditions, READY), scope.object.status.progress
    if known is None or known.reason != verdict.reason or known.observed_generation != scope.generation:
        return False
    return progress is not None and (scope.now - progress.updated_at).total_seconds() < PROGRESS_S


def _standings(scope: TemplateScope) -> list[_Standing]:
    children = {child.metadata.name: child for child in scope.children() if not child.deleting}
    kept = [
        child.metadata.name
        for child in children.values()
        if scope.plan.keeps(cluster=_cluster(child), name=child.metadata.name)
    ]
    names = dict.fromkeys([*(place.name for place in scope.plan.places), *sorted(kept)])
    return [_Standing(name, children.get(name)) for name in names]


def _verdict(scope: TemplateScope, places: Sequence[_Standing], lacking: Sequence[_Standing]) -> StepError | None:
    """None: enough places are ready; otherwise why not."""
    unplanned = _unplanned(scope)
    if unplanned:
        missing = [name for name in unplanned if not _exists(scope, name)]
        if missing:
            return Waiting("ClusterNotFound", f"ProxmoxCluster {name_some(missing)} does not exist", CHANGE_WAKES_S)
        named = name_some(unplanned)
        message = f"which places there are cannot be told yet: ProxmoxCluster {named} is not ready"
        return Waiting("ClusterNotReady", message, CHANGE_WAKES_S)
    if not places:
        detail = f": {_unlisted(scope)}" if scope.plan.unlisted else ""
        return Terminal(
            "NoPlaces",
            f"no node of the placements' clusters has the storage that they name{detail}",
            remedy="correct spec.placements[].proxmox.storage or nodes",
        )
    if len(places) - len(lacking) >= _min_ready(scope, len(places)):
        return None
    if not lacking:
        return Terminal(
            "TooFewPlaces",
            f"spec.minReady is {scope.object.spec.min_ready}, and there are {len(places)} places, all of them ready",
            remedy="lower spec.minReady, or name more placements or nodes",
        )
    count = f"{len(places) - len(lacking)} of {len(places)} places are ready"
    message = f"{count}; {name_some((place.says() for place in lacking), limit=3)}"
    if all(place.is_failed for place in lacking):
        return Terminal("PlacesFailed", message)
    return Waiting("PlacesNotReady", message, CHANGE_WAKES_S)


def _unplanned(scope: TemplateScope) -> list[str]:
    """Clusters that were never planned: nothing is known of their places, not even from the replicas there."""
    planned = {_cluster(child) for child in scope.children()}
    return sorted("/".join(cluster) for cluster in scope.plan.unknown - planned)


def _exists(scope: TemplateScope, cluster: str) -> bool:
    namespace, _, name = cluster.partition("/")
    return scope.services.cache.entry(Key("ProxmoxCluster", namespace, name)) is not None


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
    if scope.plan.unlisted:
        message = f"no further copy is placed there: {_unlisted(scope)}"
        scope.set_condition("Degraded", True, reason="StorageUnlisted", message=message)
        return
    scope.drop_condition("Degraded")


def _unlisted(scope: TemplateScope) -> str:
    """Which storages the listings lack, and what keeps a storage out of them; Proxmox does not tell which it is."""
    return name_some(
        f"storage {storage} of ProxmoxCluster {'/'.join(cluster)} is not listed: it is not there, disabled "
        f"(pvesm set {storage} --disable 0), or the credentials lack Datastore.Audit on /storage/{storage}"
        for cluster, storage in scope.plan.unlisted
    )


def _progress(scope: TemplateScope, places: Sequence[_Standing]) -> TemplateProgress | None:
    """The mean of all places; None when there is nothing under way."""
    percent = sum(place.percent for place in places) // len(places) if places else 0
    known = scope.object.status.progress
    if percent >= 100 or (known is not None and known.percent == percent):
        return known if percent < 100 else None
    return TemplateProgress(percent=percent, updated_at=scope.now)


async def _publish_locations(scope: TemplateScope, places: Sequence[_Standing]) -> None:
    """The first of them in the status, all of them in a ConfigMap; that is written when, and only when, one changes."""
    primaries = _primaries(places)
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
    rest = [repr(location) for location in locations[MAX_LOCATIONS:]]
    digest = short_hash(rest) if rest else None
    if shown != scope.object.status.locations or digest != scope.object.status.further_locations:
        await _write_config_map(scope, locations)
    scope.status.locations = shown
    scope.status.further_locations = digest


def _primaries(places: Sequence[_Standing]) -> set[str]:
    """One copy a cluster: the oldest ready one, so that a crash on the way changes nothing."""
    best: dict[tuple[str, str], TemplateReplica] = {}
    for place in places:
        replica = place.replica
        if replica is None or replica.spec.type != "Copy" or not place.is_ready:
            continue
        cluster = _cluster(replica)
        if cluster not in best or _seniority(replica) < _seniority(best[cluster]):
            best[cluster] = replica
    return {replica.metadata.name for replica in best.values()}


def _seniority(replica: TemplateReplica) -> tuple[str, str]:
    return (str(replica.metadata.creation_timestamp), replica.metadata.name)


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
