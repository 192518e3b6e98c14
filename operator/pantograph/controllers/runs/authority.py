"""Who may report for which run: the child that holds the run's secret, or the pod of the run's own Job.

A pod shows a ServiceAccount token that the kubelet has made for it alone (audience `pantograph`, bound to the pod); the
API server says whose it is. The account says nothing (every pod of the namespace may have it), the pod does.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from pantograph.api import labels
from pantograph.api.meta import JOBS, PODS, TOKEN_REVIEWS, Body, Key
from pantograph.api.run import TOKEN_AUDIENCE
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.clock import Clock
from pantograph.controllers.runs.manifest import job_name
from pantograph.controllers.runs.registry import Registry
from pantograph.engine.cache import Cache
from pantograph.engine.kube import KubeApi, NotFound

logger = logging.getLogger(__name__)

REVIEWED_FOR_S: Final = 60.0
"""So long a review is believed: a run reports every 5 s."""
STRM_SYNC_JOB: Final = StrmSyncJob.info.resource.kind
CHILD_HANDLE: Final = "Child/"
"""What the handles of child processes begin with; a run that has one is heard by its secret alone."""
_REMEMBERED: Final = 4096
_POD_NAME: Final = "authentication.kubernetes.io/pod-name"
_POD_UID: Final = "authentication.kubernetes.io/pod-uid"


class NotAdmitted(Exception):
    """This caller may not report for this run. Says nothing about what the run is, or whether there is one."""


@dataclass(frozen=True, slots=True)
class _Pod:
    namespace: str
    name: str
    uid: str


class Authority:
    """One a process."""

    def __init__(self, *, kube: KubeApi, cache: Cache, registry: Registry, clock: Clock) -> None:
        self._kube = kube
        self._cache = cache
        self._registry = registry
        self._clock = clock
        self._reviewed: OrderedDict[bytes, tuple[float, _Pod]] = OrderedDict()
        self._owner_of: OrderedDict[str, str] = OrderedDict()

    async def admit(self, run: str, token: str) -> None:
        """Return if the bearer of `token` is this run; afterwards the registry knows it, if anybody still asks for it.

        Raises NotAdmitted, and KubeError if the API server could not be asked.
        """
        if self._registry.opens(run, token):
            return
        if self._registry.is_child(run) or not (jobs := self._jobs_of(run)):
            raise NotAdmitted
        pod = await self._review(token)
        owner = None if pod is None else await self._owner(pod)
        key = next((key for key, job in jobs if pod and _is(job, uid=owner, namespace=pod.namespace)), None)
        if key is None:
            raise NotAdmitted
        self._expect(run, key)

    def _jobs_of(self, run: str) -> list[tuple[Key, Body]]:
        """The Job of each StrmSyncJob that may have begun the run, with it: one, or none.

        A label on a Job says nothing, for everybody may write it in a namespace of theirs. Who has begun the run is
        known here, or stands in a status; of a run that nobody asks for any more only its own Job's name and owner
        tell, and all that it hears is that.
        """
        known = self._registry.get(run)
        keys = [known.key] if known is not None else self._asking_for(run)
        if not keys:
            labelled = map(self._cache.get, self._cache.select(JOBS.kind, labels={labels.RUN: run}))
            keys = [owner for job in labelled if job and (owner := owner_of(job)) is not None]
        found = [(key, self._cache.get(Key(JOBS.kind, key.namespace, job_name(key, run)))) for key in keys]
        return [(key, job) for key, job in found if job is not None and is_job_of(job, self._cache.get(key), run)]

    def _asking_for(self, run: str) -> list[Key]:
        """By their status; a child's secret is gone with the process that gave it."""
        return [key for key in self._cache.keys(STRM_SYNC_JOB) if _asks_for(self._cache.get(key), run)]

    async def _review(self, token: str) -> _Pod | None:
        """Whose pod's token this is; None: nobody's, or not one for us."""
        digest = hashlib.sha256(token.encode()).digest()
        at, pod = self._reviewed.get(digest, (0.0, None))
        if pod is not None and self._clock.monotonic() - at < REVIEWED_FOR_S:
            return pod
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": [TOKEN_AUDIENCE]},
        }
        status = (await self._kube.create(TOKEN_REVIEWS, "", body)).get("status") or {}
        pod = _pod(status)
        if pod is not None:
            _remember(self._reviewed, digest, (self._clock.monotonic(), pod))
        return pod

    async def _owner(self, pod: _Pod) -> str | None:
        """The uid of the Job that controls the pod, which never changes."""
        known = self._owner_of.get(pod.uid)
        if known is not None:
            return known
        try:
            metadata = (await self._kube.get(PODS, pod.namespace, pod.name))["metadata"]
        except NotFound:
            return None
        owners = [each["uid"] for each in metadata.get("ownerReferences", ()) if each.get("controller")]
        if metadata["uid"] != pod.uid or len(owners) != 1:
            return None
        _remember(self._owner_of, pod.uid, owners[0])
        return str(owners[0])

    def _expect(self, run: str, key: Key) -> None:
        """After a restart nothing is known of a run but what the object's status says."""
        if self._registry.get(run) is None and not self._registry.is_recorded(run):
            expect(self._cache, self._registry, run, key)


def owner_of(job: Body) -> Key | None:
    """The StrmSyncJob that a Job belongs to."""
    namespace = job["metadata"]["namespace"]
    owners = [each for each in job["metadata"].get("ownerReferences", ()) if each.get("controller")]
    return Key(owners[0]["kind"], namespace, owners[0]["name"]) if owners else None


def is_job_of(job: Body, owner: Body | None, run: str) -> bool:
    """Whether the Job is this run of this very StrmSyncJob (its body), and not of one that had its name before."""
    metadata = job["metadata"]
    is_of_run = (metadata.get("labels") or {}).get(labels.RUN) == run
    owners = [each["uid"] for each in metadata.get("ownerReferences") or () if each.get("controller")]
    return owner is not None and is_of_run and owners == [owner["metadata"]["uid"]]


def expect(cache: Cache, registry: Registry, run: str, key: Key | None) -> bool:
    """Enter a run of which only the status speaks; False: the status does not name it, so nobody asks for it."""
    body = None if key is None else cache.get(key)
    if key is None or body is None or not _asks_for(body, run):
        return False
    reference = body["spec"]["serverRef"]
    server = Key("DataServer", reference.get("namespace") or key.namespace, reference["name"])
    registry.enter(run, key=key, server=server)
    return True


def _is(job: Body, *, uid: str | None, namespace: str) -> bool:
    return (job["metadata"]["uid"], job["metadata"]["namespace"]) == (uid, namespace)


def _asks_for(body: Body | None, run: str) -> bool:
    """Whether the StrmSyncJob's status names this run, as one that may be a Kubernetes Job."""
    operation = ((body or {}).get("status") or {}).get("operation") or {}
    return operation.get("token") == run and not str(operation.get("handle") or "").startswith(CHILD_HANDLE)


def _pod(status: Body) -> _Pod | None:
    if not status.get("authenticated") or TOKEN_AUDIENCE not in (status.get("audiences") or ()):
        return None
    user = status.get("user") or {}
    extra = user.get("extra") or {}
    # system:serviceaccount:<namespace>:<name>; a token that is bound to no pod names none.
    account = str(user.get("username", "")).split(":")
    names: list[str] = extra.get(_POD_NAME) or []
    uids: list[str] = extra.get(_POD_UID) or []
    if account[:2] != ["system", "serviceaccount"] or len(account) != 4 or len(names) != 1 or len(uids) != 1:
        return None
    return _Pod(account[2], names[0], uids[0])


def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
