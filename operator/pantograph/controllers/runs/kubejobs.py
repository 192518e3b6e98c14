"""Runs as Kubernetes Jobs, on volumes that only a Pod can mount."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

from pantograph.api import labels
from pantograph.api.meta import JOBS, PODS, Body, Key
from pantograph.api.run import INTERRUPTED, RunResult
from pantograph.api.units import format_duration
from pantograph.controllers.runs.authority import expect, is_job_of
from pantograph.controllers.runs.manifest import LATER_S, PodSettings, job_manifest, job_name
from pantograph.controllers.runs.orders import secrets_of
from pantograph.controllers.runs.pods import how_ended, is_waiting, result_left, why_waiting
from pantograph.controllers.runs.port import RunOrder, RunState
from pantograph.controllers.runs.registry import KnownRun, Registry
from pantograph.controllers.runs.silence import of_pod as silence_of_pod
from pantograph.controllers.secrets import read_secret
from pantograph.engine.cache import Watched
from pantograph.engine.errors import Terminal
from pantograph.engine.kube import Conflict, NotFound
from pantograph.engine.services import Services

logger = logging.getLogger(__name__)

HANDLE: Final = "Job"
CANCEL_GRACE_S: Final = 30.0
"""So long a cancelled run may take to end by its own word; then its Job is deleted, which gives it 60 s more."""
PENDING_S: Final = 1800.0
"""So long a Pod may take to begin, if `schedule.deadline` does not say: a volume that another node holds may be free in
a while, and an image may be large."""
KEPT: Final = 3
"""Of a StrmSyncJob's Jobs that have ended, so many newest ones are kept for their logs."""
MAX_ANNOTATIONS_BYTES: Final = 256 * 1024
"""Of names and values together, on one object (Kubernetes' `TotalAnnotationSizeLimitB`)."""
WATCHED: Final = Watched(JOBS, labels=labels.RUN)
"""For the controller's `also_watches`: a Job's changes wake its StrmSyncJob."""


