"""One look for everybody, and no conclusion from less than proof."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from pantograph.providers.errors import MissingPrivilege, NotFound, Unauthorized, Unreachable
from pantograph.providers.proxmox.observer import PATIENCE_S, Observer
from pantograph.providers.proxmox.port import ProxmoxApi
from pantograph.providers.proxmox.snapshot import absence
from tests.unit.providers.clocks import ManualClock, settle
from tests.unit.providers.fakeport import FULL, FakePort, guest, node


def observer(port: FakePort, clock: ManualClock, *, with_tasks: bool = False) -> Observer:
    return Observer(cast(ProxmoxApi, port), clock, with_tasks=with_tasks)


async def test_a_thousand_guests_and_askers_cost_one_look() -> None:
    port = FakePort(rows=[guest(100 + n) for n in range(1000)])
    watch = observer(port, ManualClock())
    looks = await asyncio.gather(*(watch.snapshot() for _ in range(1000)))
    assert {id(look) for look in looks} == {id(looks[0])}
    assert len(looks[0].guests) == 1000
    assert port.calls.total() == 5 + 2 * 3


async def test_a_look_serves_until_it_is_old_and_versions_are_read_seldom() -> None:
    port, clock = FakePort(), ManualClock()
    watch = observer(port, clock)
    first = await watch.snapshot()
    await clock.advance(9.9)
    assert await watch.snapshot() is first
    await clock.advance(0.2)
    second = await watch.snapshot()
    assert second is not first
    assert second.versions == {"pve1": "8.4.21", "pve2": "8.4.21", "pve3": "8.4.21"}
    assert (port.calls["storages pve1"], port.calls["node_version pve1"]) == (2, 1)


async def test_a_look_that_began_before_our_change_does_not_answer_for_it() -> None:
    port = FakePort()
    port.held["guests"] = asyncio.Event()
    watch = observer(port, ManualClock())
    before = asyncio.create_task(watch.snapshot())
    await settle()
    port.rows.append(guest(120))
    watch.invalidate()
    after = asyncio.create_task(watch.snapshot())
    await settle()
    port.held["guests"].set()
    assert 120 not in (await before).guests
    assert 120 in (await after).guests


async def test_fresh_looks_asked_for_together_share_one_look() -> None:
    port = FakePort()
    watch = observer(port, ManualClock())
    await watch.snapshot()
    await asyncio.gather(*(watch.fresh() for _ in range(50)))
    assert port.calls["guests"] <= 3


async def test_a_node_that_hangs_delays_a_look_once_and_is_not_asked_twice_at_a_time() -> None:
    port, clock = FakePort(), ManualClock()
    port.held["storages pve3"] = asyncio.Event()
    watch = observer(port, clock)
    for _ in range(3):
        look = asyncio.create_task(watch.snapshot())
        await clock.advance(20)
        snapshot = await look
        assert ("pve3", "local") not in snapshot.storages
        assert "has not answered for 5 s" in snapshot.unread["pve3"]
        assert ("pve1", "local") in snapshot.storages
        assert snapshot.complete
    assert port.calls["storages pve3"] == 1
    port.held["storages pve3"].set()
    await settle()
    await clock.advance(20)
    assert ("pve3", "local") in (await watch.snapshot()).storages
    await watch.close()


async def test_a_node_that_was_slow_to_fail_is_left_alone_for_a_while() -> None:
    port, clock = FakePort(), ManualClock()
    port.held["storages pve3"] = asyncio.Event()
    port.errors["storages pve3"] = Unreachable("596")
    watch = observer(port, clock)
    look = asyncio.create_task(watch.snapshot())
    await clock.advance(30)
    await look
    port.held["storages pve3"].set()
    await settle()
    for _ in range(2):
        await clock.advance(11)
        assert (await watch.snapshot()).unread["pve3"] == "596"
    assert port.calls["storages pve3"] == 1
    await clock.advance(11)
    await watch.snapshot()
    assert port.calls["storages pve3"] == 2


async def test_nobody_waits_long_for_a_silent_cluster_and_the_look_serves_who_comes_back() -> None:
    port, clock = FakePort(), ManualClock()
    port.held["guests"] = asyncio.Event()
    watch = observer(port, clock)
    asker = asyncio.create_task(watch.snapshot())
    await clock.advance(PATIENCE_S + 0.1)
    with pytest.raises(Unreachable, match=f"has not answered for {PATIENCE_S:g} s"):
        await asker
    with pytest.raises(Unreachable, match=f"has not answered for {PATIENCE_S:g} s"):
        await watch.snapshot()  # at once: the clock stands still
    await clock.advance(20)
    port.held["guests"].set()
    await clock.advance(30)
    snapshot = await watch.snapshot()
    assert snapshot.complete
    assert port.calls["guests"] == 1

    await clock.advance(20)
    assert await watch.snapshot() is not snapshot


async def test_a_cluster_that_answers_slowly_but_steadily_is_waited_for() -> None:
    port, clock = FakePort(), ManualClock()
    names = ("permissions", "cluster_status", "guests", "storage_rows", "version")
    for name in names:
        port.held[name] = asyncio.Event()
    asker = asyncio.create_task(observer(port, clock).snapshot())
    for name in names:
        await clock.advance(4)
        port.held[name].set()
    assert (await asker).complete


async def test_an_offline_node_is_unknown_and_not_asked() -> None:
    port = FakePort(nodes=[node("pve1"), node("pve2", online=False)])
    snapshot = await observer(port, ManualClock()).snapshot()
    assert snapshot.unread == {"pve2": "node 'pve2' is offline"}
    assert snapshot.complete
    assert port.calls["storages pve2"] == 0


async def test_running_tasks_are_read_only_where_they_are_wanted() -> None:
    port = FakePort()
    await observer(port, ManualClock(), with_tasks=True).snapshot()
    assert port.calls["tasks pve1"] == 1


async def test_a_cluster_that_cannot_be_seen_at_all_is_an_error_for_everyone_and_then_asked_again() -> None:
    port, clock = FakePort(), ManualClock()
    watch = observer(port, clock)
    whole = await watch.snapshot()
    port.errors["permissions"] = Unauthorized("Authentication failed!")
    await clock.advance(20)
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await watch.snapshot()
    assert port.calls["permissions"] == 2
    assert watch.latest is whole
    port.errors.clear()
    await clock.advance(5.1)
    assert (await watch.snapshot()).complete


async def test_closing_is_an_error_for_those_who_wait_and_not_their_end() -> None:
    port = FakePort()
    port.held["guests"] = asyncio.Event()
    watch = observer(port, ManualClock())
    waiting = asyncio.create_task(watch.snapshot())
    await settle()
    await watch.close()
    with pytest.raises(Unreachable, match="closed"):
        await waiting


async def test_an_asker_who_gives_up_takes_the_look_from_nobody() -> None:
    port = FakePort()
    port.held["guests"] = asyncio.Event()
    watch = observer(port, ManualClock())
    first, second = asyncio.create_task(watch.snapshot()), asyncio.create_task(watch.snapshot())
    await settle()
    first.cancel()
    await settle()
    port.held["guests"].set()
    assert (await second).complete
    assert port.calls["guests"] == 1


# -- gone, or unknown --------------------------------------------------------------


async def judged(port: FakePort, *, vmid: int = 120, last_node: str = "pve1") -> tuple[bool, str]:
    snapshot = await observer(port, ManualClock()).snapshot()
    verdict = await absence(cast(ProxmoxApi, port), snapshot, vmid=vmid, last_node=last_node)
    return verdict.proved, verdict.why


async def test_a_guest_in_no_list_and_on_no_node_is_gone() -> None:
    assert await judged(FakePort()) == (True, "guest 120 is not on node 'pve1'")


async def test_a_guest_that_moved_is_not_gone() -> None:
    assert await judged(FakePort(rows=[guest(120, "pve2")])) == (False, "guest 120 is on node 'pve2'")


async def test_without_quorum_nothing_is_gone() -> None:
    assert await judged(FakePort(quorate=False)) == (False, "the cluster has no quorum")


@pytest.mark.parametrize("rights", [{}, {"/vms": {"VM.Audit": False}}, {"/": {"Sys.Audit": True}}])
async def test_an_empty_list_without_the_right_to_see_says_nothing(rights: dict[str, dict[str, bool]]) -> None:
    assert await judged(FakePort(rights=rights)) == (
        False,
        "the credentials do not hold a propagating VM.Audit on /vms",
    )


async def test_a_guest_that_is_hidden_by_a_list_of_its_own_is_not_gone() -> None:
    proved, why = await judged(FakePort(rights={**FULL, "/vms/120": {}}))
    assert not proved
    assert "/vms/120" in why


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("595 Connection refused"),
        MissingPrivilege("lacks VM.Audit"),
        NotFound("hostname lookup failed", reason="NodeUnknown"),
    ],
)
async def test_a_last_node_that_does_not_say_so_proves_nothing(error: Exception) -> None:
    port = FakePort()
    port.errors["vm_config pve1 120"] = cast(NotFound, error)
    assert (await judged(port))[0] is False


async def test_a_configuration_that_the_list_lacks_is_a_guest() -> None:
    port = FakePort()
    snapshot = await observer(port, ManualClock()).snapshot()
    port.rows.append(guest(120))
    verdict = await absence(cast(ProxmoxApi, port), snapshot, vmid=120, last_node="pve1")
    assert not verdict.proved


async def test_a_guest_went_with_its_node_when_that_left_the_quorate_cluster() -> None:
    proved, why = await judged(FakePort(), last_node="pve9")
    assert proved
    assert "'pve9' has left the cluster" in why
