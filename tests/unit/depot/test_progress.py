"""What people read while bytes move."""

from __future__ import annotations

import pytest

from pantograph.clock import SystemClock
from pantograph.depot.errors import SourceUnreachable
from pantograph.depot.progress import Meter, Pace


class HandClock(SystemClock):
    """A clock moved by hand."""

    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


def test_the_rate_is_of_this_stage_and_of_the_last_ten_seconds() -> None:
    clock = HandClock()
    meter = Meter(clock)
    meter.start("Downloading", done=5000, total=100_000)
    assert (meter.bytes_done, meter.rate_bytes_s) == (5000, 0.0)
    for _ in range(10):
        clock.seconds += 1
        meter.add(100)
    assert meter.rate_bytes_s == pytest.approx(100)
    for _ in range(20):
        clock.seconds += 1
        meter.add(1000)
    assert meter.rate_bytes_s == pytest.approx(1000)
    assert (meter.bytes_done, meter.bytes_total) == (26_000, 100_000)


def test_a_fault_outlives_the_stage_in_which_nobody_asks_the_origin() -> None:
    meter = Meter(HandClock())
    meter.fault = SourceUnreachable("refused")
    meter.start("Verifying")
    assert meter.fault is not None


def test_the_rate_falls_while_nothing_comes() -> None:
    clock = HandClock()
    meter = Meter(clock)
    clock.seconds += 1
    meter.add(1000)
    clock.seconds += 99
    assert meter.rate_bytes_s == pytest.approx(10)


def test_a_new_stage_counts_from_its_own_start() -> None:
    meter = Meter(HandClock())
    meter.add(1000)
    meter.start("Unpacking")
    assert (meter.stage, meter.bytes_done, meter.bytes_total, meter.rate_bytes_s) == ("Unpacking", 0, None, 0.0)


def test_a_pace_is_judged_once_a_window_and_stays_judged() -> None:
    clock = HandClock()
    pace = Pace(clock, least_bytes_s=100, window_s=60)
    for _ in range(3):
        pace.add(6000)
        clock.seconds += 60
        pace.judge()
        assert not pace.too_slow
    clock.seconds += 59
    pace.judge()
    assert not pace.too_slow, "the window has not ended"
    clock.seconds += 1
    pace.add(5999)
    assert pace.too_slow
    pace.add(1 << 30)
    assert pace.too_slow


def test_time_that_the_origin_is_not_to_blame_for_slows_no_pace() -> None:
    clock = HandClock()
    pace = Pace(clock, least_bytes_s=100, window_s=60)
    with pace.paused():
        clock.seconds += 3600
    clock.seconds += 60
    pace.add(6000)
    assert not pace.too_slow