class KubeJobs:
    """One a process."""

    def __init__(
        self,
        settings: PodSettings,
        *,
        services: Services,
        registry: Registry,
        authority: Callable[[], str],
        installation: str,
        cancel_grace_s: float = CANCEL_GRACE_S,
    ) -> None:
        """`authority`: the PEM that runs trust."""
        self._settings = settings
        self._services = services
        self._registry = registry
        self._authority = authority
        self._installation = installation
        self._cancel_grace_s = cancel_grace_s
        self._ending: dict[str, asyncio.Task[None]] = {}

    async def start(self, order: RunOrder) -> str:
        """See `Runs.start`."""
        refuse_apart(order)
        for secret in secrets_of(order):
            if not secret.optional:  # or the Pod would wait for it without a word
                await read_secret(self._services.kube, secret.namespace, secret.name)
        key, name = order.job.key, job_name(order.job.key, order.id)
        body = job_manifest(order, self._settings, authority=self._authority(), installation=self._installation)
        refuse_too_large(body)
        try:
            made = await self._services.kube.create(JOBS, key.namespace, body)
        except Conflict:
            made = await self._services.kube.get(JOBS, key.namespace, name)
            if not is_job_of(made, self._services.cache.get(key), order.id):
                raise Terminal(
                    "JobNameTaken",
                    f"Job {name} exists and belongs to something else",
                    remedy=f"kubectl delete job {name} -n {key.namespace}",
                ) from None
        self._registry.enter(order.id, key=key, server=order.server.key)
        self._services.learn(made)
        return f"{HANDLE}/{name}"

    async def find(self, key: Key, run: str) -> str | None:
        """See `Runs.find`."""
        job = await self._job(key, run)
        return None if job is None else f"{HANDLE}/{job['metadata']['name']}"

    async def look(self, key: Key, run: str, handle: str) -> RunState | None:
        """See `Runs.look`."""
        known = self._known(key, run)
        progress = known.progress if known else None
        job = await self._job(key, run)
        said = known.result if known else None
        if said is not None and said.reason != INTERRUPTED:
            return RunState(False, progress, said)
        if job is None:
            self._registry.forget(run)
            return None
        if _is_leaving(job) or not _has_ended(job):
            return await self._look_at_work(job, run, known, key=key)
        pod = await self._pod(job, run)
        result = said or (result_left(pod) if pod else None)
        if result is not None and result.reason == INTERRUPTED:
            self._registry.forget(run)
            return None
        how = "" if result else (pod and how_ended(pod)) or _failure(job) or _NO_WORD
        return RunState(False, progress, result, how)

    async def cancel(self, key: Key, run: str, handle: str) -> None:
        """See `Runs.cancel`."""
        known = self._known(key, run)
        asked_at = self._registry.cancel(run) if known else None
        job = await self._job(key, run)
        if job is None:
            return
        pod = None if known is not None and known.heard else await self._pod(job, run)
        if asked_at is None or (pod is not None and is_waiting(pod)):
            await self._delete(job)
        elif run not in self._ending:
            ending = self._end_later(key, run)
            self._ending[run] = asyncio.create_task(ending, name=f"end-{run}")
            self._ending[run].add_done_callback(lambda _: self._ending.pop(run, None))

    async def forget(self, key: Key, run: str, handle: str) -> None:
        """See `Runs.forget`; also removes the oldest Jobs beyond those kept."""
        self._registry.forget(run, stored=True)
        ended = [job for job in self._own_jobs(key) if _has_ended(job)]
        ended.sort(key=lambda job: job["metadata"].get("creationTimestamp") or "")
        for job in ended[:-KEPT]:
            await self._delete(job)

    async def end(self, key: Key) -> None:
        """See `Runs.end`. Those that have ended go with them, as they would with their owner. Raises KubeError."""
        jobs = self._own_jobs(key)
        for job in jobs:
            self._registry.forget(job["metadata"]["labels"].get(labels.RUN, ""))
        for job in jobs:
            await self._delete(job)

    async def close(self) -> None:
        """Jobs go on by themselves; only our own waiting for some of them ends."""
        for task in list(self._ending.values()):
            task.cancel()
        await asyncio.gather(*self._ending.values(), return_exceptions=True)

    # How

    async def _look_at_work(self, job: Body, run: str, known: KnownRun | None, *, key: Key) -> RunState:
        """A run that reports works; of one that does not, the Pod says why."""
        progress, heard = (known.progress, known.heard) if known else (None, False)
        silent_since = self._registry.silent_since(run)
        is_leaving = _is_leaving(job)
        if silent_since is None and (heard or is_leaving):
            return RunState(True, progress, None, _LEAVING if is_leaving else "")
        pod, now = await self._pod(job, run), self._services.clock.now()
        has_begun = heard or (pod is not None and not is_waiting(pod))
        if not has_begun and not is_leaving:
            if (given_up := _given_up(job, pod, now)) is not None:
                await self._delete(job)
                return RunState(False, progress, given_up)
            self._registry.excuse(run)
        elif silent_since is not None:
            silence = silence_of_pod(key, silent_since, job=job, pod=pod)
            return RunState(True, progress, None, silence.fault, silence)
        return RunState(True, progress, None, why_waiting(pod, now=now) if pod else "")

    async def _job(self, key: Key, run: str) -> Body | None:
        """The run's own Job as cached; that there is none is asked, since a new run follows from it."""
        job = self._services.cache.get(Key(JOBS.kind, key.namespace, job_name(key, run)))
        if job is None:
            try:
                job = await self._services.kube.get(JOBS, key.namespace, job_name(key, run))
            except NotFound:
                return None
        return job if is_job_of(job, self._services.cache.get(key), run) else None

    async def _pod(self, job: Body, run: str) -> Body | None:
        """The newest of the Job's Pods."""
        metadata = job["metadata"]
        selector = f"{labels.RUN}={run}"
        found = (await self._services.kube.list(PODS, namespace=metadata["namespace"], labels=selector)).items
        pods = [pod for pod in found if _owner_uid(pod) == metadata["uid"]]
        return max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", default=None)

    def _own_jobs(self, key: Key) -> list[Body]:
        """As cached, and its own alone: a label on a Job says nothing, for everybody may write it."""
        uid, cache = self._uid(key), self._services.cache
        found = map(cache.get, cache.select(JOBS.kind, namespace=key.namespace, labels=_labels(key)))
        return [job for job in found if job and uid and _owner_uid(job) == uid]

    def _uid(self, key: Key) -> str | None:
        body = self._services.cache.get(key)
        return None if body is None else body["metadata"]["uid"]

    def _known(self, key: Key, run: str) -> KnownRun | None:
        """After a restart, what the status says: then its reports are heard from the first on."""
        if self._registry.get(run) is None:
            expect(self._services.cache, self._registry, run, key)
        return self._registry.get(run)

    async def _end_later(self, key: Key, run: str) -> None:
        await self._services.clock.sleep(self._cancel_grace_s)
        known = self._registry.get(run)
        if known is None or known.result is not None or (job := await self._job(key, run)) is None:
            return
        logger.warning("run %s of %s has not ended within %.0f s: deleting its Job", run, key, self._cancel_grace_s)
        await self._delete(job)

    async def _delete(self, job: Body) -> None:
        """In the foreground: the Job stays until its Pod has ended, so nothing begins on the same volume before."""
        metadata = job["metadata"]
        with suppress(NotFound, Conflict):  # gone, or another one of that name, which is not ours to delete
            await self._services.kube.delete(
                JOBS, metadata["namespace"], metadata["name"], uid=metadata["uid"], propagation="Foreground"
            )


