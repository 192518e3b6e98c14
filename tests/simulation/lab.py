"""The lab: the whole operator core on an in-memory API server and simulated Proxmox clusters, on virtual time.

    async with Lab() as lab:
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))

Every fault is a verb: `lab.kill()`, `lab.pve.faults.cut("pve3")`, `lab.server.fail_next(…)`. What is asserted is read
from the API server (`lab.get`) and from the clusters (`lab.truth`), never from the operator.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import random
from collections.abc import Callable, Sequence
from typing import Any, Self

from pantograph.api import crd, kinds
from pantograph.api.meta import CONFIG_MAPS, EVENTS, SECRETS, Body, ResourceType
from pantograph.controllers.changes import ClusterChanges
from pantograph.controllers.connections import Connections
from pantograph.controllers.installation import load_installation
from pantograph.controllers.outside import Outside
from pantograph.controllers.proxmoxcluster import ProxmoxClusterController
from pantograph.controllers.templatereplica.controller import TemplateReplicaController
from pantograph.controllers.verified import VerifiedMachines
from pantograph.controllers.vmtemplate.controller import VMTemplateController
from pantograph.engine.kube import KubeApi
from pantograph.engine.manager import Manager
from pantograph.engine.metrics import Metrics
from pantograph.engine.services import Services
from pantograph.providers.proxmox.connection import ConnectionPool
from tests.fakes.apiserver import ApiServer, Crash
from tests.fakes.proxmox import People, SimulatedCluster, SimulatedNetwork, Storage, Truth, qcow2, serving
from tests.fakes.virtualtime import virtual_clock
from tests.simulation.crashpoints import Tap
from tests.simulation.depot import BASE_URL, Disk, SimulatedDepot

NAMESPACE = "lab"
OPERATOR_NAMESPACE = "pantograph-system"
IMAGE_URL = "http://images.test/debian.qcow2"
RESOURCES: dict[str, ResourceType] = {kind.info.resource.kind.lower(): kind.info.resource for kind in kinds.ALL} | {
    "configmap": CONFIG_MAPS,
    "secret": SECRETS,
}


class Lab:
    """One namespace, one cluster `prod` (unless more are asked for), and an operator that can be killed at any time."""

    def __init__(
        self,
        *,
        seed: int = 1,
        nodes: Sequence[str] = ("pve1", "pve2", "pve3"),
        storages: Sequence[Storage] | None = None,
        image: bytes | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.clock = virtual_clock()
        self.disk = Disk(origin={IMAGE_URL: qcow2(payload=b"golden") if image is None else image})
        self.kubectl = ApiServer(clock=self.clock, rng=self.random, crds=_definitions(), manager="kubectl")
        self.server = self.kubectl.connect()
        self.kube: KubeApi = self.server
        """How the operator reaches the API server; events come from `server` itself."""
        self.pve = SimulatedCluster(
            clock=self.clock, random=self.random, nodes=nodes, storages=storages, fetch=serving(self.disk.served)
        )
        self.network = SimulatedNetwork([self.pve])
        self.truth = Truth(self.pve)
        self.people = People(self.pve)
        self.tap = tap
        if tap is not None:
            self.kube = tap.kube(self.server)
            self.pve.faults.hooks.append(tap.pve())
        self.operator: asyncio.Task[None] | None = None
        self.metrics: list[Metrics] = []
        """Of every life of the operator."""
        self._depot: SimulatedDepot | None = None
        self._pool: ConnectionPool | None = None

    # --- the operator

    async def __aenter__(self) -> Self:
        await self.apply(self.credentials())
        await self.apply(self.cluster())
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """A new process: it knows nothing but what is stored."""
        if self.tap is not None:
            self.tap.revive()
        self._depot = SimulatedDepot(self.disk, self.clock)
        self._pool = ConnectionPool(self.clock, open_api=self.network.open_api)
        self.operator = asyncio.create_task(self._live(self._depot, self._pool), name="operator")

    async def _live(self, depot: SimulatedDepot, pool: ConnectionPool) -> None:
        services = Services.create(kube=self.kube, clock=self.clock, random=self.random)
        self.metrics.append(services.metrics)
        outside = Outside(
            installation=await load_installation(self.kube, OPERATOR_NAMESPACE),
            connections=Connections(pool, self.clock),
            depot=depot,
            verified=VerifiedMachines(self.clock, self.random),
            changes=ClusterChanges(),
            depot_url=BASE_URL,
        )
        manager = Manager(
            services=services,
            source=self.server,
            controllers=[
                ProxmoxClusterController(services, outside),
                VMTemplateController(services, outside),
                TemplateReplicaController(services, outside),
            ],
        )
        await manager.run()

    async def kill(self) -> None:
        """SIGKILL: nothing is settled, nothing is said."""
        if self.operator is not None:
            self.operator.cancel()
            await asyncio.gather(self.operator, return_exceptions=True)
            self.operator = None
        if self._depot is not None:
            await self._depot.close()
        if self._pool is not None:
            await self._pool.close()

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    async def revive(self) -> bool:
        """Start the operator again if a `Crash` has ended it; whether one had."""
        if self.operator is None or not self.operator.done():
            return False
        self._require_alive()
        await self.restart()
        return True

    @property
    def depot(self) -> SimulatedDepot:
        """That of the process that lives."""
        assert self._depot is not None, "it has not been started"
        return self._depot

    # --- what users write

    def credentials(self, *, secret: str | None = None) -> Body:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "prod-token"},
            "data": {"tokenId": encoded(self.pve.operator), "tokenSecret": encoded(secret or self.pve.token_secret)},
        }

    def cluster(self, name: str = "prod", **spec: Any) -> Body:
        endpoints = [f"https://{node}.{self.pve.name}:8006" for node in self.pve.nodes]
        return _object(
            "ProxmoxCluster", name, {"endpoints": endpoints, "credentialsRef": {"name": "prod-token"}, **spec}
        )

    def template(
        self,
        name: str = "debian",
        *,
        url: str = IMAGE_URL,
        checksum: str | None = None,
        storage: str = "local",
        nodes: Sequence[str] | None = None,
        hardware: Body | None = None,
        **spec: Any,
    ) -> Body:
        proxmox: Body = {"clusterRef": {"name": "prod"}, "storage": storage}
        if nodes is not None:
            proxmox["nodes"] = list(nodes)
        http = {"url": url} | ({"checksum": checksum} if checksum else {})
        return _object(
            "VMTemplate",
            name,
            {
                "source": {"http": http},
                "placements": [{"name": "prod", "proxmox": proxmox}],
                **({"hardware": hardware} if hardware else {}),
                **spec,
            },
        )

    async def apply(self, body: Body, *, namespace: str = NAMESPACE) -> None:
        """kubectl apply."""
        resource = RESOURCES[body["kind"].lower()]
        await self.kubectl.apply(resource, namespace, body["metadata"]["name"], body)

    async def make_ready(self, name: str = "debian", **spec: Any) -> None:
        """Apply a template and wait until it is Ready."""
        await self.apply(self.template(name, **spec))
        await self.until(lambda: self.is_ready(f"vmtemplate/{name}"))

    async def patch(self, what: str, patch: Body) -> None:
        resource, name = _named(what)
        await self.kubectl.merge_patch(resource, NAMESPACE, name, patch)

    async def delete(self, what: str) -> None:
        resource, name = _named(what)
        await self.kubectl.delete(resource, NAMESPACE, name)

    # --- what users read

    def get(self, what: str) -> Body | None:
        """`vmtemplate/debian` as the API server has it; None if there is none."""
        resource, name = _named(what)
        return self.kubectl.store.all(resource).get((NAMESPACE, name))

    def all(self, kind: str) -> list[Body]:
        return list(self.kubectl.store.all(RESOURCES[kind]).values())

    def status(self, what: str) -> Body:
        status: Body = (self.get(what) or {}).get("status", {})
        return status

    def condition(self, what: str, type: str = "Ready") -> Body:
        """The condition, or `{}`."""
        conditions = self.status(what).get("conditions", [])
        return next((each for each in conditions if each["type"] == type), {})

    def is_ready(self, what: str) -> bool:
        """As `kubectl wait --for=condition=Ready` sees it."""
        body = self.get(what)
        if body is None:
            return False
        ready = self.condition(what)
        generation = body["metadata"]["generation"]
        return ready.get("status") == "True" and ready.get("observedGeneration") == generation

    def events(self, reason: str) -> list[str]:
        """The messages of all Events with this reason."""
        return [body["message"] for body in self.kubectl.store.all(EVENTS).values() if body["reason"] == reason]

    def replica(self, node: str, *, template: str = "debian") -> str:
        """The template's replica on `node`, as `templatereplica/<name>`."""
        found = [
            body["metadata"]["name"]
            for body in self.all("templatereplica")
            if body["spec"]["node"] == node and body["spec"]["templateRef"]["name"] == template
        ]
        assert len(found) == 1, f"{template} has {len(found)} replicas on {node}"
        return f"templatereplica/{found[0]}"

    # --- waiting

    async def until(self, condition: Callable[[], object], *, within_s: float = 3600.0) -> None:
        """Let virtual time pass until `condition` holds; AssertionError with what stands there if it does not."""
        deadline = self.clock.monotonic() + within_s
        while not condition():
            self._require_alive()
            if self.clock.monotonic() > deadline:
                raise AssertionError(f"not within {within_s:.0f} virtual seconds:\n{self.picture()}")
            await self.clock.sleep(0.5)

    async def until_ready(self, what: str, *, within_s: float = 3600.0) -> None:
        """As `kubectl wait --for=condition=Ready`."""
        await self.until(lambda: self.is_ready(what), within_s=within_s)

    async def until_reason(self, what: str, reason: str) -> None:
        """Wait until Ready gives this reason."""
        await self.until(lambda: self.condition(what).get("reason") == reason)

    async def quiet(self, *, for_s: float = 1200.0) -> None:
        """Let `for_s` virtual seconds pass; the operator must be alive at the end."""
        await self.clock.sleep(for_s)
        self._require_alive()

    def picture(self) -> str:
        """Every object of ours and what it says, for a failed assertion."""
        lines = []
        for kind in ("proxmoxcluster", "vmtemplate", "templatereplica"):
            for body in self.all(kind):
                what = f"{kind}/{body['metadata']['name']}"
                said = [
                    f"{c['type']}={c['status']} {c['reason']}: {c['message']}"
                    for c in self.status(what).get("conditions", [])
                ]
                lines.append(f"{what} operation={self.status(what).get('operation')}\n    " + "\n    ".join(said))
        return "\n".join(lines)

    def vmid(self, node: str, *, template: str = "debian") -> int:
        """The VMID that the replica on `node` has or has announced."""
        status = self.status(self.replica(node, template=template))
        return int(status.get("vmid") or status["operation"]["vmid"])

    def _require_alive(self) -> None:
        if self.operator is not None and self.operator.done() and not isinstance(self.operator.exception(), Crash):
            self.operator.result()
            raise AssertionError("the operator ended by itself")


@functools.cache
def _definitions() -> Sequence[Body]:
    """The CRDs: the same for every lab of a process."""
    return [crd.definition(kind) for kind in kinds.ALL]


def _object(kind: str, name: str, spec: Body) -> Body:
    resource = RESOURCES[kind.lower()]
    return {"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _named(what: str) -> tuple[ResourceType, str]:
    kind, _, name = what.partition("/")
    return RESOURCES[kind], name


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
