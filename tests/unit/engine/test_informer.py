"""The cache is complete before anything is decided, and what the watch loses is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pantograph.api.crd import definition
from pantograph.api.meta import FINALIZER, Key
from pantograph.engine.errors import Transient
from pantograph.engine.informer import MissingKinds
from pantograph.engine.kube import NotFound, Unavailable
from tests.fakes.virtualtime import virtual_clock

from .toy import BOXES, TOYS, Box, Nursery, Wall, new_manager, new_server, running


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    api, wall = new_server(), Wall()
    manager = new_manager(api, wall)
    async with running(manager):
        await virtual_clock().sleep(30)
        yield Nursery(api, api.connect("kubectl"), wall, manager)


async def test_a_missing_kind_ends_the_start_with_its_name_and_the_remedy() -> None:
    api = new_server()
    api.withdraw(BOXES)
    with pytest.raises(MissingKinds, match=r"does not serve boxes\.pantograph\.dev/v1alpha1; to mend it: install"):
        await new_manager(api, Wall()).run()


async def test_a_kind_that_is_withdrawn_later_ends_the_process() -> None:
    api = new_server()
    run = asyncio.create_task(new_manager(api, Wall()).run())
    await virtual_clock().sleep(1)
    api.withdraw(BOXES)
    with pytest.raises(MissingKinds, match="does not serve boxes"):
        await run


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
async def test_while_definitions_are_removed_the_kinds_that_are_left_are_worked_off(restarted: bool) -> None:
    api, wall = new_server(), Wall()
    user = api.connect("kubectl")
    await user.create(BOXES, "a", {"metadata": {"name": "big"}, "spec": {}})
    await user.create(TOYS, "a", {"metadata": {"name": "x"}, "spec": {"colour": "red", "box": "big"}})
    run = asyncio.create_task(new_manager(api, wall).run())
    await virtual_clock().sleep(30)
    wall.fault = _wet
    await user.delete(TOYS, "a", "x")
    await virtual_clock().sleep(5)
    if restarted:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    api.withdraw(BOXES)
    if restarted:
        run = asyncio.create_task(new_manager(api, wall).run())
    await virtual_clock().sleep(30)
    assert (list(wall.paint.values()), run.done()) == (["red"], False)

    wall.fault = None
    with pytest.raises(MissingKinds, match="does not serve boxes"):
        await run
    assert wall.paint == {}
    with pytest.raises(NotFound):
        await user.get(TOYS, "a", "x")


async def test_a_kind_that_comes_back_while_others_are_removed_ends_the_process_which_then_starts_anew() -> None:
    api, wall = new_server(), Wall(fault=_wet)
    user = api.connect("kubectl")
    await user.create(TOYS, "a", {"metadata": {"name": "x", "finalizers": [FINALIZER]}, "spec": {"colour": "red"}})
    await user.delete(TOYS, "a", "x")
    api.withdraw(BOXES)
    run = asyncio.create_task(new_manager(api, wall).run())
    await virtual_clock().sleep(30)
    assert not run.done()
    api.store.register(definition(Box))
    with pytest.raises(MissingKinds, match=r"boxes\.pantograph\.dev/v1alpha1 were missing and are served again"):
        await run


def _wet() -> None:
    raise Transient("Wet", "the wall is wet")


async def test_the_start_waits_for_a_server_that_is_down() -> None:
    api, wall = new_server(), Wall()
    await api.connect("kubectl").create(TOYS, "a", {"metadata": {"name": "x"}, "spec": {"colour": "red"}})
    api.fail_next("any", Unavailable("connection refused"), times=6)
    async with running(new_manager(api, wall)):
        await virtual_clock().sleep(120)
    assert wall.strokes == 1


async def test_nothing_is_reconciled_before_every_kind_is_listed() -> None:
    api, wall = new_server(), Wall()
    await api.connect("kubectl").create(TOYS, "a", {"metadata": {"name": "x"}, "spec": {"colour": "red"}})
    api.fail_next("list", Unavailable("too busy"), kind="Box", times=3)
    manager = new_manager(api, wall)
    async with running(manager):
        await virtual_clock().sleep(2)
        assert (manager.ready, wall.looks) == (False, 0)
        await virtual_clock().sleep(30)
        assert (manager.ready, wall.looks) == (True, 1)


async def test_a_deletion_that_the_watch_lost_is_found_by_the_sweep(nursery: Nursery) -> None:
    await nursery.user.create(BOXES, "a", {"metadata": {"name": "big"}, "spec": {}})
    await nursery.create(colour="red", box="big")
    await nursery.pass_time(30)
    cache, looks = nursery.manager.services.cache, nursery.wall.looks
    nursery.api.drop_events(BOXES)
    await nursery.user.delete(BOXES, "a", "big")
    await nursery.pass_time(60)
    assert cache.keys("Box") == [Key("Box", "a", "big")]
    nursery.api.relist(BOXES)
    await nursery.user.create(BOXES, "a", {"metadata": {"name": "other"}, "spec": {}})
    await nursery.pass_time(700)
    assert cache.keys("Box") == [Key("Box", "a", "other")]
    assert nursery.wall.looks > looks
    assert 'pantograph_ghosts_total{kind="Box"} 1.0' in nursery.manager.services.metrics.render().decode()


async def test_a_relist_is_followed_by_a_sweep_within_seconds(nursery: Nursery) -> None:
    await nursery.user.create(BOXES, "a", {"metadata": {"name": "gone"}, "spec": {}})
    await nursery.user.create(BOXES, "a", {"metadata": {"name": "stays"}, "spec": {}})
    await nursery.pass_time(30)
    nursery.api.drop_events(BOXES)
    await nursery.user.delete(BOXES, "a", "gone")
    nursery.api.relist(BOXES)
    await nursery.pass_time(10)
    assert nursery.manager.services.cache.keys("Box") == [Key("Box", "a", "stays")]


async def test_a_sweep_that_breaks_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    api = new_server()
    manager = new_manager(api, Wall())
    run = asyncio.create_task(manager.run())
    await virtual_clock().sleep(30)
    monkeypatch.setattr(manager.services.cache, "select", None)  # any defect
    with pytest.raises(TypeError):
        await asyncio.wait_for(run, 1300)


async def test_a_stale_list_makes_nobody_forget_what_lives(nursery: Nursery) -> None:
    nursery.api.stale_lists(BOXES)
    await nursery.user.create(BOXES, "a", {"metadata": {"name": "new"}, "spec": {}})
    await nursery.pass_time(1300)
    assert nursery.manager.services.cache.keys("Box") == [Key("Box", "a", "new")]


async def test_a_creation_that_the_watch_lost_is_found_by_the_sweep(nursery: Nursery) -> None:
    nursery.api.drop_events(TOYS)
    await nursery.create(colour="red")
    await nursery.pass_time(60)
    assert nursery.wall.strokes == 0
    await nursery.pass_time(700)
    assert nursery.wall.strokes == 1


async def test_events_that_come_late_or_again_cause_no_write(nursery: Nursery) -> None:
    await nursery.create(colour="red")
    await nursery.pass_time()
    writes, looks = len(nursery.api.writes), nursery.wall.looks
    nursery.api.replay_events(TOYS, 5)
    nursery.api.relist(TOYS)
    await nursery.pass_time(60)
    assert (len(nursery.api.writes), nursery.wall.looks) == (writes, looks)


async def test_stopping_lets_the_work_in_hand_end() -> None:
    api, wall = new_server(), Wall()
    api.latency_s = 1.0
    manager = new_manager(api, wall)
    run = asyncio.create_task(manager.run())
    await virtual_clock().sleep(10)
    await api.connect("kubectl").create(TOYS, "a", {"metadata": {"name": "x"}, "spec": {"colour": "red"}})
    await virtual_clock().sleep(1.5)
    assert wall.strokes == 1
    manager.stop()
    await run
    toy = await api.connect("kubectl").get(TOYS, "a", "x")
    assert toy["status"]["painted"] == "red"
