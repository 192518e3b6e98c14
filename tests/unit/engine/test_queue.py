"""The queue's promises, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from pantograph.api.meta import Key
from pantograph.engine.metrics import Metrics
from pantograph.engine.queue import BACKOFF_LIMIT_S, QueueClosed, WorkQueue
from tests.fakes.virtualtime import virtual_clock


def key(name: str, kind: str = "Toy", namespace: str = "a") -> Key:
    return Key(kind, namespace, name)


@pytest.fixture
async def queue() -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(clock=virtual_clock(), random=Random(7))
    timer = asyncio.ensure_future(queue.run_timer())
    yield queue
    timer.cancel()


async def take_all(queue: WorkQueue) -> list[Key]:
    taken = []
    while len(queue):
        taken.append(await queue.get())
        queue.done(taken[-1])
    return taken


async def test_a_key_added_often_is_done_once(queue: WorkQueue) -> None:
    for _ in range(3):
        queue.add(key("x"))
    assert await take_all(queue) == [key("x")]


async def test_a_key_added_while_in_work_is_not_handed_out_twice_but_done_again(queue: WorkQueue) -> None:
    queue.add(key("x"))
    assert await queue.get() == key("x")
    queue.add(key("x"))
    queue.add(key("x"))
    assert len(queue) == 0
    queue.done(key("x"))
    assert await take_all(queue) == [key("x")]


async def test_kinds_take_turns_and_namespaces_within_a_kind(queue: WorkQueue) -> None:
    for n in range(3):
        queue.add(key(f"big{n}"))
    queue.add(key("small", namespace="b"))
    queue.add(key("other", kind="Other"))
    assert [k.name for k in await take_all(queue)] == ["big0", "other", "small", "big1", "big2"]


async def test_of_several_delays_the_earliest_holds_and_fires_once(queue: WorkQueue) -> None:
    clock = virtual_clock()
    queue.add_after(key("x"), 30)
    queue.add_after(key("x"), 10)
    queue.add_after(key("x"), 20)
    assert await queue.get() == key("x")
    assert clock.monotonic() == pytest.approx(10)
    queue.done(key("x"))
    await clock.sleep(100)
    assert len(queue) == 0


async def test_a_later_delay_does_not_delay_an_earlier_key(queue: WorkQueue) -> None:
    clock = virtual_clock()
    queue.add_after(key("late"), 1000)
    await clock.sleep(1)
    queue.add_after(key("soon"), 5)
    assert await queue.get() == key("soon")
    assert clock.monotonic() == pytest.approx(6)


async def test_back_off_doubles_its_ceiling_up_to_five_minutes_and_forgiveness_resets_it(queue: WorkQueue) -> None:
    delays = []
    for _ in range(40):
        delays.append(queue.add_with_backoff(key("x")))
        queue.done(await queue.get())
    assert all(delay <= min(BACKOFF_LIMIT_S, 2**n) for n, delay in enumerate(delays))
    assert max(delays[12:]) > BACKOFF_LIMIT_S / 2
    queue.forgive(key("x"))
    assert queue.add_with_backoff(key("x")) <= 1


async def test_a_forgotten_key_does_not_come_back(queue: WorkQueue) -> None:
    queue.add_after(key("x"), 5)
    queue.forget(key("x"))
    await virtual_clock().sleep(60)
    assert len(queue) == 0


async def test_a_taker_that_is_cancelled_loses_no_key(queue: WorkQueue) -> None:
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add(key("x"))
    first.cancel()
    assert await second == key("x")


async def test_closing_ends_the_takers_and_refuses_adds(queue: WorkQueue) -> None:
    takers = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    assert all(isinstance(end, QueueClosed) for end in await asyncio.gather(*takers, return_exceptions=True))
    queue.add(key("x"))
    assert len(queue) == 0


async def test_the_metrics_tell_depth_adds_and_latency() -> None:
    metrics, clock = Metrics(), virtual_clock()
    queue = WorkQueue(clock=clock, random=Random(1), metrics=metrics)
    queue.add(key("x"))
    queue.add(key("y"))
    await clock.sleep(3)
    await queue.get()
    text = metrics.render().decode()
    assert 'pantograph_queue_depth{kind="Toy"} 1.0' in text
    assert 'pantograph_queue_adds_total{kind="Toy"} 2.0' in text
    assert 'pantograph_queue_latency_seconds_sum{kind="Toy"} 3.0' in text
