"""The Kubernetes Jobs of a StrmSyncJob that is let go by force: they end now, not when the garbage collector comes."""

from __future__ import annotations

from contextlib import suppress

from pantograph.api import labels
from pantograph.api.meta import JOBS, Body, Key
from pantograph.controllers.runs.authority import is_job_of
from pantograph.controllers.runs.registry import Registry
from pantograph.engine.cache import Cache
from pantograph.engine.kube import Conflict, NotFound
from pantograph.engine.services import Services


async def end_jobs(key: Key, *, services: Services, registry: Registry) -> None:
    """After this the API server has been told to end every run of this job, and whichever reports is told to stop.

    Those that have ended go with them, as they would with their owner. Raises KubeError.
    """
    jobs = _jobs_of(key, services.cache)
    for job in jobs:
        registry.forget(job["metadata"]["labels"][labels.RUN])
    for job in jobs:
        metadata = job["metadata"]
        with suppress(NotFound, Conflict):  # gone, or another one of that name, which is not ours to delete
            await services.kube.delete(
                JOBS, metadata["namespace"], metadata["name"], uid=metadata["uid"], propagation="Foreground"
            )


def _jobs_of(key: Key, cache: Cache) -> list[Body]:
    """Its own alone: a label on a Job says nothing, for everybody may write it in a namespace of theirs."""
    owner, of_name = cache.get(key), {labels.JOB: labels.label_value(key.name)}
    found = map(cache.get, cache.select(JOBS.kind, namespace=key.namespace, labels=of_name))
    return [job for job in found if job and is_job_of(job, owner, job["metadata"]["labels"].get(labels.RUN, ""))]
