"""What people do not know yet: a run that failed or waits for them, a job that cannot run at all, and that it is over.

What they were told last stands in `status.alerted`, so the same fault is told once, however often it is met again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pantograph.api import conditions
from pantograph.api.conditions import READY, STALLED, ConditionStatus
from pantograph.api.notify import AlertResult
from pantograph.api.strmstatus import Alerted, LastRun
from pantograph.api.units import format_timestamp
from pantograph.controllers.strmsyncjob.beginning import require_usable
from pantograph.controllers.strmsyncjob.cron import starting_deadline_s
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.engine.errors import StepError, Terminal, Waiting

LATE_S: Final = 3600.0
"""A run that is due for so long and cannot begin is news, and one at work that says nothing for so long: servers are
restarted and banned for less."""
_NO_FAULTS: Final = frozenset({"Queued", "ServerSuspended"})
"""Reasons to wait that a person wants, or that pass when others are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One thing that people should hear."""

    result: AlertResult
    since: datetime
    reason: str = ""
    message: str = ""
    remedy: str = ""
    run: LastRun | None = None
    """None: no run could begin."""
    missed: datetime | None = None


def news_of(scope: JobScope, end: StepError | None) -> News | None:
    """What is to be told now that the steps have ended so."""
    told, last = scope.status.alerted, scope.status.last_run
    standing = _standstill(scope, end)
    if standing is not None:
        return None if _is_known(standing, told) else standing
    if last is not None and last.result in ("Failed", "Blocked"):
        fault = _of_run(last, "Failed" if last.result == "Failed" else "Blocked")
        return None if _was_over(last, told, scope.now) or _is_known(fault, told) else fault
    if told is None or scope.status.blocked is not None:  # a part may be well: what was asked still waits
        return None
    return _recovery(scope, told, end)


def _standstill(scope: JobScope, end: StepError | None) -> News | None:
    """Why no run can begin, or the one at work tells nothing, if that is a fault by now."""
    if scope.silent_since is not None and scope.going_on is not None:
        return _silence(scope, scope.silent_since, why=scope.going_on)
    if scope.going_on is not None or (end is not None and end is scope.judged):
        return None
    if isinstance(end, Terminal):
        since = _true_since(scope, STALLED)
        return News(result="Failed", reason=end.reason, message=end.message, remedy=end.remedy or "", since=since)
    if scope.tick is not None and scope.tick.missed is not None:
        why = _unusable(scope)
        return None if why is None else _late(why, due=scope.tick.missed, since=scope.now)
    due = scope.status.next_run_time
    if end is None or due is None or due > scope.now or end.reason in _NO_FAULTS:
        return None
    since = due + timedelta(seconds=_patience_s(scope))
    if since > scope.now:
        scope.look_again((since - scope.now).total_seconds() + 0.1)
        return None
    return _late(end, due=due, since=since)


def _silence(scope: JobScope, silent_since: datetime, *, why: StepError) -> News | None:
    since = silent_since + timedelta(seconds=LATE_S)
    if since > scope.now:
        scope.look_again((since - scope.now).total_seconds() + 0.1)
        return None
    return News(result="Failed", reason=why.reason, message=why.message, remedy=why.remedy or "", since=since)


def _late(why: StepError, *, due: datetime, since: datetime) -> News:
    message = f"the run of {format_timestamp(due)} could not begin: {why.message}"
    return News(
        result="Failed", reason=why.reason, message=message, remedy=why.remedy or "", since=since, missed=due
    )  # fmt: skip


def _patience_s(scope: JobScope) -> float:
    """Told while the run may still begin, so that a message that is lost is sent again."""
    schedule = scope.object.spec.schedule
    deadline_s = None if schedule is None else starting_deadline_s(schedule)
    return LATE_S if deadline_s is None else min(LATE_S, deadline_s / 2)


def _unusable(scope: JobScope) -> StepError | None:
    """Why a run that was missed could not begin, as far as that is still so."""
    if scope.server is None:
        return None
    try:
        require_usable(scope, scope.server)
    except Waiting as why:
        return None if why.reason in _NO_FAULTS else why
    return None


def _is_known(news: News, told: Alerted | None) -> bool:
    if told is None:
        return False
    if news.missed is not None:  # a server that is away was told already if a run has failed by it
        return told.result == "Failed"
    return (told.result, told.reason) == (news.result, news.reason or news.result)


def _was_over(last: LastRun, told: Alerted | None, now: datetime) -> bool:
    """Whether the run had ended when people were told. A time to come is that of a clock ahead, and says nothing."""
    return told is not None and last.ended_at < told.at <= now


def _recovery(scope: JobScope, told: Alerted, end: StepError | None) -> News | None:
    last = scope.status.last_run
    if last is None or last.result not in ("Succeeded", "Degraded"):
        return None
    if told.run is not None or not _was_over(last, told, scope.now):
        return _of_run(last, "Recovered")
    if told.missed is None and end is None and scope.going_on is None:
        return News(result="Recovered", since=_true_since(scope, READY))
    return None


def _of_run(last: LastRun, result: AlertResult) -> News:
    return News(
        result=result,
        since=last.ended_at,
        reason=last.reason or "",
        message=last.message or "",
        remedy=last.remedy or "",
        run=last,
    )


def _true_since(scope: JobScope, type: str) -> datetime:
    """Since when the condition is True, if it was so before; else now."""
    before = conditions.find(scope.object.status.conditions, type)
    is_true = before is not None and before.status is ConditionStatus.TRUE
    return before.last_transition_time if before is not None and is_true else scope.now
