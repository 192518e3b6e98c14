"""Executor, limiter and circuit breaker: what a slow or dead system may cost the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from pantograph.providers.breaker import Breaker
from pantograph.providers.errors import NotFound, OutcomeUnknown, Unreachable
from pantograph.providers.executor import CallExecutor, CallNotFinished
from pantograph.providers.limiter import EARLY_S, Limiter
from tests.unit.providers.clocks import ManualClock, settle


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def executor() -> Iterator[CallExecutor]:
    pool = CallExecutor("test", size=1)
    yield pool
    pool.close()


async def test_a_call_that_began_may_still_be_at_it(executor: CallExecutor, gate: threading.Event) -> None:
    with pytest.raises(CallNotFinished, match=r"no result within 0\.05 s") as caught:
        await executor.run(gate.wait, timeout_s=0.05)
    assert caught.value.began


async def test_a_call_whose_time_is_up_in_line_is_never_made(executor: CallExecutor, gate: threading.Event) -> None:
    made: list[str] = []
    first = asyncio.create_task(executor.run(gate.wait, timeout_s=10))
    await settle()
    with pytest.raises(CallNotFinished) as caught:
        await executor.run(lambda: made.append("second"), timeout_s=0.05)
    gate.set()
    await first
    await executor.run(lambda: None, timeout_s=10)
    assert not caught.value.began
    assert made == []


async def test_what_a_call_raises_reaches_its_caller(executor: CallExecutor) -> None:
    with pytest.raises(ZeroDivisionError):
        await executor.run(lambda: 1 // 0, timeout_s=10)


async def test_closing_fails_those_in_line_and_cancels_nobody(executor: CallExecutor, gate: threading.Event) -> None:
    at_work = asyncio.create_task(executor.run(gate.wait, timeout_s=10))
    in_line = asyncio.create_task(executor.run(gate.wait, timeout_s=10))
    await settle()
    executor.close()
    with pytest.raises(CallNotFinished, match="closed"):
        await in_line
    with pytest.raises(CallNotFinished, match="closed"):
        await executor.run(gate.wait, timeout_s=10)
    gate.set()
    assert await at_work


async def _times(limiter: Limiter, clock: ManualClock, count: int) -> list[float]:
    times: list[float] = []

    async def one() -> None:
        async with limiter.turn():
            times.append(clock.monotonic() - 1000)

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await clock.advance(60)
    await asyncio.gather(*tasks)
    return times


async def test_after_the_burst_calls_come_at_the_rate() -> None:
    clock = ManualClock()
    limiter = Limiter(clock, concurrent=10, per_second=2, burst=3)
    assert await _times(limiter, clock, 6) == [0, 0, 0, 0.5, 1.0, 1.5]


async def test_at_a_high_rate_few_calls_wait_and_none_comes_much_too_early() -> None:
    clock = ManualClock()
    limiter = Limiter(clock, concurrent=1000, per_second=1000, burst=1)
    times = await _times(limiter, clock, 1000)
    assert times.count(0) == 21, "the first, and those whose turns come in the next 20 ms"
    assert all(time >= number / 1000 - EARLY_S for number, time in enumerate(times))


async def test_idleness_saves_up_no_more_than_a_burst() -> None:
    clock = ManualClock()
    limiter = Limiter(clock, concurrent=10, per_second=2, burst=2)
    await _times(limiter, clock, 2)
    await clock.advance(3600)
    start = clock.monotonic() - 1000
    assert [time - start for time in await _times(limiter, clock, 4)] == [0, 0, 0.5, 1.0]


async def test_no_more_than_so_many_at_once() -> None:
    limiter = Limiter(ManualClock(), concurrent=2, per_second=1000, burst=1000)
    go = asyncio.Event()
    inside = 0

    async def one() -> None:
        nonlocal inside
        async with limiter.turn():
            inside += 1
            await go.wait()
            inside -= 1

    tasks = [asyncio.create_task(one()) for _ in range(5)]
    await settle()
    assert inside == 2
    go.set()
    await asyncio.gather(*tasks)
    assert inside == 0


def fail(breaker: Breaker, error: BaseException) -> None:
    with pytest.raises(type(error)), breaker.attempt():
        raise error


async def test_the_circuit_opens_after_failures_in_a_row_and_says_since_when() -> None:
    clock = ManualClock()
    breaker = Breaker("pve", clock, threshold=3, open_s=30)
    for _ in range(2):
        fail(breaker, Unreachable("no route"))
    with breaker.attempt():
        pass
    for _ in range(3):
        fail(breaker, Unreachable("no route"))
    await clock.advance(10)
    with pytest.raises(Unreachable, match=r"pve .* 3 times .*no route.* asked once in 30 s") as caught:
        fail(breaker, NotFound("never asked"))
    assert caught.value.reason == "CircuitOpen"


async def test_after_the_pause_one_call_tries_for_all() -> None:
    clock = ManualClock()
    breaker = Breaker("pve", clock, threshold=1, open_s=30)
    fail(breaker, Unreachable("down"))
    await clock.advance(30)
    with breaker.attempt(), pytest.raises(Unreachable, match="asked once in"), breaker.attempt():
        pass
    assert not breaker.is_open
    with breaker.attempt():
        pass


async def test_a_failed_try_closes_the_door_for_another_pause() -> None:
    clock = ManualClock()
    breaker = Breaker("pve", clock, threshold=1, open_s=30)
    fail(breaker, Unreachable("down"))
    await clock.advance(30)
    fail(breaker, Unreachable("still down"))
    await clock.advance(29)
    with pytest.raises(Unreachable, match="asked once in"), breaker.attempt():
        pass


async def test_a_try_that_was_cancelled_leaves_the_next_one_to_try() -> None:
    clock = ManualClock()
    breaker = Breaker("pve", clock, threshold=1, open_s=30)
    fail(breaker, Unreachable("down"))
    await clock.advance(30)
    fail(breaker, asyncio.CancelledError())
    with breaker.attempt():
        pass
    assert not breaker.is_open


async def test_a_refusal_shows_life_and_a_lost_answer_shows_nothing() -> None:
    breaker = Breaker("pve", ManualClock(), threshold=2, open_s=30)
    fail(breaker, Unreachable("down"))
    fail(breaker, NotFound("no such guest"))
    fail(breaker, Unreachable("down"))
    assert not breaker.is_open
    fail(breaker, OutcomeUnknown("lost"))
    fail(breaker, Unreachable("down"))
    assert breaker.is_open


async def test_a_thread_whose_caller_was_cancelled_counts_as_stuck_until_its_call_ends(
    executor: CallExecutor, gate: threading.Event
) -> None:
    begun = threading.Event()

    def hang() -> None:
        begun.set()
        gate.wait()

    asking = asyncio.create_task(executor.run(hang, timeout_s=10))
    await asyncio.to_thread(begun.wait)
    assert not executor.is_stuck
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert executor.is_stuck
    gate.set()
    await executor.run(lambda: None, timeout_s=10)
    assert not executor.is_stuck
