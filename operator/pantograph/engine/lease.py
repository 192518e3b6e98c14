"""Which process works: the one that holds the Lease (`coordination.k8s.io/v1`).

The package's own elector was measured and cannot be used: it starts only if the Lease exists, goes on leading while the
API server hangs, and never releases. This one measures its deadline on a monotonic clock from before each renewal was
sent, so it stops believing before anybody else may start; it empties `holderIdentity` when it is asked to stop, so a
successor need not wait for the expiry.

Correctness never rests on it: two processes may overlap for a moment, and resourceVersions decide between them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from pantograph.api.meta import GROUP, LEASES, Body
from pantograph.clock import Clock

from .kube import Conflict, KubeApi, KubeError, NotFound
from .metrics import Metrics

logger = logging.getLogger(__name__)

ADDRESS = f"{GROUP}/address"
"""Annotation of the Lease: where its holder hears runs."""


class LeaseLost(Exception):
    """This process may no longer work: it must end at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Seconds. Chosen so that a successor starts within 2 s of a release and within 16 s of a kill."""

    duration: float = 13.0
    """How long a standby waits for a renewal before it takes over."""
    renew_deadline: float = 9.0
    """How long the holder believes without a renewal; below `duration`."""
    renew_every: float = 2.0
    """Between two renewals, ±20 % like `look_every`."""
    look_every: float = 1.5
    """Between two looks of a standby."""
    request: float = 3.0
    """What one request may take."""


@dataclass(slots=True)
class _Seen:
    """A foreign holder's Lease, and when we saw it change: its own times are of another machine's clock."""

    version: str
    at: float
    duration: float


class Elector:
    """One a process. `acquire`, then `hold` as a task beside the work, then `release`."""

    def __init__(
        self,
        *,
        kube: KubeApi,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes | None = None,
        address: str = "",
    ) -> None:
        """`address`: where this process is reached while it leads; a standby sends others there."""
        self._kube = kube
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._times = times or LeaseTimes()
        self._address = address
        self._seen: _Seen | None = None
        self._renewed_at = float("-inf")
        self.holder: str | None = None
        """Who holds it, as last seen."""
        self.holder_address = ""
        """Where the holder is reached, as last seen; empty: it did not say."""

    @property
    def leading(self) -> bool:
        """Whether the Lease is ours and its deadline has not passed."""
        return self.holder == self._identity and self._left() > 0

    async def acquire(self) -> None:
        """Return when the Lease is ours, however long that takes."""
        logger.info("waiting for the Lease %s/%s", self._namespace, self._name)
        while not await self._attempt(self._take, self._times.request):
            await self._clock.sleep(min(self._jittered(self._times.look_every), self._until_expiry()))
        self._metrics.leader.set(1)
        logger.info("leading as %s", self._identity)

    async def hold(self) -> None:
        """Renew for ever. Raises LeaseLost when another holds it, or when no renewal succeeded before the deadline."""
        try:
            while True:
                await self._clock.sleep(min(self._jittered(self._times.renew_every), self._left()))
                if await self._attempt(self._renew, min(self._times.request, self._left())):
                    continue
                if self.holder != self._identity:
                    raise LeaseLost(f"the Lease {self._name} is held by {self.holder or 'nobody'}")
                if not self.leading:
                    raise LeaseLost(f"the Lease {self._name} was not renewed for {self._times.renew_deadline:.0f} s")
        finally:
            self._metrics.leader.set(0)

    async def release(self) -> None:
        """Empty `holderIdentity`, if it is ours: a successor starts at once. One attempt, failures are logged."""
        if self.holder != self._identity:
            return
        await self._attempt(self._give_up, self._times.request)
        self._metrics.leader.set(0)

    # One attempt each; True: the Lease is ours (or given up), as wanted

    async def _attempt(self, step: Callable[[], Any], timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                return bool(await step())
        except Conflict:
            return False  # another was quicker; the next attempt sees who
        except (KubeError, TimeoutError) as error:
            logger.warning("the Lease %s could not be read or written: %s", self._name, error or "no answer in time")
            return False

    async def _take(self) -> bool:
        started = self._clock.monotonic()
        try:
            lease = await self._kube.get(LEASES, self._namespace, self._name)
        except NotFound:
            body = {
                "metadata": {"name": self._name, "namespace": self._namespace, "annotations": {ADDRESS: self._address}},
                "spec": self._spec(transitions=0),
            }
            return self._won(await self._kube.create(LEASES, self._namespace, body), started)
        spec = lease.get("spec") or {}
        self.holder = spec.get("holderIdentity") or None
        self.holder_address = (lease["metadata"].get("annotations") or {}).get(ADDRESS, "")
        if self.holder not in (None, self._identity) and not self._expired(lease):
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + (self.holder != self._identity)
        lease["spec"] = self._spec(transitions=transitions)
        lease["metadata"].setdefault("annotations", {})[ADDRESS] = self._address
        return self._won(await self._kube.replace(LEASES, self._namespace, self._name, lease), started)

    async def _renew(self) -> bool:
        started = self._clock.monotonic()
        lease = await self._kube.get(LEASES, self._namespace, self._name)
        spec = lease.get("spec") or {}
        self.holder = spec.get("holderIdentity") or None
        if self.holder != self._identity:
            return False
        lease["spec"] = {**spec, "renewTime": _micro_time(self._clock.now())}
        return self._won(await self._kube.replace(LEASES, self._namespace, self._name, lease), started)

    async def _give_up(self) -> bool:
        lease = await self._kube.get(LEASES, self._namespace, self._name)
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") == self._identity:
            lease["spec"] = {**spec, "holderIdentity": "", "renewTime": _micro_time(self._clock.now())}
            await self._kube.replace(LEASES, self._namespace, self._name, lease)
            logger.info("the Lease is released")
        self.holder = None
        return True

    def _expired(self, lease: Body) -> bool:
        """Whether its holder has not renewed for its duration, by our clock and since we look."""
        version = lease["metadata"]["resourceVersion"]
        now = self._clock.monotonic()
        if self._seen is None or self._seen.version != version:
            duration = float((lease.get("spec") or {}).get("leaseDurationSeconds") or self._times.duration)
            self._seen = _Seen(version, now, duration)
        return now - self._seen.at >= self._seen.duration

    def _won(self, _: Body, started: float) -> bool:
        self._seen = None
        self.holder = self._identity
        self._renewed_at = started
        return True

    def _spec(self, *, transitions: int) -> Body:
        now = _micro_time(self._clock.now())
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._times.duration)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _left(self) -> float:
        """Seconds in which we may still believe."""
        return max(0.0, self._renewed_at + self._times.renew_deadline - self._clock.monotonic())

    def _until_expiry(self) -> float:
        """Seconds until the foreign Lease that we saw may be taken."""
        if self._seen is None:
            return self._times.look_every
        return max(0.1, self._seen.at + self._seen.duration - self._clock.monotonic())

    def _jittered(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.8, 1.2)


def _micro_time(moment: datetime) -> str:
    """A `metav1.MicroTime`: without its microseconds the API server refuses it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
