"""Connections that lead to the same machines share what must not exist twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest

from pantograph.providers.errors import Unreachable
from pantograph.providers.proxmox.connection import ConnectionPool
from pantograph.providers.proxmox.observer import PATIENCE_S
from pantograph.providers.proxmox.port import ClusterNode, ProxmoxApi
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings
from tests.unit.providers.clocks import ManualClock, settle
from tests.unit.providers.fakeport import FakePort, node


def settings(host: str, *, token: str = "op@pve!tok", secret: str = "s") -> ConnectionSettings:
    return ConnectionSettings(endpoints=(f"https://{host}:8006",), credentials=ApiToken(token, secret))


class Lab:
    """A pool whose connections are hand-made ports, by host."""

    def __init__(self, **ports: FakePort) -> None:
        self.opened: list[ConnectionSettings] = []
        self.ports = ports
        self.clock = ManualClock()
        self.pool = ConnectionPool(self.clock, open_api=self._open)

    def _open(self, settings: ConnectionSettings) -> ProxmoxApi:
        self.opened.append(settings)
        return cast(ProxmoxApi, self.ports[settings.endpoints[0].split("/")[2].split(":")[0]])


async def test_equal_settings_are_one_connection_and_a_new_secret_is_another() -> None:
    lab = Lab(a=FakePort())
    first = await lab.pool.get(settings("a"))
    assert await lab.pool.get(settings("a")) is first
    assert await lab.pool.get(settings("a", secret="new")) is not first
    assert len(lab.opened) == 2


async def test_two_addresses_of_one_cluster_share_lock_and_observer() -> None:
    lab = Lab(a=FakePort(), b=FakePort(nodes=[node("pve3"), node("pve4")]))
    one, two = await lab.pool.get(settings("a")), await lab.pool.get(settings("b"))
    assert one.vmid_lock is two.vmid_lock
    assert one.observer is two.observer


async def test_another_user_of_the_same_cluster_shares_the_lock_and_sees_for_himself() -> None:
    lab = Lab(a=FakePort(), b=FakePort(user_name="ann@pve!tok"))
    one, two = await lab.pool.get(settings("a")), await lab.pool.get(settings("b", token="ann@pve!tok"))
    assert one.vmid_lock is two.vmid_lock
    assert one.observer is not two.observer


@pytest.mark.parametrize(
    "other",
    [
        replace(node("pve1"), ip="10.9.9.9"),
        replace(node("pve1"), name="other"),
        replace(node("pve1"), fingerprint="other"),
    ],
)
async def test_machines_that_share_only_a_name_or_a_wildcard_certificate_are_two_clusters(other: ClusterNode) -> None:
    lab = Lab(a=FakePort(nodes=[node("pve1")], name=None), b=FakePort(nodes=[other], name=None))
    one, two = await lab.pool.get(settings("a")), await lab.pool.get(settings("b"))
    assert one.vmid_lock is not two.vmid_lock


async def test_a_cluster_that_was_never_reached_is_asked_again_through_the_same_way() -> None:
    port = FakePort(errors={"cluster_status": Unreachable("down")})
    lab = Lab(a=port)
    for _ in range(2):
        with pytest.raises(Unreachable):
            await lab.pool.get(settings("a"))
    port.errors.clear()
    assert (await lab.pool.get(settings("a"))).api is cast(ProxmoxApi, port)
    assert len(lab.opened) == 1


async def test_all_who_ask_for_a_connection_share_one_attempt_and_nobody_waits_long_for_it() -> None:
    lab = Lab(a=(port := FakePort()))
    port.held["cluster_status"] = asyncio.Event()
    askers = [asyncio.create_task(lab.pool.get(settings("a"))) for _ in range(20)]
    await lab.clock.advance(PATIENCE_S + 0.1)
    assert {str(error) for error in await asyncio.gather(*askers, return_exceptions=True)} == {
        f"Proxmox has not answered for {PATIENCE_S:g} s"
    }
    assert port.calls["cluster_status"] == 1
    port.held["cluster_status"].set()
    await settle()
    await lab.pool.get(settings("a"))
    assert port.calls["cluster_status"] == 1


async def test_a_connection_released_while_it_is_opened_is_not_kept() -> None:
    lab = Lab(a=(port := FakePort()))
    port.held["cluster_status"] = asyncio.Event()
    asker = asyncio.create_task(lab.pool.get(settings("a")))
    await settle()
    await lab.pool.release(settings("a"))
    with pytest.raises(Unreachable, match="was closed"):
        await asker
    del port.held["cluster_status"]
    await lab.pool.get(settings("a"))
    assert len(lab.opened) == 2


async def test_the_observer_goes_on_when_the_connection_it_looked_through_is_released() -> None:
    lab = Lab(a=FakePort(), b=FakePort())
    await lab.pool.get(settings("a"))
    heir = await lab.pool.get(settings("b"))
    await lab.pool.release(settings("a"))
    assert lab.ports["a"].closed
    assert (await heir.observer.fresh()).complete
    assert lab.ports["b"].calls["guests"] == 1


async def test_a_released_cluster_is_forgotten_and_may_come_back() -> None:
    lab = Lab(a=FakePort())
    first = await lab.pool.get(settings("a"))
    await lab.pool.close()
    again = await lab.pool.get(settings("a"))
    assert again.cluster is not first.cluster
    assert (await again.observer.snapshot()).complete


def test_secrets_are_not_in_what_settings_print() -> None:
    assert "hunter2" not in repr(settings("a", secret="hunter2"))
