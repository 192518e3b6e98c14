"""When `schedule.cron` means: pure functions of the schedule, the clock, and the time that was stored last.

Local times that a clock change leaves out or repeats are run once, as Debian's cron does (by `cronsim`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from pantograph.api.strmschedule import Schedule
from pantograph.api.units import parse_duration

_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SECOND: Final = timedelta(seconds=1)


class BadSchedule(ValueError):
    """What the API server's pattern let through and no clock can follow; the message says what."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """The times at which one job runs."""

    expression: str
    """Five fields."""
    zone: ZoneInfo
    offset: timedelta
    """This job's part of the jitter."""

    @classmethod
    def of(cls, schedule: Schedule, *, uid: str) -> Self | None:
        """Of the job with this uid; None: it has no cron. Raises BadSchedule."""
        if schedule.cron is None:
            return None
        name = schedule.time_zone or "UTC"
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadSchedule(f"schedule.timeZone {name!r} is no time zone of the tz database") from None
        found = cls(_NICKNAMES.get(schedule.cron, schedule.cron), zone, _offset(schedule.jitter, uid))
        try:
            found.next_after(datetime(2024, 1, 1, tzinfo=zone))
        except CronSimError as error:
            raise BadSchedule(f"schedule.cron {schedule.cron!r}: {error}") from None
        except StopIteration:
            raise BadSchedule(f"schedule.cron {schedule.cron!r} names no day that ever comes") from None
        return found

    def next_after(self, moment: datetime) -> datetime:
        """The first time after `moment`."""
        base = moment.astimezone(UTC) - self.offset
        times = CronSim(self.expression, base.astimezone(self.zone))
        # In an hour that comes twice, the first of both can be meant, which is over.
        return next(time for time in _utc(times) if time > base) + self.offset

    def last_until(self, moment: datetime) -> datetime:
        """The last time that is not after `moment`."""
        base = moment.astimezone(UTC) - self.offset
        times = CronSim(self.expression, (base + _SECOND).astimezone(self.zone), reverse=True)
        return next(time for time in _utc(times) if time <= base) + self.offset


@dataclass(frozen=True, slots=True)
class Tick:
    """What the clock says about a schedule now."""

    due: bool
    """A run should begin."""
    next: datetime
    """To be stored; while a run is due, the time since which it is."""
    missed: datetime | None = None
    """A time that went by and may not be made up for any more."""


def consult(timetable: Timetable, stored: datetime | None, now: datetime, *, starting_deadline_s: float | None) -> Tick:
    """Of all times since `stored`, the last one counts: at most one run makes up for them."""
    if stored is None:
        return Tick(False, timetable.next_after(now))
    if now < stored:
        # The same, unless the clock was ahead when it was stored.
        return Tick(False, min(stored, timetable.next_after(now)))
    latest = max(stored, timetable.last_until(now))
    if starting_deadline_s is not None and (now - latest).total_seconds() > starting_deadline_s:
        return Tick(False, timetable.next_after(now), missed=latest)
    return Tick(True, stored)


def starting_deadline_s(schedule: Schedule) -> float | None:
    return None if schedule.starting_deadline is None else parse_duration(schedule.starting_deadline)


def _utc(times: Iterable[datetime]) -> Iterator[datetime]:
    """In UTC, where differences and comparisons mean what they say in the hours of a clock change as well."""
    return (time.astimezone(UTC) for time in times)


def _offset(jitter: str | None, uid: str) -> timedelta:
    """A whole number of seconds below `jitter`, the same for a job in every process."""
    seconds = int(parse_duration(jitter)) if jitter else 0
    if seconds == 0:
        return timedelta(0)
    return timedelta(seconds=int.from_bytes(sha256(uid.encode()).digest()[:8], "big") % seconds)
