"""How `StrmSyncJob`s and `DataServer`s are found in the cache: by name, by volume, by the runs at work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pantograph.api.base import Resource
from pantograph.api.dataserver import DataServer
from pantograph.api.declaration import InvalidObject
from pantograph.api.meta import Key
from pantograph.api.strmspec import ClaimVolume, RootVolume
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.engine.cache import Cache

R = TypeVar("R", bound=Resource[Any, Any])
Index = tuple[str, ...]

ALL_AT_WORK: Final[Index] = ("strm-run",)
"""Jobs with a run at work, or announced."""


def read(cache: Cache, key: Key, model: type[R]) -> R | None:
    """The object; None: there is none, or this version cannot read its spec, which its own controller says."""
    try:
        return cache.read(key, model)
    except InvalidObject:
        return None


def at_work(server: Key) -> Index:
    """Jobs with a run at work, or announced, on this server."""
    return ("strm-run", server.namespace, server.name)


@dataclass(frozen=True, slots=True)
class Place:
    """A directory on a volume."""

    volume: Index
    path: tuple[str, ...]

    def overlaps(self, other: Place) -> bool:
        """Whether one of them holds the other, or both are the same."""
        shared = min(len(self.path), len(other.path))
        return self.volume == other.volume and self.path[:shared] == other.path[:shared]

    @property
    def at(self) -> Index:
        """Jobs whose target is exactly here."""
        return ("strm-at", *self.volume, *self.path)

    @property
    def below(self) -> Index:
        """Jobs whose target lies below."""
        return ("strm-below", *self.volume, *self.path)

    @property
    def above(self) -> list[Place]:
        """The directories that hold this one."""
        return [Place(self.volume, self.path[:depth]) for depth in range(len(self.path))]


def target_of(job: StrmSyncJob) -> Place:
    """Where the job writes."""
    target = job.spec.target
    return _place(job.metadata.namespace, target.root, target.persistent_volume_claim)


def folder_of(server: DataServer) -> Place | None:
    """Where a Local server's media are; None: it is no folder."""
    local = server.spec.local
    return None if local is None else _place(server.metadata.namespace, local.root, local.persistent_volume_claim)


def source_of(job: StrmSyncJob, server: DataServer) -> Place | None:
    """What the job mirrors, if that is a folder."""
    folder = folder_of(server)
    return None if folder is None else Place(folder.volume, folder.path + segments(job.spec.source.path))


def jobs_around(cache: Cache, place: Place) -> set[Key]:
    """Jobs whose targets overlap the place."""
    found = set(cache.indexed(place.at) | cache.indexed(place.below))
    return found.union(*(cache.indexed(each.at) for each in place.above))


def jobs_reading(cache: Cache, volume: Index) -> set[Key]:
    """Jobs on servers whose folder lies on the volume."""
    found: set[Key] = set()
    return found.union(*(cache.referrers(server, kind="StrmSyncJob") for server in cache.indexed(volume)))


def of_job(job: StrmSyncJob) -> list[Index]:
    """Everything under which a job is found."""
    target = target_of(job)
    found = [target.at, *(each.below for each in target.above)]
    if job.status.operation is not None:
        found += [ALL_AT_WORK, at_work(job.spec.server_ref.key("DataServer", job.metadata.namespace))]
    return found


def of_server(server: DataServer) -> list[Index]:
    """Under which a server is found: by its volume, if it is a folder."""
    folder = folder_of(server)
    return [] if folder is None else [folder.volume]


def segments(path: str | None) -> tuple[str, ...]:
    return tuple(part for part in (path or "").split("/") if part not in ("", "."))


def _place(namespace: str, root: RootVolume | None, claim: ClaimVolume | None) -> Place:
    """A claim is one of this namespace."""
    if root is not None:
        return Place(("strm-volume", "root", root.name), segments(root.sub_path))
    assert claim is not None, "exactly one, as the API server has made sure"
    return Place(("strm-volume", "claim", namespace, claim.claim_name), segments(claim.sub_path))
