"""Targets and Local sources that lie in each other: of two jobs, the younger is refused.

Two jobs that write one tree would remove each other's files, and a job whose target lies in a source would mirror what
it made itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pantograph.api.dataserver import DataServer
from pantograph.api.meta import Key
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.controllers import strmobjects
from pantograph.engine.cache import Cache
from pantograph.engine.errors import Terminal


@dataclass(frozen=True, slots=True)
class Place:
    """A directory on a volume."""

    volume: strmobjects.Index
    path: tuple[str, ...]

    def overlaps(self, other: Place) -> bool:
        """Whether one of them holds the other, or both are the same."""
        shared = min(len(self.path), len(other.path))
        return self.volume == other.volume and self.path[:shared] == other.path[:shared]


class Overlaps:
    """Who was refused because of whom, so that it is looked at again when the other goes: a short cut, no truth."""

    def __init__(self) -> None:
        self._refused: dict[Key, set[Key]] = {}

    def note(self, *, refused: Key, holder: Key) -> None:
        self._refused.setdefault(holder, set()).add(refused)

    def take(self, holder: Key) -> set[Key]:
        """Who may have a way now that something changed about `holder`."""
        return self._refused.pop(holder, set())


def target_of(job: StrmSyncJob) -> Place:
    target = job.spec.target
    volume = target.root or target.persistent_volume_claim
    assert volume is not None, "the API server has made sure"
    where = strmobjects.volume(job.metadata.namespace, target.root, target.persistent_volume_claim)
    return Place(where, _segments(volume.sub_path))


def source_of(job: StrmSyncJob, server: DataServer) -> Place | None:
    """None: the source is no folder of a volume that we know."""
    local = server.spec.local
    if local is None:
        return None
    volume = local.root or local.persistent_volume_claim
    assert volume is not None, "the API server has made sure"
    where = strmobjects.volume(server.metadata.namespace, local.root, local.persistent_volume_claim)
    return Place(where, _segments(volume.sub_path) + _segments(job.spec.source.path))


def refuse_overlap(job: StrmSyncJob, server: DataServer | None, cache: Cache, overlaps: Overlaps) -> None:
    """Raises Terminal `TargetOverlaps` or `SourceOverlaps` if an older job has something of this one's place."""
    target, source = target_of(job), None if server is None else source_of(job, server)
    if source is not None and source.overlaps(target):
        raise Terminal(
            "SourceOverlaps",
            f"the target lies in the source, or the source in the target: {_shown(target)}",
            remedy="set spec.target.root.subPath (or that of the claim) to a folder beside the source",
        )
    for other in _older_jobs(job, [target, source], cache):
        if target.overlaps(target_of(other)):
            overlaps.note(refused=job.key, holder=other.key)
            raise _refusal("TargetOverlaps", f"its target {_shown(target_of(other))} overlaps this one's", other)
        if source is not None and source.overlaps(target_of(other)):
            overlaps.note(refused=job.key, holder=other.key)
            raise _refusal("SourceOverlaps", f"its target {_shown(target_of(other))} overlaps this one's source", other)
        read = strmobjects.read(cache, other.spec.server_ref.key("DataServer", other.metadata.namespace), DataServer)
        other_source = None if read is None else source_of(other, read)
        if other_source is not None and other_source.overlaps(target):
            overlaps.note(refused=job.key, holder=other.key)
            raise _refusal("SourceOverlaps", f"its source {_shown(other_source)} overlaps this one's target", other)


def _older_jobs(job: StrmSyncJob, places: list[Place | None], cache: Cache) -> Iterator[StrmSyncJob]:
    """Jobs with a target or a Local source on one of the volumes, that were there before this one."""
    found: set[Key] = set()
    for volume in {place.volume for place in places if place is not None}:
        for key in cache.indexed(volume):
            found |= {key} if key.kind == "StrmSyncJob" else set(cache.referrers(key, kind="StrmSyncJob"))
    for key in sorted(found - {job.key}):
        other = strmobjects.read(cache, key, StrmSyncJob)
        if other is not None and _age(other) < _age(job):
            yield other


def _age(job: StrmSyncJob) -> tuple[object, ...]:
    meta = job.metadata
    assert meta.creation_timestamp is not None, "the API server has set it"
    return (meta.creation_timestamp, meta.namespace, meta.name)


def _refusal(reason: str, fault: str, other: StrmSyncJob) -> Terminal:
    name = f"{other.metadata.namespace}/{other.metadata.name}"
    return Terminal(reason, f"StrmSyncJob {name} is older, and {fault}", remedy="set another subPath for one of them")


def _shown(place: Place) -> str:
    return f"{' '.join(place.volume[1:])} /{'/'.join(place.path)}"


def _segments(path: str | None) -> tuple[str, ...]:
    return tuple(part for part in (path or "").split("/") if part not in ("", "."))
