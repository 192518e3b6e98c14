"""The process around the core, with two of them on one API server and virtual time."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from pantograph.api.meta import LEASES
from pantograph.engine.informer import MissingKinds
from pantograph.engine.kube import Unavailable
from pantograph.engine.lease import Elector, LeaseLost
from pantograph.engine.metrics import Metrics
from pantograph.engine.runtime import Runtime, run_process
from tests.fakes.apiserver import ApiServer
from tests.fakes.virtualtime import virtual_clock

from .toy import TOYS, Wall, new_manager, new_server


def process(api: ApiServer, wall: Wall, identity: str) -> Runtime:
    elector = Elector(
        kube=api,
        clock=virtual_clock(),
        random=Random(identity),
        metrics=Metrics(),
        namespace="system",
        name="pantograph",
        identity=identity,
    )
    return Runtime(manager=new_manager(api, wall), elector=elector)


async def create(api: ApiServer, name: str) -> None:
    await api.create(TOYS, "a", {"metadata": {"name": name}, "spec": {"colour": "red"}})


async def test_a_standby_is_ready_does_nothing_and_takes_over_within_two_seconds_of_a_stop() -> None:
    api, wall, clock = new_server(), Wall(), virtual_clock()
    user = api.connect("kubectl")
    one = process(api, wall, "one")
    running = asyncio.create_task(one.run())
    await clock.sleep(5)
    other_api = api.connect()
    two = process(other_api, wall, "two")
    standby = asyncio.create_task(two.run())
    await create(user, "x")
    await clock.sleep(30)
    assert (one.ready, two.ready) == (True, True)
    assert other_api.writes == []
    one.stop()
    await running
    assert (await user.get(LEASES, "system", "pantograph"))["spec"]["holderIdentity"] == ""
    await create(user, "y")
    await clock.sleep(2.5)
    assert wall.strokes == 2
    two.stop()
    await standby


async def test_the_loss_of_the_lease_ends_the_work() -> None:
    api, wall, clock = new_server(), Wall(), virtual_clock()
    one = asyncio.create_task(process(api, wall, "one").run())
    await clock.sleep(10)
    await api.connect().merge_patch(LEASES, "system", "pantograph", {"spec": {"holderIdentity": "thief"}})
    with pytest.raises(LeaseLost):
        await one
    await create(api.connect(), "x")
    await clock.sleep(60)
    assert wall.strokes == 0


async def test_a_part_that_ends_by_itself_ends_the_process() -> None:
    async def fall_over() -> None:
        await virtual_clock().sleep(5)

    runtime = Runtime(manager=new_manager(new_server(), Wall()), beside=[fall_over])
    with pytest.raises(RuntimeError, match="beside has ended by itself"):
        await runtime.run()


async def test_stopping_before_the_cache_is_complete_takes_no_grace() -> None:
    api, clock = new_server(), virtual_clock()
    api.fail_next("any", Unavailable("connection refused"), times=1000)
    runtime = Runtime(manager=new_manager(api, Wall()))
    run = asyncio.create_task(runtime.run())
    await clock.sleep(60)
    assert not runtime.ready
    before = clock.monotonic()
    runtime.stop()
    await run
    assert clock.monotonic() - before < 1


def test_a_missing_kind_is_exit_code_1_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        raise MissingKinds("the API server does not serve toys")

    assert run_process(main) == 1
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("CRITICAL", "the API server does not serve toys")
    ]
