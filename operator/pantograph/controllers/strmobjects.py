"""How `StrmSyncJob`s and `DataServer`s are found in the cache: by name, by volume, by the runs at work."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pantograph.api.base import InvalidObject, Resource
from pantograph.api.dataserver import DataServer
from pantograph.api.meta import Key
from pantograph.api.strmsyncjob import ClaimVolume, RootVolume, StrmSyncJob
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


def volume(namespace: str, root: RootVolume | None, claim: ClaimVolume | None) -> Index:
    """Jobs whose target, and servers whose folder, lies on this volume; a claim is one of this namespace."""
    if root is not None:
        return ("strm-volume", "root", root.name)
    assert claim is not None, "exactly one, as the API server has made sure"
    return ("strm-volume", "claim", namespace, claim.claim_name)


def of_job(job: StrmSyncJob) -> list[Index]:
    """Everything under which a job is found."""
    namespace, target = job.metadata.namespace, job.spec.target
    found = [volume(namespace, target.root, target.persistent_volume_claim)]
    if job.status.operation is not None:
        found += [ALL_AT_WORK, at_work(job.spec.server_ref.key("DataServer", namespace))]
    return found


def of_server(server: DataServer) -> list[Index]:
    """Under which a server is found, if it is a folder."""
    local = server.spec.local
    if local is None:
        return []
    return [volume(server.metadata.namespace, local.root, local.persistent_volume_claim)]
