"""What a run that was stopped says of itself: who stopped it, and that the next one goes on."""

from __future__ import annotations

import asyncio
import os
import signal

from pantograph.cli.strm_stop import Stop
from pantograph.strm.report import Report
from tests.simulation.strm.bench import HandClock


def cancelled() -> Report:
    return Report("run", "cron", "Cancelled", "Cancelled")


async def test_a_signal_is_told_as_an_interruption_that_the_next_run_makes_up_for() -> None:
    stop = Stop.on_signals(None, HandClock())
    assert not stop.is_set()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(30):
        await stop.signalled.wait()
    assert stop.is_set()
    report = stop.explain(cancelled())
    assert (report.result, report.reason) == ("Cancelled", "Interrupted")
    assert "the next one goes on where it was" in report.message


async def test_a_deadline_is_told_as_a_failure_with_its_length() -> None:
    clock = HandClock()
    stop = Stop.on_signals("6h", clock)
    clock.seconds += 6 * 3600
    assert not stop.is_set()
    clock.seconds += 1
    assert stop.is_set()
    report = stop.explain(cancelled())
    assert (report.result, report.reason) == ("Failed", "DeadlineExceeded")
    assert report.message == "not done within 6h; the next run goes on where it was"


async def test_who_ordered_the_run_and_takes_it_back_needs_no_explanation() -> None:
    stop = Stop.on_signals(None, HandClock())
    stop.ask()
    assert stop.is_set()
    report = stop.explain(cancelled())
    assert (report.reason, report.message) == ("Cancelled", "")


async def test_a_run_that_was_done_before_it_was_stopped_says_what_it_did() -> None:
    stop = Stop.on_signals(None, HandClock())
    stop.signalled.set()
    assert stop.explain(Report("run", "cron")).result == "Succeeded"
