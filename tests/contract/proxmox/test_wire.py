"""pveproxy's manners on the wire, which clients trip over."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from pantograph.clock import SystemClock
from pantograph.providers.errors import Unreachable
from pantograph.providers.proxmox.adapter import ProxmoxerApi
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings, Tls
from tests.fakes.certificates import Certificate
from tests.fakes.proxmox import SimulatedCluster, Truth
from tests.fakes.proxmox.server import SimulatedServer
from tests.fakes.scaledclock import ScaledClock


@dataclass(slots=True)
class Proxy:
    cluster: SimulatedCluster
    server: SimulatedServer
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: object) -> tuple[int, str, bytes]:
        """(status, reason, body), with the operator's token unless told otherwise."""
        token = f"PVEAPIToken={self.cluster.operator}={self.cluster.token_secret}"
        headers = {"Authorization": token, **options.pop("headers", {})}  # type: ignore[dict-item]
        url = f"{self.server.url}/api2/json{path}"
        async with self.session.request(method, url, headers=headers, **options) as answer:  # type: ignore[arg-type]
            return answer.status, answer.reason or "", await answer.read()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    cluster = SimulatedCluster(clock=ScaledClock(100), random=random.Random(3))
    server = SimulatedServer(cluster, penalty_s=3)
    await server.start(port_per_node=True)
    async with aiohttp.ClientSession() as session:
        yield Proxy(cluster, server, session)
    await server.close()
    await cluster.close()


async def test_an_error_stands_in_the_reason_phrase_and_in_the_body(proxy: Proxy) -> None:
    text = "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"
    status, reason, body = await proxy.ask("GET", "/nodes/pve1/qemu/999/config")
    assert (status, reason) == (500, text)
    assert json.loads(body) == {"data": None, "message": f"{text}\n"}


async def test_an_unknown_path_is_501_and_never_404(proxy: Proxy) -> None:
    status, reason, _ = await proxy.ask("GET", "/nodes/pve1/nonsense")
    assert (status, reason) == (501, "Method 'GET /nodes/pve1/nonsense' not implemented")


async def test_a_body_on_delete_is_501(proxy: Proxy) -> None:
    status, reason, _ = await proxy.ask("DELETE", "/nodes/pve1/qemu/100", data={"purge": "1"})
    assert (status, reason) == (501, "Unexpected content for method 'DELETE'")


