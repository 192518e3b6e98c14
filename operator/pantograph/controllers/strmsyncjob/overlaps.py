"""Targets and Local sources that lie in each other: of two jobs, the younger is refused.

Two jobs that write one tree would remove each other's files, and a job whose target lies in a source would mirror what
it made itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from pantograph.api.dataserver import DataServer
from pantograph.api.meta import Key
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.controllers import strmobjects
from pantograph.controllers.strmobjects import Place, jobs_around, jobs_reading, source_of, target_of
from pantograph.engine.cache import Cache
from pantograph.engine.errors import Terminal


class Overlaps:
    """Who was refused because of whom, so that it is looked at again when the other goes: a short cut, no truth."""

    def __init__(self) -> None:
        self._refused: dict[Key, set[Key]] = {}

    def note(self, *, refused: Key, holder: Key) -> None:
        self._refused.setdefault(holder, set()).add(refused)

    def take(self, holder: Key) -> set[Key]:
        """Who may have a way now that something changed about `holder`."""
        return self._refused.pop(holder, set())


def refuse_overlap(job: StrmSyncJob, server: DataServer | None, cache: Cache, overlaps: Overlaps) -> None:
    """Raises Terminal `TargetOverlaps` or `SourceOverlaps` if an older job has something of this one's place."""
    target, source = target_of(job), None if server is None else source_of(job, server)
    if source is not None and source.overlaps(target):
        raise Terminal(
            "SourceOverlaps",
            f"the target lies in the source, or the source in the target: {_shown(target)}",
            remedy="set spec.target.root.subPath (or that of the claim) to a folder beside the source",
        )
    for other in _older(job, jobs_around(cache, target), cache):
        overlaps.note(refused=job.key, holder=other.key)
        raise _refusal("TargetOverlaps", f"its target {_shown(target_of(other))} overlaps this one's", other)
    for other in _older(job, set() if source is None else jobs_around(cache, source), cache):
        overlaps.note(refused=job.key, holder=other.key)
        raise _refusal("SourceOverlaps", f"its target {_shown(target_of(other))} overlaps this one's source", other)
    for other in _older(job, jobs_reading(cache, target.volume), cache):
        read = strmobjects.read(cache, other.spec.server_ref.key("DataServer", other.metadata.namespace), DataServer)
        folder = None if read is None else source_of(other, read)
        if folder is not None and folder.overlaps(target):
            overlaps.note(refused=job.key, holder=other.key)
            raise _refusal("SourceOverlaps", f"its source {_shown(folder)} overlaps this one's target", other)


def _older(job: StrmSyncJob, keys: set[Key], cache: Cache) -> Iterator[StrmSyncJob]:
    """Those that were there before this one."""
    for key in sorted(keys - {job.key}):
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
