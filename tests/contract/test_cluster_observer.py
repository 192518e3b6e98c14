"""The observer and the proof of absence on the simulated cluster, in-process and over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

import pytest

from pantograph.clock import SystemClock
from pantograph.providers.errors import MissingPrivilege, NotFound
from pantograph.providers.proxmox.adapter import ProxmoxerApi
from pantograph.providers.proxmox.observer import Observer
from pantograph.providers.proxmox.port import ProxmoxApi
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings
from pantograph.providers.proxmox.snapshot import Absence, absence
from tests.fakes.proxmox.api import simulated_api
from tests.fakes.proxmox.cluster import Pace, SimulatedCluster
from tests.fakes.proxmox.people import People
from tests.fakes.proxmox.server import SimulatedServer

PATIENCE_S = 0.3


@dataclass
class Lab:
    cluster: SimulatedCluster
    api: ProxmoxApi
    observer: Observer

    async def gone(self, vmid: int, last_node: str) -> Absence:
        return await absence(self.api, await self.observer.fresh(), vmid=vmid, last_node=last_node)


@pytest.fixture(params=["in-process", "http"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    clock = SystemClock()
    cluster = SimulatedCluster(clock=clock, random=Random(7), pace=Pace(task_s=0.01))
    server = SimulatedServer(cluster)
    try:
        api: ProxmoxApi = simulated_api(cluster)
        if request.param == "http":
            await server.start()
            token = ApiToken(cluster.operator, cluster.token_secret)
            api = ProxmoxerApi(ConnectionSettings(endpoints=(server.url,), credentials=token), clock)
        observer = Observer(api, clock, node_patience_s=PATIENCE_S)
        yield Lab(cluster, api, observer)
        await observer.close()
        await api.close()
    finally:
        await server.close()
        await cluster.close()


async def test_a_whole_cluster_is_seen_whole(lab: Lab) -> None:
    await People(lab.cluster).create(120, "pve1", name="web")
    snapshot = await lab.observer.fresh()
    assert snapshot.problem is None
    assert snapshot.guests[120].node == "pve1"
    assert set(snapshot.versions) == {"pve1", "pve2", "pve3"}
    assert "import" in snapshot.storages["pve3", "local"].content


async def test_a_guest_is_gone_when_a_person_destroyed_it(lab: Lab) -> None:
    await People(lab.cluster).create(120, "pve1")
    assert not (await lab.gone(120, "pve1")).proved
    await People(lab.cluster).destroy(120)
    assert (await lab.gone(120, "pve1")).proved


async def test_nothing_is_gone_without_quorum_or_with_its_node_down(lab: Lab) -> None:
    lab.cluster.faults.lose_quorum()
    assert "no quorum" in (await lab.gone(120, "pve1")).why
    lab.cluster.faults.regain_quorum()
    lab.cluster.faults.cut("pve3")
    verdict = await lab.gone(120, "pve3")
    assert not verdict.proved
    assert "pve3" in verdict.why


async def test_a_listing_emptied_by_a_lost_right_says_nothing(lab: Lab) -> None:
    await People(lab.cluster).create(120, "pve1")
    lab.cluster.faults.lose_rights("/vms", "VM.Audit")
    snapshot = await lab.observer.fresh()
    assert 120 not in snapshot.guests
    assert snapshot.problem == "the credentials do not hold a propagating VM.Audit on /vms"
    assert not (await lab.gone(120, "pve1")).proved


async def test_a_frozen_node_leaves_the_others_seen_in_time(lab: Lab) -> None:
    lab.cluster.faults.freeze("pve3")
    snapshot = await lab.observer.fresh()
    assert "pve3" in snapshot.unread
    assert ("pve3", "local") not in snapshot.storages
    assert ("pve1", "local") in snapshot.storages
    lab.cluster.faults.thaw("pve3")


async def test_a_refused_token_and_an_unknown_guest_have_their_own_errors(lab: Lab) -> None:
    with pytest.raises(NotFound, match="moved to another node"):
        await lab.api.vm_config("pve2", 999)
    lab.cluster.faults.lose_rights("/storage/local", "Datastore.AllocateTemplate")
    with pytest.raises(MissingPrivilege) as caught:
        await lab.api.download_url(
            "pve1", "local", url="http://127.0.0.1:1/x", filename="x.qcow2", checksum="sha256:" + "0" * 64
        )
    assert "pveum acl modify /storage/local --tokens" in str(caught.value.remedy)
