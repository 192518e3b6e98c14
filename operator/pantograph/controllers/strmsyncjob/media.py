"""What the controller of StrmSyncJobs works with, in one hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pantograph.api.meta import Key
from pantograph.controllers.claims import Claims
from pantograph.controllers.mediasources import MediaSources
from pantograph.controllers.runs.cooldowns import Cooldowns
from pantograph.controllers.runs.port import Runs
from pantograph.controllers.runs.roots import Roots
from pantograph.controllers.strmsyncjob.overlaps import Overlaps
from pantograph.controllers.strmsyncjob.runqueue import RunQueue
from pantograph.controllers.strmsyncjob.watches import Watches

if TYPE_CHECKING:
    from pantograph.controllers.strmsyncjob.alerting import Alerts, Delivery

DEFAULT_MAX_RUNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One a process; in simulation, one a life of the simulated process."""

    runs: Runs
    sources: MediaSources
    watches: Watches
    roots: Roots
    cooldowns: Cooldowns
    alerts: Alerts
    max_runs: int = DEFAULT_MAX_RUNS
    """Runs at work at once, on all servers together."""
    queue: RunQueue = field(default_factory=RunQueue)
    claims: Claims = field(default_factory=Claims)
    overlaps: Overlaps = field(default_factory=Overlaps)
    deliveries: dict[Key, Delivery] = field(default_factory=dict)
    """Alerts on their way, by the job that they are about."""
