"""One bucket for all jobs of a server: its pace, its cooldown, its circuit."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from pantograph.providers.errors import Busy, NotFound, ProviderError, Unreachable
from pantograph.providers.media.bucket import UPSTREAM_FAILED, Cooldown, RateBucket
from tests.unit.providers.clocks import ManualClock


class Told:
    def __init__(self) -> None:
        self.changes: list[Cooldown | None] = []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def bucket(clock: ManualClock, told: Told) -> RateBucket:
    return RateBucket(
        "DataServer media/cloud",
        clock,
        Random(7),
        per_second=1,
        burst=1000,
        cooldown_s=60,
        on_change=told.changes.append,
    )


async def ask(bucket: RateBucket, error: ProviderError | None = None, *, asked: list[str] | None = None) -> None:
    async with bucket.call():
        if asked is not None:
            asked.append("a call")
        if error is not None:
            raise error


async def refused(bucket: RateBucket, error: ProviderError | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(bucket, error)
    return caught.value


async def test_a_ban_leaves_the_server_alone_for_as_long_as_it_asked(
    bucket: RateBucket, clock: ManualClock, told: Told
) -> None:
    await refused(bucket, Busy("slow down", retry_after_s=100))
    error = await refused(bucket)
    assert isinstance(error, Busy)
    assert error.reason == "CoolingDown"
    assert error.retry_after_s is not None
    assert 100 <= error.retry_after_s <= 110
    assert "slow down" in error.message
    await clock.advance(111)
    await ask(bucket)
    assert bucket.cooldown is None
    assert [change is not None for change in told.changes] == [True, False]


async def test_bans_in_a_row_double_the_cooldown_up_to_half_an_hour(bucket: RateBucket, clock: ManualClock) -> None:
    waits = []
    for _ in range(8):
        error = await refused(bucket, Busy("ban page"))
        assert isinstance(error, Busy)
        assert error.retry_after_s is not None
        waits.append(error.retry_after_s)
        await clock.advance(error.retry_after_s + 1)
    assert all(
        base <= wait <= base * 1.1 for base, wait in zip([60, 120, 240, 480, 960, 1800, 1800, 1800], waits, strict=True)
    )
    await ask(bucket)
    again = await refused(bucket, Busy("ban page"))
    assert isinstance(again, Busy)
    assert again.retry_after_s is not None
    assert again.retry_after_s <= 66


async def test_a_shorter_cooldown_never_ends_a_longer_one(bucket: RateBucket, clock: ManualClock) -> None:
    bucket.cool(600, "the operator says so")
    bucket.cool(10, "and then less")
    await clock.advance(20)
    assert bucket.cooldown is not None
    assert bucket.cooldown.why == "the operator says so"


async def test_who_waited_for_a_turn_does_not_ask_into_a_ban(clock: ManualClock) -> None:
    bucket = RateBucket("the server", clock, Random(1), per_second=1, burst=1)
    await ask(bucket)
    asked: list[str] = []
    waiting = asyncio.create_task(ask(bucket, asked=asked))
    await asyncio.sleep(0)
    bucket.cool(30, "banned meanwhile")
    await clock.advance(2)
    with pytest.raises(Busy, match="banned meanwhile"):
        await waiting
    assert not asked


async def test_a_silent_server_opens_the_circuit_and_a_failing_cloud_behind_it_does_not(
    bucket: RateBucket, clock: ManualClock
) -> None:
    for _ in range(20):
        await refused(bucket, Unreachable("one cloud fails", reason=UPSTREAM_FAILED))
        await refused(bucket, NotFound("gone"))
    for _ in range(5):
        assert (await refused(bucket, Unreachable("no answer"))).reason == "Unreachable"
    assert (await refused(bucket)).reason == "CircuitOpen"
    await clock.advance(31)
    await ask(bucket)
    await ask(bucket)


async def test_a_share_of_the_rate_is_kept_from_the_next_call_on(clock: ManualClock) -> None:
    bucket = RateBucket("the server", clock, Random(1), per_second=100, burst=1)
    await ask(bucket)
    bucket.set_rate(0.5)
    await clock.advance(1)
    await ask(bucket)
    slow = asyncio.create_task(ask(bucket))
    await clock.advance(1.9)
    assert not slow.done()
    await clock.advance(0.2)
    await slow
