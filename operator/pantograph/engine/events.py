"""Events: what happened to an object, for `kubectl describe`; on transitions only, a repetition counts up.

The name of an Event is a hash of what it says, so the same thing said again, also by another process, is the same
Event: only the verbs `create` and `patch` are needed, and a flapping object costs at most one write a minute.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal

from pantograph.api.conditions import truncate
from pantograph.api.declaration import ObjectMeta
from pantograph.api.meta import EVENTS, Body, ResourceType
from pantograph.api.units import format_timestamp
from pantograph.clock import Clock

from .kube import FIELD_MANAGER, Conflict, KubeApi, KubeError, NotFound

logger = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]
QUIET = timedelta(minutes=1)
"""The same Event is written again at the earliest after so long."""
REMEMBERED = 4096


@dataclass(slots=True)
class _Written:
    count: int
    at: datetime


class EventRecorder:
    """Writes Events; what goes wrong is logged and never hinders the reconcile."""

    def __init__(self, *, kube: KubeApi, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock
        self._written: OrderedDict[str, _Written] = OrderedDict()

    async def record(
        self, resource: ResourceType, meta: ObjectMeta, *, type: EventType, reason: str, message: str
    ) -> None:
        """Say that `reason` happened to the object; `message` holds no secret."""
        message = truncate(message)
        digest = sha256("\0".join((meta.uid, type, reason, message)).encode()).hexdigest()[:16]
        name = f"{meta.name[:236]}.{digest}"
        known = self._written.get(digest)
        now = self._clock.now()
        if known is not None and now - known.at < QUIET:
            return
        body = _event(resource, meta, name=name, type=type, reason=reason, message=message, at=format_timestamp(now))
        try:
            if known is None or not await self._count_up(meta.namespace, name, known.count + 1, now):
                await self._create(meta.namespace, name, body, now)
        except KubeError as error:
            logger.warning("the Event %s could not be written: %s", reason, error)
            return
        self._written[digest] = _Written(count=known.count + 1 if known else 1, at=now)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    async def _create(self, namespace: str, name: str, body: Body, now: datetime) -> None:
        try:
            await self._kube.create(EVENTS, namespace, body)
        except Conflict:  # said before, by a process that is gone
            await self._kube.merge_patch(EVENTS, namespace, name, {"lastTimestamp": format_timestamp(now)})

    async def _count_up(self, namespace: str, name: str, count: int, now: datetime) -> bool:
        """False if the Event is gone (the API server keeps them for an hour)."""
        try:
            await self._kube.merge_patch(
                EVENTS, namespace, name, {"count": count, "lastTimestamp": format_timestamp(now)}
            )
        except NotFound:
            return False
        return True


def _event(
    resource: ResourceType, meta: ObjectMeta, *, name: str, type: EventType, reason: str, message: str, at: str
) -> Body:
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": name, "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
        "type": type,
        "reason": reason,
        "message": message,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
