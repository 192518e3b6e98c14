"""When a schedule means: time zones, clock changes, jitter, and times that went by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pantograph.api.strmschedule import Schedule
from pantograph.controllers.strmsyncjob.cron import BadSchedule, Tick, Timetable, consult

NIGHTLY = Schedule(cron="0 3 * * *")
BERLIN = ZoneInfo("Europe/Berlin")


def timetable(schedule: Schedule = NIGHTLY, *, uid: str = "one") -> Timetable:
    found = Timetable.of(schedule, uid=uid)
    assert found is not None
    return found


def utc(day: int, hour: int, minute: int = 0, *, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def test_without_cron_there_is_no_timetable() -> None:
    assert Timetable.of(Schedule(deadline="6h"), uid="one") is None


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("0 3 * * *", None, utc(26, 2), utc(26, 3)),
        ("0 3 * * *", None, utc(26, 3), utc(27, 3)),
        ("@daily", None, utc(26, 2), utc(27, 0)),
        ("0 3 * * *", "Asia/Shanghai", utc(26, 2), utc(26, 19)),
        ("*/15 * * * *", "Asia/Kolkata", utc(26, 2, 1), utc(26, 2, 15)),
        ("0 4 * * MON", None, utc(26, 2), utc(30, 4)),
        # In Berlin 2:30 does not exist on 29 March and comes twice on 25 October.
        ("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 29, 1, 59, tzinfo=BERLIN), utc(29, 1, month=3)),
        ("30 2 * * *", "Europe/Berlin", utc(24, 12, month=10), utc(25, 0, 30, month=10)),
        ("30 2 * * *", "Europe/Berlin", utc(25, 0, 30, month=10), utc(26, 1, 30, month=10)),
        ("45 2 * * *", "Europe/Berlin", utc(25, 1, 10, month=10), utc(26, 1, 45, month=10)),
    ],
)
def test_the_next_time_is_that_of_the_zone(cron: str, zone: str | None, after: datetime, expected: datetime) -> None:
    assert timetable(Schedule(cron=cron, time_zone=zone)).next_after(after) == expected


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule(cron="0 25 * * *"), "schedule.cron '0 25 * * *': Bad hour"),
        (Schedule(cron="0 0 30 2 *"), "schedule.cron '0 0 30 2 *': Bad day-of-month"),
        (Schedule(cron="0 0 31 4,6 *"), "schedule.cron '0 0 31 4,6 *': Bad day-of-month"),
        (NIGHTLY.model_copy(update={"time_zone": "Europe/Berlyn"}), "'Europe/Berlyn' is no time zone"),
        (NIGHTLY.model_copy(update={"time_zone": "Europe"}), "'Europe' is no time zone"),
    ],
)
def test_a_schedule_that_no_clock_can_follow_is_refused_with_the_field(schedule: Schedule, said: str) -> None:
    with pytest.raises(BadSchedule, match=said.replace("*", r"\*")):
        Timetable.of(schedule, uid="one")


def test_jitter_is_the_same_for_a_job_in_every_process_and_another_one_for_another_job() -> None:
    jittery = NIGHTLY.model_copy(update={"jitter": "30m"})
    times = {uid: timetable(jittery, uid=uid).next_after(utc(26, 0)) for uid in map(str, range(50))}
    assert times == {uid: timetable(jittery, uid=uid).next_after(utc(26, 0)) for uid in times}
    assert len(set(times.values())) > 30
    assert all(utc(26, 3) <= time < utc(26, 3, 30) for time in times.values())


def test_a_time_is_due_from_its_second_on() -> None:
    assert consult(timetable(), None, utc(26, 2), starting_deadline_s=None) == Tick(False, utc(26, 3))
    early = utc(26, 3) - timedelta(seconds=1)
    assert consult(timetable(), utc(26, 3), early, starting_deadline_s=None) == Tick(False, utc(26, 3))
    assert consult(timetable(), utc(26, 3), utc(26, 3), starting_deadline_s=None) == Tick(True, utc(26, 3))


def test_a_time_that_a_clock_ahead_has_stored_is_put_right_with_the_clock() -> None:
    assert consult(timetable(), utc(24, 3, month=12), utc(26, 2), starting_deadline_s=None) == Tick(False, utc(26, 3))


def test_of_several_missed_times_the_last_decides_whether_there_is_still_time() -> None:
    hourly = timetable(Schedule(cron="0 * * * *"))
    # Five were missed; the last of them ten minutes ago.
    assert consult(hourly, utc(26, 1), utc(26, 5, 10), starting_deadline_s=1800) == Tick(True, utc(26, 1))
    late = consult(hourly, utc(26, 1), utc(26, 5, 40), starting_deadline_s=1800)
    assert late == Tick(False, utc(26, 6), missed=utc(26, 5))


@given(
    cron=st.sampled_from(["0 3 * * *", "*/7 * * * *", "30 2 * * SUN", "15 1,2,3 * * *", "59 23 L * *"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    minutes=st.integers(0, 3 * 365 * 24 * 60),
    jitter=st.sampled_from([None, "10m", "3h"]),
    share=st.floats(0, 0.999),
)
def test_times_go_on_and_the_last_one_is_not_after_the_moment(
    cron: str, zone: str, minutes: int, jitter: str | None, share: float
) -> None:
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    times = timetable(Schedule(cron=cron, time_zone=zone, jitter=jitter))
    following, last = times.next_after(moment), times.last_until(moment)
    assert last <= moment < following
    assert times.next_after(following) > following
    # Whenever it is asked before the next time comes, that stays the next.
    between = moment + (following - moment) * share
    assert consult(times, following, between, starting_deadline_s=None) == Tick(False, following)
    # Nothing lies between: from the last one, the next is the following one.
    assert times.next_after(last) in (following, last) or times.next_after(last) > moment