async def test_a_form_value_is_cut_at_its_second_equals_sign(proxy: Proxy) -> None:
    status, _, body = await proxy.ask(
        "POST",
        "/nodes/pve1/qemu",
        data="vmid=100&boot=order=scsi0",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert status == 400
    assert "boot" in json.loads(body)["errors"]
    assert proxy.cluster.guests == {}


@pytest.mark.parametrize("header", [{"Authorization": "PVEAPIToken=a@pve!b=wrong"}, {"Authorization": ""}])
async def test_refused_credentials_have_no_body(proxy: Proxy, header: dict[str, str]) -> None:
    status, reason, body = await proxy.ask("GET", "/version", headers=header)
    assert (status, body) == (401, b"")
    assert reason == "Authentication failed!"


async def test_a_dead_node_is_595_without_a_body(proxy: Proxy) -> None:
    proxy.cluster.faults.cut("pve2")
    assert await proxy.ask("GET", "/nodes/pve2/storage") == (595, "Connection refused", b"")


async def test_a_mutation_by_ticket_needs_the_csrf_token(proxy: Proxy) -> None:
    url = f"{proxy.server.url}/api2/json"
    login = {"username": "root@pam", "password": "root"}
    async with proxy.session.post(f"{url}/access/ticket", data=login) as answer:
        ticket = (await answer.json())["data"]
    cookies = {"PVEAuthCookie": ticket["ticket"]}
    async with proxy.session.post(f"{url}/nodes/pve1/qemu", data={"vmid": "100"}, cookies=cookies) as answer:
        assert (answer.status, answer.reason) == (401, "Permission denied - invalid csrf token")
    csrf = {"CSRFPreventionToken": ticket["CSRFPreventionToken"]}
    async with proxy.session.post(
        f"{url}/nodes/pve1/qemu", data={"vmid": "100"}, cookies=cookies, headers=csrf
    ) as answer:
        assert answer.status == 200


async def test_an_upload_is_verified_and_its_name_rewritten(proxy: Proxy) -> None:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("content", "import")
    form.add_field("filename", b"bytes" * 1000, filename="my weird+v1.2.qcow2")
    status, _, body = await proxy.ask("POST", "/nodes/pve1/storage/local/upload", data=form)
    assert status == 200
    await proxy.cluster.task(json.loads(body)["data"]).done.wait()
    assert [(file.name, file.size) for file in Truth(proxy.cluster).staged_files()] == [("my_weird_v1.2.qcow2", 5000)]


async def test_a_large_upload_without_the_right_ends_in_a_reset(proxy: Proxy) -> None:
    proxy.cluster.faults.lose_rights("/storage/local", "Datastore.AllocateTemplate")
    form = aiohttp.FormData()
    form.add_field("content", "import")
    form.add_field("filename", b"x" * (4 * 1024 * 1024), filename="x.qcow2")
    with pytest.raises(aiohttp.ClientError):
        await proxy.ask("POST", "/nodes/pve1/storage/local/upload", data=form)
    small = aiohttp.FormData()
    small.add_field("content", "import")
    small.add_field("filename", b"x", filename="x.qcow2")
    status, reason, body = await proxy.ask("POST", "/nodes/pve1/storage/local/upload", data=small)
    assert (status, body) == (403, b"")
    assert reason == "Permission check failed (/storage/local, Datastore.AllocateTemplate)"


async def test_a_log_says_how_long_it_is_and_an_unknown_ones_is_an_object(proxy: Proxy) -> None:
    status, _, body = await proxy.ask("POST", "/nodes/pve1/qemu", data={"vmid": "100", "scsi0": "local:1"})
    assert status == 200
    upid = json.loads(body)["data"]
    await proxy.cluster.task(upid).done.wait()
    _, _, body = await proxy.ask("GET", f"/nodes/pve1/tasks/{upid}/log", params={"limit": "1"})
    answer = json.loads(body)
    assert (len(answer["data"]), answer["total"]) == (1, 3)
    _, _, body = await proxy.ask("GET", f"/nodes/pve1/tasks/{upid.replace('qmcreate', 'qmdestroy')}/log")
    assert json.loads(body)["data"] == {"n": 1, "t": "unable to open file - No such file or directory"}


async def test_a_cut_nodes_own_port_refuses_connections_and_comes_back(proxy: Proxy) -> None:
    url = f"{proxy.server.node_urls['pve2']}/api2/json/version"
    proxy.cluster.faults.cut("pve2")
    with pytest.raises(aiohttp.ClientConnectorError):
        await proxy.session.get(url)
    proxy.cluster.faults.mend("pve2")
    await proxy.server.settled()
    async with proxy.session.get(url) as answer:
        assert answer.status == 401


async def test_the_adapter_goes_on_through_the_next_endpoint(proxy: Proxy) -> None:
    cluster = proxy.cluster
    api = ProxmoxerApi(
        ConnectionSettings(
            endpoints=tuple(proxy.server.node_urls.values()),
            credentials=ApiToken(cluster.operator, cluster.token_secret),
        ),
        SystemClock(),
    )
    cluster.nodes["pve3"].version = "8.4.3"
    cluster.faults.cut("pve1")
    cluster.faults.cut("pve2")
    assert await api.version() == "8.4.3"
    cluster.faults.cut("pve3")
    with pytest.raises(Unreachable):
        await api.version()
    await api.close()


async def test_faults_and_truth_are_reached_from_outside(proxy: Proxy) -> None:
    control = proxy.server.control_url
    async with proxy.session.post(f"{control}/faults/take_vmid", json={"vmid": 100, "node": "pve2"}) as answer:
        assert answer.status == 200
    async with proxy.session.get(f"{control}/truth/machine", params={"vmid": "100"}) as answer:
        assert (await answer.json())["node"] == "pve2"
    async with proxy.session.get(f"{control}/truth/mutation_counts") as answer:
        assert await answer.json() == {}
    async with proxy.session.post(f"{control}/faults/nonsense", json={}) as answer:
        assert answer.status == 404
    async with proxy.session.post(f"{control}/faults/cut", json={"node": "nope"}) as answer:
        assert answer.status == 409


async def test_a_pinned_fingerprint_opens_tls_and_another_does_not(certificate: Certificate) -> None:
    cluster = SimulatedCluster(clock=SystemClock(), random=random.Random(3))
    server = SimulatedServer(cluster, certificate)
    await server.start()
    token = ApiToken(cluster.operator, cluster.token_secret)
    right = ProxmoxerApi(
        ConnectionSettings(endpoints=(server.url,), credentials=token, tls=Tls(fingerprint=certificate.fingerprint)),
        SystemClock(),
    )
    wrong = ProxmoxerApi(
        ConnectionSettings(endpoints=(server.url,), credentials=token, tls=Tls(fingerprint="AA:" * 31 + "AA")),
        SystemClock(),
    )
    nodes = (await right.cluster_status()).nodes
    assert {node.fingerprint for node in nodes} == {certificate.fingerprint}
    with pytest.raises(Unreachable) as refused:
        await wrong.version()
    assert refused.value.reason == "CertificateRefused"
    for api in (right, wrong):
        await api.close()
    await server.close()
    await cluster.close()
