"""What one reconcile of a `StrmSyncJob` has read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pantograph.api.dataserver import DataServer
from pantograph.api.meta import Key, to_body
from pantograph.api.names import short_hash
from pantograph.api.strmstatus import RunStatus, StrmSyncJobStatus
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.controllers.strmsyncjob.cron import Tick, Timetable
from pantograph.controllers.strmsyncjob.media import Media
from pantograph.controllers.strmsyncjob.watches import Followed
from pantograph.controllers.strmsyncjob.wishes import Wish
from pantograph.engine.errors import StepError, Waiting
from pantograph.engine.scope import Scope

_NO_REASON_TO_RUN = frozenset({"suspend", "interval", "schedule", "watch", "notify", "deletionPolicy", "execution"})
"""Fields of the spec that decide neither which files are wanted nor what they contain."""


@dataclass(kw_only=True)
class JobScope(Scope[StrmSyncJob, StrmSyncJobStatus]):
    """The job, its server, and what is due; each set by the step that its name says."""

    media: Media
    server: DataServer | None = None
    """By `find_server`; None: it does not exist (any more)."""
    going_on: Waiting | None = None
    """By `settle_run`: how the reconcile ends while a run is at work."""
    silent_since: datetime | None = None
    """By `settle_run`: the run at work should have said something long ago; `going_on` says what is known."""
    ended: RunStatus | None = None
    """By `settle_run`: the run whose result was recorded just now."""
    timetable: Timetable | None = None
    """By `read_schedule`; None: there is no cron."""
    tick: Tick | None = None
    """By `plan`: what the clock says about it."""
    followed: Followed | None = None
    """By `follow_changes`: what the job hears of changes."""
    wish: Wish | None = None
    """By `plan`: the run that should begin now."""
    judged: StepError | None = None
    """By `report`: what the last run means, if that ends the reconcile."""

    @property
    def server_key(self) -> Key:
        return self.object.spec.server_ref.key("DataServer", self.object.metadata.namespace)

    @property
    def in_operator(self) -> bool:
        """Whether runs are children of the operator; otherwise they are Kubernetes Jobs."""
        return self.object.spec.target.root is not None

    @property
    def spec_digest(self) -> str:
        """Changes with everything that makes another run necessary."""
        spec = to_body(self.object.spec)
        return short_hash({name: value for name, value in spec.items() if name not in _NO_REASON_TO_RUN}, length=16)
