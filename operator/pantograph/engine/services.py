"""What the engine gives to every controller, in one hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Self

from pantograph.api.meta import Body, Key
from pantograph.clock import Clock

from .cache import Cache
from .events import EventRecorder
from .kube import KubeApi
from .metrics import Metrics
from .queue import WorkQueue

WAKE_S = 0.2
"""Within so long, news that concern the same object are one …"""
WAKE_PER_CHILD_S = 0.01
"""… and longer, the more children it has: each look at it reads them all …"""
WAKE_PER_WAITING_S = 0.02
"""… and the more keys wait: what sums up others can come later when there is much to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One a process (in simulation: one a life of the simulated process)."""

    kube: KubeApi
    cache: Cache
    queue: WorkQueue
    events: EventRecorder
    metrics: Metrics
    clock: Clock
    random: Random
    reconciled: set[str] = field(default_factory=set)
    """Kinds that have a controller here."""

    def learn(self, body: Body) -> bool:
        """Take in the answer to a call of ours and wake whom it concerns; False if it told nothing new.

        The watch will not do that any more: the change is known by then. The object itself is in hand.
        """
        concerned = self.cache.learn(body)
        if concerned is None:
            return False
        self.wake(concerned)
        return True

    def forget(self, key: Key, *, uid: str) -> bool:
        """The object is gone, as a call of ours has told: wake whom that concerns; False if it was not held.

        Neither will the watch do that any more.
        """
        concerned = self.cache.concerned(key)
        if not self.cache.forget(key, uid=uid):
            return False
        self.wake(concerned)
        return True

    def wake(self, keys: Iterable[Key]) -> None:
        """Look at these soon. Not at once: a parent is looked at once for a burst of news of its children."""
        patience_s = WAKE_S + WAKE_PER_WAITING_S * len(self.queue)
        for key in sorted(keys):
            if key.kind in self.reconciled:
                self.queue.add_after(key, patience_s + WAKE_PER_CHILD_S * self.cache.count_owned(key))

    @classmethod
    def create(cls, *, kube: KubeApi, clock: Clock, random: Random, metrics: Metrics | None = None) -> Self:
        """All of them around this API, clock and randomness."""
        metrics = metrics or Metrics()
        return cls(
            kube=kube,
            cache=Cache(),
            queue=WorkQueue(clock=clock, random=random, metrics=metrics),
            events=EventRecorder(kube=kube, clock=clock),
            metrics=metrics,
            clock=clock,
            random=random,
        )
