"""The outside of the control-plane bench: simulated Proxmox clusters in-process, and what is declared on them.

Ten clusters of twenty nodes; a template is wanted on all 200 nodes, so N replicas are N/200 templates. Each template
has an image of its own, so that every copy goes the whole way: staged, imported, converted, the file removed again.
"""

from __future__ import annotations

import base64
import pickle
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pantograph.api.meta import Body
from pantograph.clock import Clock
from pantograph.providers.proxmox.adapter import ProxmoxerApi
from pantograph.providers.proxmox.port import ProxmoxApi
from pantograph.providers.proxmox.settings import ConnectionSettings
from tests.bench.metering import Meter
from tests.fakes.proxmox import Pace, SimulatedCluster, qcow2, serving
from tests.fakes.proxmox.api import SimulatedTransport
from tests.fakes.proxmox.tasks import Task
from tests.simulation.depot import Disk, SimulatedDepot

CLUSTERS = 10
NODES = 20
PLACES = CLUSTERS * NODES
NAMESPACE = "bench"
PACE = Pace(task_s=0.5)


def template_count(objects: int) -> int:
    """How many templates have `objects` replicas."""
    if objects % PLACES:
        raise ValueError(f"{objects} is no multiple of {PLACES}")
    return objects // PLACES


class _MeteredCluster(SimulatedCluster):
    """Its tasks count as the simulator's work."""

    meter: Meter

    def fork(self, *, node: str, type: str, id: str, user: str, body: Callable[[Task], Awaitable[None]]) -> str:
        async def metered(task: Task) -> None:
            await self.meter.run(_coroutine(body(task)))

        return super().fork(node=node, type=type, id=id, user=user, body=metered)


async def _coroutine(work: Awaitable[None]) -> None:
    await work


class _MeteredTransport(SimulatedTransport):
    meter: Meter

    async def request(self, *positional: Any, **named: Any) -> Any:
        return await self.meter.run(super().request(*positional, **named))


class World:
    """Clusters, the depot's disk, and a meter of what simulating them costs."""

    def __init__(self, objects: int, clock: Clock) -> None:
        self.meter = Meter()
        self.disk = Disk(origin={_image_url(n): qcow2(payload=str(n).encode()) for n in range(template_count(objects))})
        self._clock = clock
        self.clusters = {name: self._cluster(name) for name in map(_cluster_name, range(CLUSTERS))}

    def _cluster(self, name: str) -> SimulatedCluster:
        cluster = _MeteredCluster(
            clock=self._clock,
            random=random.Random(name),
            name=name,
            nodes=_nodes(),
            fetch=serving(self.disk.served),
            pace=PACE,
        )
        cluster.meter = self.meter
        return cluster

    def depot(self) -> SimulatedDepot:
        return SimulatedDepot(self.disk, self._clock)

    def open_api(self, settings: ConnectionSettings) -> ProxmoxApi:
        """What a `ConnectionPool` takes."""
        name = settings.endpoints[0].removeprefix("https://").split(".")[1].split(":")[0]
        cluster = self.clusters[name]
        transport = _MeteredTransport(cluster, settings, endpoints=list(cluster.nodes))
        transport.meter = self.meter
        return ProxmoxerApi(settings, self._clock, transport=transport)

    @property
    def mutations(self) -> int:
        """Changes that were asked of the clusters in this process."""
        return sum(len(cluster.gate.ledger) for cluster in self.clusters.values())

    def save(self, path: Path) -> None:
        """Keep the guests and volumes for the next process: Proxmox outlives the operator."""
        kept = {
            name: (cluster.guests, {(p.storage.name, p.owner): p.volumes for p in cluster.storages.places()})
            for name, cluster in self.clusters.items()
        }
        path.write_bytes(pickle.dumps((kept, self.disk)))

    def load(self, path: Path) -> None:
        """Find what `save` has kept."""
        kept, disk = pickle.loads(path.read_bytes())
        self.disk.images, self.disk.fetched, self.disk.served = disk.images, disk.fetched, disk.served
        for name, (guests, volumes) in kept.items():
            cluster = self.clusters[name]
            cluster.guests.update(guests)
            for (storage, owner), found in volumes.items():
                cluster.storages.place(cluster.storages.get(storage), owner).volumes.update(found)


def declared(objects: int, clock: Clock) -> tuple[list[Body], list[Body]]:
    """What a user applies: connections with their Secrets, and templates."""
    clusters = [World(PLACES, clock).clusters[name] for name in map(_cluster_name, range(CLUSTERS))]
    connections = [body for cluster in clusters for body in _connection(cluster)]
    return connections, [_template(number) for number in range(template_count(objects))]


def _connection(cluster: SimulatedCluster) -> list[Body]:
    token = {"tokenId": cluster.operator, "tokenSecret": cluster.token_secret}
    spec = {
        "endpoints": [f"https://{node}.{cluster.name}:8006" for node in list(cluster.nodes)[:3]],
        "credentialsRef": {"name": f"{cluster.name}-token"},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{cluster.name}-token"},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in token.items()},
    }
    return [secret, _object("ProxmoxCluster", cluster.name or "", spec)]


def _template(number: int) -> Body:
    return _object(
        "VMTemplate",
        f"template-{number}",
        {
            "source": {"http": {"url": _image_url(number)}},
            "hardware": {"cores": 2, "memory": "2Gi", "network": {"bridge": "vmbr0"}},
            "cloudInit": {"user": "debian", "ipConfig": "ip=dhcp"},
            "maxParallel": 64,
            "placements": [
                {"name": name, "proxmox": {"clusterRef": {"name": name}, "storage": "local"}}
                for name in map(_cluster_name, range(CLUSTERS))
            ],
        },
    )


def _object(kind: str, name: str, spec: Body) -> Body:
    return {"apiVersion": "pantograph.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _nodes() -> list[str]:
    return [f"pve{n}" for n in range(1, NODES + 1)]


def _cluster_name(number: int) -> str:
    return f"dc{number}"


def _image_url(number: int) -> str:
    return f"http://images.test/{number}.qcow2"