def refuse_apart(order: RunOrder) -> None:
    """Raises Terminal if one Pod in the job's namespace cannot have all that the run needs. A purge needs no server."""
    if order.purge:
        return
    job, server = order.job.metadata, order.server.metadata
    name = f"DataServer {server.namespace}/{server.name}"
    if server.namespace != job.namespace:
        raise Terminal(
            "ServerElsewhere",
            f"the target is a PersistentVolumeClaim, so the run is a Pod in namespace {job.namespace}, where the Secret"
            f" of {name} cannot be mounted",
            remedy=f"make a DataServer and its Secret in namespace {job.namespace}, or use target.root",
        )
    local = order.server.spec.local
    if local is not None and local.root is not None:
        raise Terminal(
            "VolumesApart",
            f"the target is a PersistentVolumeClaim, but {name} lies on a root of the operator, which no Pod can mount",
            remedy="give local.persistentVolumeClaim, or use target.root",
        )


def refuse_too_large(job: Body) -> None:
    """Raises Terminal if the API server would not take what the Pod is to be told."""
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    size = sum(len(name.encode()) + len(text.encode()) for name, text in annotations.items())
    if size > MAX_ANNOTATIONS_BYTES:
        raise Terminal(
            "SpecTooLarge",
            f"the target is a PersistentVolumeClaim, and the specs of job and server are {size // 1024} KiB; a Pod can"
            f" be told {MAX_ANNOTATIONS_BYTES // 1024} KiB",
            remedy="shorten filter.include, filter.exclude, link or notify, split the job, or use target.root",
        )


def _given_up(job: Body, pod: Body | None, now: datetime) -> RunResult | None:
    """The result of a run whose Pod has not begun; None: there is time left."""
    meta, deadline_s = job["metadata"], job["spec"].get("activeDeadlineSeconds")
    limit_s = PENDING_S if deadline_s is None else float(deadline_s - LATER_S)
    if (now - datetime.fromisoformat(meta["creationTimestamp"])).total_seconds() < limit_s:
        return None
    command = f"kubectl describe job {meta['name']} -n {meta['namespace']}"
    why = why_waiting(pod, now=now) if pod is not None else f"none was made; what hinders it says {command}"
    message = f"its Pod has not begun within {format_duration(limit_s)}: {why or 'nobody says why'}"
    return RunResult(result="Failed", reason="PodNotStarted", message=message[:1024], duration=limit_s)


_LEAVING: Final = "its Job is being deleted; it ends when its Pod has ended"
_NO_WORD: Final = "its Pod has ended and has left no result"


def _labels(key: Key) -> dict[str, str]:
    return {labels.JOB: labels.label_value(key.name)}


def _owner_uid(body: Body) -> str | None:
    """Whose the object is; None: nobody's, or it says several."""
    owners = [each["uid"] for each in body["metadata"].get("ownerReferences") or () if each.get("controller")]
    return owners[0] if len(owners) == 1 else None


def _condition(job: Body, type: str) -> Body | None:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == type and each["status"] == "True"), None)


def _failure(job: Body) -> str | None:
    """What Kubernetes says of a Job that has failed."""
    failed = _condition(job, "Failed")
    return f"{failed.get('reason')}: {failed.get('message')}" if failed else None


def _is_leaving(job: Body) -> bool:
    """Whether it is being deleted: in the foreground, so its Pod may be at work, whatever else the Job says."""
    return job["metadata"].get("deletionTimestamp") is not None


def _is_complete(job: Body) -> bool:
    return _condition(job, "Complete") is not None


def _has_ended(job: Body) -> bool:
    return _is_complete(job) or _failure(job) is not None
