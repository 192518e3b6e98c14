"""What is due: derived from spec, status, annotations and clock alone, but for hints of changes, which only hurry."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pantograph.api.conditions import SUSPENDED
from pantograph.api.names import short_hash
from pantograph.api.units import format_timestamp, parse_duration
from pantograph.controllers.strmsyncjob.approvals import approved, has_failed_with
from pantograph.controllers.strmsyncjob.cron import BadSchedule, Timetable, consult, starting_deadline_s
from pantograph.controllers.strmsyncjob.recording import wish_of
from pantograph.controllers.strmsyncjob.requests import requested
from pantograph.controllers.strmsyncjob.running import ask_to_stop, keep_stopping
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.verdicts import retry_at
from pantograph.controllers.strmsyncjob.wishes import Cause, Wish, merge
from pantograph.engine.errors import Terminal
from pantograph.strm.subtrees import Subtrees

MIN_INTERVAL_S: Final = {True: 10.0, False: 60.0}
"""Between two runs that follow changes: in the operator, or as a Job, which takes seconds to start."""


async def read_schedule(scope: JobScope) -> None:
    """After this the times of the schedule are known, and `nextRunTime` belongs to this schedule."""
    schedule, status = scope.object.spec.schedule, scope.status
    try:
        uid = scope.object.metadata.uid
        scope.timetable = None if schedule is None else Timetable.of(schedule, uid=uid)
    except BadSchedule as error:
        status.next_run_time = None
        status.schedule_digest = None
        raise Terminal("InvalidSchedule", str(error), remedy="correct spec.schedule") from None
    if schedule is None or scope.timetable is None:
        status.next_run_time = status.schedule_digest = None
        return
    digest = short_hash([schedule.cron, schedule.time_zone, schedule.jitter])
    # Times that went by under another schedule, or while the job was suspended, were not missed.
    was_suspended = any(each.type == SUSPENDED for each in scope.object.status.conditions)
    if digest != status.schedule_digest or was_suspended:
        status.next_run_time = scope.timetable.next_after(scope.now)
        status.schedule_digest = digest


async def plan(scope: JobScope) -> None:
    """After this `wish` is the run that should begin now, if any, and the next time to look is planned."""
    if scope.object.spec.suspend:
        return
    wishes = await requested(scope)
    wishes += _interrupted(scope) + _spec(scope) + _cron(scope) + _retry(scope) + _hints(scope) + _notify(scope)
    wishes += _timely(scope, await approved(scope), wishes)
    await _say_what_was_missed(scope)
    wish = merge(wishes)
    if scope.going_on is None:
        scope.wish = wish
        return
    await _meet_running(scope, wish)


async def skip_tick(scope: JobScope) -> None:
    """After this a time of the schedule that came while a run is at work is over, if another may not follow."""
    if scope.going_on is not None and scope.tick is not None and scope.tick.due and _policy(scope) == "Forbid":
        pass_tick(scope)


def pass_tick(scope: JobScope) -> None:
    """The time of the schedule that is due is served."""
    assert scope.timetable is not None, "a tick comes from a timetable"
    scope.status.next_run_time = scope.timetable.next_after(scope.now)
    _look_at(scope, scope.status.next_run_time)


async def _meet_running(scope: JobScope, wish: Wish | None) -> None:
    """A run is at work: what else is due follows it, or takes its place."""
    run = scope.status.run
    replaces = wish is not None and Cause.CRON in wish.causes and _policy(scope) == "Replace"
    if replaces and run is not None and not run.purge:
        ask_to_stop(scope, "Replaced")
        await keep_stopping(scope)


async def _say_what_was_missed(scope: JobScope) -> None:
    if scope.tick is None or scope.tick.missed is None:
        return
    message = f"the run of {format_timestamp(scope.tick.missed)} could not begin within schedule.startingDeadline"
    resource, metadata = scope.object.info.resource, scope.object.metadata
    await scope.services.events.record(resource, metadata, type="Warning", reason="RunMissed", message=message)


def _policy(scope: JobScope) -> str:
    schedule = scope.object.spec.schedule
    return "Forbid" if schedule is None else schedule.concurrency_policy


def _timely(scope: JobScope, approvals: list[Wish], others: list[Wish]) -> list[Wish]:
    """The approvals that a run may have now. One with which a run has failed waits for whatever run comes next."""
    if scope.object.spec.dry_run:
        return []
    if any(each.scope.is_whole and not each.notify_only for each in others):
        return approvals
    return [each for each in approvals if not has_failed_with(scope, each)]


def _interrupted(scope: JobScope) -> list[Wish]:
    run = scope.status.run
    if scope.going_on is not None or run is None or run.purge:
        return []
    return [wish_of(run)]


def _spec(scope: JobScope) -> list[Wish]:
    if scope.status.applied_digest == scope.spec_digest:
        return []
    return [Wish(trigger="manual", causes=frozenset({Cause.SPEC}))]


def _cron(scope: JobScope) -> list[Wish]:
    schedule, timetable = scope.object.spec.schedule, scope.timetable
    if schedule is None or timetable is None:
        return []
    stored = scope.status.next_run_time
    scope.tick = consult(timetable, stored, scope.now, starting_deadline_s=starting_deadline_s(schedule))
    scope.status.next_run_time = scope.tick.next
    if not scope.tick.due:
        _look_at(scope, scope.tick.next)
        return []
    return [Wish(trigger="cron", causes=frozenset({Cause.CRON}))]


def _retry(scope: JobScope) -> list[Wish]:
    """What a run that followed hints has failed to look at is tried again as such, unless nobody knows it any more."""
    last, again = scope.status.last_run, _retry_at(scope)
    if last is None or again is None:
        return []
    part = Subtrees(tuple(last.scope or ()))
    if last.trigger == "watch":
        if scope.followed is not None and (scope.followed.hints.pending or scope.followed.hints.left.parts):
            return []
        part = Subtrees()
    if scope.now < again:
        _look_at(scope, again)
        return []
    return [Wish(trigger=last.trigger, causes=frozenset({Cause.RETRY}), scope=part)]


def _hints(scope: JobScope) -> list[Wish]:
    if scope.followed is None:
        return []
    hints, now = scope.followed.hints, scope.clock.monotonic()
    if hints.left.next_due is not None and hints.left.next_due > now:
        scope.look_again(hints.left.next_due - now)
    due = hints.due(now)
    if not due:
        return []
    watch, last = scope.object.spec.watch, scope.status.last_run
    interval_s = MIN_INTERVAL_S[scope.in_operator]
    if watch is not None and watch.min_interval is not None:
        interval_s = parse_duration(watch.min_interval)
    not_before = None
    if last is not None and last.ended_at <= scope.now:  # or the clock was ahead then
        not_before = last.ended_at + timedelta(seconds=interval_s)
    again = _retry_at(scope)
    if again is not None and (not_before is None or again > not_before):
        not_before = again
    if not_before is not None and scope.now < not_before:
        _look_at(scope, not_before)
        return []
    return [Wish(trigger="watch", causes=frozenset({Cause.HINTS}), scope=each) for each in due]


def _notify(scope: JobScope) -> list[Wish]:
    last = scope.status.last_run
    if last is None or last.notify_due is None or scope.object.spec.notify is None:
        return []
    if scope.now < last.notify_due:
        _look_at(scope, last.notify_due)
        return []
    return [Wish(trigger="watch", causes=frozenset({Cause.NOTIFY}), notify_only=True)]


def _retry_at(scope: JobScope) -> datetime | None:
    return retry_at(scope.status, scope.object.metadata.uid, now=scope.now)


def _look_at(scope: JobScope, moment: datetime) -> None:
    scope.look_again(max(0.05, (moment - scope.now).total_seconds()))
