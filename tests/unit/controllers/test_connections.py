"""When the Secrets of a connection are read again, and what becomes of the connection then."""

from __future__ import annotations

import base64
from random import Random
from typing import Any, cast

import pytest

from pantograph.api.meta import SECRETS
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.clock import SystemClock
from pantograph.controllers.connections import SECRET_INTERVAL_S, Connections
from pantograph.providers.errors import Unauthorized
from pantograph.providers.proxmox.connection import ConnectionPool
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings
from tests.fakes.apiserver import ApiServer
from tests.unit.providers.clocks import ManualClock


class Pool:
    """Remembers with which settings it was asked; refuses those with `refused` as the token's secret."""

    def __init__(self) -> None:
        self.refused = ""
        self.asked: list[ConnectionSettings] = []
        self.released: list[ConnectionSettings] = []

    async def get(self, settings: ConnectionSettings, *, patience_s: float) -> object:
        self.asked.append(settings)
        assert isinstance(settings.credentials, ApiToken)
        if settings.credentials.secret == self.refused:
            raise Unauthorized("the token was refused")
        return object()

    async def release(self, settings: ConnectionSettings) -> None:
        self.released.append(settings)


def cluster(*endpoints: str) -> ProxmoxCluster:
    spec = {
        "endpoints": endpoints or ["https://pve1:8006"],
        "credentialsRef": {"name": "pve-token"},
        "tls": {"caRef": {"name": "pve-ca"}},
    }
    metadata = {"name": "prod", "namespace": "default", "uid": "uid-1", "generation": 1}
    return ProxmoxCluster.parse({"metadata": metadata, "spec": spec})


@pytest.fixture
async def api() -> ApiServer:
    server = ApiServer(clock=SystemClock(), rng=Random(1))
    await keep(server, "pve-token", tokenId="pantograph@pve!operator", tokenSecret="secret")
    await keep(server, "pve-ca", **{"ca.crt": "the old authority"})
    return server


async def keep(api: ApiServer, name: str, **values: str) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    body: dict[str, Any] = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "data": data,
    }  # fmt: skip
    await api.apply(SECRETS, "default", name, body)


async def test_every_way_of_writing_an_endpoint_is_an_address_with_a_port_and_no_more(api: ApiServer) -> None:
    pool = Pool()
    written = ["pve1", "pve1:8006", "https://pve1", "https://pve1/", "https://pve1:8006/", "[2001:db8::1]", "pve1:443/"]
    await Connections(cast("ConnectionPool", pool), ManualClock()).open(cluster(*written), api)
    assert pool.asked[0].endpoints == (*["https://pve1:8006"] * 5, "https://[2001:db8::1]:8006", "https://pve1:443")


async def test_an_authority_that_was_replaced_is_trusted_from_the_next_reading_on(api: ApiServer) -> None:
    clock, pool = ManualClock(), Pool()
    connections = Connections(cast("ConnectionPool", pool), clock)
    await connections.open(cluster(), api)
    await keep(api, "pve-ca", **{"ca.crt": "the new authority"})
    await connections.open(cluster(), api)
    assert [settings.tls.ca_pem for settings in pool.asked] == ["the old authority"] * 2
    await clock.advance(SECRET_INTERVAL_S)
    await connections.open(cluster(), api)
    assert pool.asked[-1].tls.ca_pem == "the new authority"
    assert pool.released == [pool.asked[0]]


async def test_a_refused_certificate_has_the_authority_read_at_the_next_look(api: ApiServer) -> None:
    pool = Pool()
    connections = Connections(cast("ConnectionPool", pool), ManualClock())
    await connections.open(cluster(), api)
    await keep(api, "pve-ca", **{"ca.crt": "the new authority"})
    connections.doubt(cluster())
    await connections.open(cluster(), api)
    assert pool.asked[-1].tls.ca_pem == "the new authority"


async def test_a_refused_token_is_tried_again_when_a_person_asks_and_by_no_new_authority(api: ApiServer) -> None:
    pool = Pool()
    pool.refused = "secret"
    connections = Connections(cast("ConnectionPool", pool), ManualClock())
    with pytest.raises(Unauthorized):
        await connections.open(cluster(), api)
    await keep(api, "pve-ca", **{"ca.crt": "the new authority"})
    connections.doubt(cluster())
    with pytest.raises(Unauthorized):
        await connections.open(cluster(), api)
    assert len(pool.asked) == 1
    pool.refused = ""
    await connections.open(cluster(), api, afresh=True)
    await connections.open(cluster(), api)
    assert len(pool.asked) == 3
