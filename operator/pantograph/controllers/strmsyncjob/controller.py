"""`StrmSyncJob`: mirrors a media tree by runs, each begun once, when it is due and its turn has come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pantograph.api.meta import Key
from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.controllers import faults, strmobjects
from pantograph.controllers.runs.kubejobs import WATCHED
from pantograph.controllers.strmsyncjob.alerting import tell_people
from pantograph.controllers.strmsyncjob.beginning import begin_run
from pantograph.controllers.strmsyncjob.media import Media
from pantograph.controllers.strmsyncjob.planning import plan, read_schedule, skip_tick
from pantograph.controllers.strmsyncjob.removing import end_run, ensure_purged
from pantograph.controllers.strmsyncjob.resolving import (
    find_server,
    follow_changes,
    require_place,
    require_server,
    wake_refused,
)
from pantograph.controllers.strmsyncjob.running import settle_run, stop_run
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.verdicts import show_last, verdict
from pantograph.engine.controller import Controller
from pantograph.engine.errors import StepError
from pantograph.engine.scope import Scope
from pantograph.engine.services import Services


async def report(scope: JobScope) -> None:
    """After this the status says what the last run means, also while another one is at work."""
    if scope.going_on is not None:
        show_last(scope)
        raise scope.going_on
    scope.judged = verdict(scope)
    if scope.judged is not None:
        raise scope.judged


class StrmSyncJobController(Controller[StrmSyncJob]):
    """Mirrors a media tree."""

    model: ClassVar = StrmSyncJob
    steps: ClassVar = (
        find_server,
        settle_run,
        stop_run,
        wake_refused,
        read_schedule,
        require_server,
        require_place,
        follow_changes,
        plan,
        skip_tick,
        begin_run,
        report,
    )
    also_watches: ClassVar = (WATCHED,)
    undo: ClassVar = (find_server, settle_run, end_run, ensure_purged)

    def __init__(self, services: Services, media: Media) -> None:
        super().__init__(services)
        self.media = media

    def open_scope(self, obj: StrmSyncJob) -> JobScope:
        return JobScope(object=obj, services=self.services, media=self.media)

    async def reconcile(self, key: Key) -> None:
        await super().reconcile(key)
        self.media.queue.sweep(key)
        if self._is_idle(key):
            self.media.watches.drop(key)

    def is_suspended(self, obj: StrmSyncJob) -> bool:
        """A run that is at work is followed to its end; nothing is begun after it."""
        return bool(obj.spec.suspend) and obj.status.operation is None

    def _is_idle(self, key: Key) -> bool:
        """Whether no step was taken because it is suspended."""
        job = strmobjects.read(self.services.cache, key, StrmSyncJob)
        return job is None or self.is_suspended(job)

    def index(self, obj: StrmSyncJob) -> Iterable[tuple[str, ...]]:
        return strmobjects.of_job(obj)

    def explain(self, error: Exception) -> StepError | None:
        return faults.step_error(error)

    async def heed_end(self, scope: Scope[StrmSyncJob, Any], end: StepError | None) -> None:
        if isinstance(scope, JobScope):
            await tell_people(scope, end)

    def remains(self, obj: StrmSyncJob) -> str:
        return "the files that it made and has not removed stay where they are"

    async def stop_work(self, key: Key) -> None:
        await self.media.runs.end(key)

    def gone(self, key: Key) -> None:
        self.media.watches.drop(key)
        self.media.queue.withdraw(key)
        self.media.deliveries.pop(key, None)
        for refused in self.media.overlaps.take(key):
            self.services.queue.add(refused)
