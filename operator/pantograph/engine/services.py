"""What the engine gives to every controller, in one hand."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Self

from pantograph.clock import Clock

from .cache import Cache
from .events import EventRecorder
from .kube import KubeApi
from .metrics import Metrics
from .queue import WorkQueue


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
