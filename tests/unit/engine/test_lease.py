"""Two processes, one Lease, on virtual time."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from pantograph.api.meta import LEASES
from pantograph.engine.kube import Conflict, OutcomeUnknown, Unavailable
from pantograph.engine.lease import Elector, LeaseLost
from pantograph.engine.metrics import Metrics
from tests.fakes.apiserver import ApiServer
from tests.fakes.virtualtime import virtual_clock


def new_server() -> ApiServer:
    return ApiServer(clock=virtual_clock(), rng=Random(5))


def elector(api: ApiServer, identity: str, metrics: Metrics | None = None) -> Elector:
    return Elector(
        kube=api,
        clock=virtual_clock(),
        random=Random(identity),
        metrics=metrics or Metrics(),
        namespace="system",
        name="pantograph",
        identity=identity,
    )


async def holder(api: ApiServer) -> str:
    lease = await api.get(LEASES, "system", "pantograph")
    return str(lease["spec"]["holderIdentity"])


async def test_the_first_takes_it_and_renews_it_for_hours() -> None:
    api, metrics = new_server(), Metrics()
    one = elector(api, "one", metrics)
    await one.acquire()
    hold = asyncio.create_task(one.hold())
    await virtual_clock().sleep(3 * 3600)
    assert one.leading
    assert not hold.done()
    assert "pantograph_leader 1.0" in metrics.render().decode()
    hold.cancel()


async def test_a_release_hands_over_within_two_seconds() -> None:
    api, clock = new_server(), virtual_clock()
    one, two = elector(api, "one"), elector(api.connect(), "two")
    await one.acquire()
    hold = asyncio.create_task(one.hold())
    successor = asyncio.create_task(two.acquire())
    await clock.sleep(60)
    assert not successor.done()
    assert two.holder == "one"
    hold.cancel()
    await one.release()
    assert await holder(api) == ""
    released = clock.monotonic()
    await successor
    assert clock.monotonic() - released <= 2
    assert (await api.get(LEASES, "system", "pantograph"))["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("seed", range(5))
async def test_after_a_kill_the_successor_waits_for_the_expiry_and_no_more_than_16_seconds(seed: int) -> None:
    api, clock = new_server(), virtual_clock()
    one, two = elector(api, f"one{seed}"), elector(api.connect(), f"two{seed}")
    await one.acquire()
    hold = asyncio.create_task(one.hold())
    successor = asyncio.create_task(two.acquire())
    await clock.sleep(60 + seed / 2)
    hold.cancel()
    killed = clock.monotonic()
    await successor
    assert 13 - 2.4 <= clock.monotonic() - killed <= 16


async def test_a_holder_cut_off_stops_believing_before_another_may_start() -> None:
    api, clock = new_server(), virtual_clock()
    one, two = elector(api, "one"), elector(api.connect(), "two")
    await one.acquire()
    hold = asyncio.create_task(one.hold())
    successor = asyncio.create_task(two.acquire())
    await clock.sleep(60)
    api.cut()
    with pytest.raises(LeaseLost, match="not renewed for 9 s"):
        await hold
    assert not successor.done()
    assert not one.leading
    await successor
    assert two.leading


async def test_a_server_that_hangs_is_as_good_as_none() -> None:
    api, clock = new_server(), virtual_clock()
    one = elector(api, "one")
    await one.acquire()
    began = clock.monotonic()
    api.latency_s = 1000
    with pytest.raises(LeaseLost):
        await one.hold()
    assert clock.monotonic() - began <= 9.01


async def test_a_holder_whose_lease_was_taken_ends() -> None:
    api, clock = new_server(), virtual_clock()
    one = elector(api, "one")
    await one.acquire()
    hold = asyncio.create_task(one.hold())
    await clock.sleep(10)
    await api.merge_patch(LEASES, "system", "pantograph", {"spec": {"holderIdentity": "thief"}})
    with pytest.raises(LeaseLost, match="held by thief"):
        await hold
    await one.release()
    assert await holder(api) == "thief"


@pytest.mark.parametrize("error", [Unavailable("503"), OutcomeUnknown("reset"), Conflict("newer")])
async def test_single_failures_cost_nothing(error: Exception) -> None:
    api, clock = new_server(), virtual_clock()
    one = elector(api, "one")
    await one.acquire()
    hold = asyncio.create_task(one.hold())
    api.fail_next("replace", error, times=2)  # type: ignore[arg-type]
    await clock.sleep(60)
    assert one.leading
    hold.cancel()


async def test_of_two_that_start_together_one_wins() -> None:
    api = new_server()
    one, two = elector(api, "one"), elector(api.connect(), "two")
    done, pending = await asyncio.wait(
        [asyncio.create_task(one.acquire()), asyncio.create_task(two.acquire())],
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert (len(done), len(pending)) == (1, 1)
    assert one.leading != two.leading
    for task in pending:
        task.cancel()
