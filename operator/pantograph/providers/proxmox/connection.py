"""Connections to Proxmox clusters, shared where they lead to the same machines.

Two connections may name one cluster by different addresses. They must not choose VMIDs side by side, so they share the
lock of the real cluster, which its nodes' certificates identify.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pantograph.clock import Clock
from pantograph.providers.proxmox.adapter import ProxmoxerApi
from pantograph.providers.proxmox.observer import PATIENCE_S, Observer, outcome, wait_for
from pantograph.providers.proxmox.port import ClusterStatus, ProxmoxApi
from pantograph.providers.proxmox.settings import ConnectionSettings
from pantograph.providers.proxmox.transport import CallHook, CircuitHook, no_circuit_hook, no_hook
from pantograph.providers.proxmox.vmids import Vmids

NodeIdentity = tuple[str, str | None, str]
"""A node's name, address and certificate. One alone would not do: single nodes are all called `pve`, and a wildcard
certificate serves many."""


@dataclass(eq=False, slots=True)
class RealCluster:
    """The machines behind one or more connections."""

    nodes: set[NodeIdentity]
    vmid_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from the look at the used VMIDs until the intent with the chosen one is written."""
    vmids: Vmids = field(default_factory=Vmids)
    observers: dict[str, Observer] = field(default_factory=dict)
    """By user: two users may see different parts of a cluster."""


@dataclass(frozen=True, slots=True)
class ProxmoxConnection:
    """A way to a cluster that was open at least once."""

    api: ProxmoxApi
    observer: Observer
    cluster: RealCluster

    @property
    def vmids(self) -> Vmids:
        return self.cluster.vmids

    @property
    def vmid_lock(self) -> asyncio.Lock:
        return self.cluster.vmid_lock


@dataclass(frozen=True, slots=True)
class _Opening:
    """An attempt to open a connection."""

    began: float
    task: asyncio.Task[ProxmoxConnection]


OpenApi = Callable[[ConnectionSettings], ProxmoxApi]


class ConnectionPool:
    """One connection for equal settings; one lock for one real cluster; one observer for one user of it."""

    def __init__(
        self,
        clock: Clock,
        *,
        open_api: OpenApi | None = None,
        on_call: CallHook = no_hook,
        on_circuit: CircuitHook = no_circuit_hook,
        observer_ttl_s: float = 10.0,
    ) -> None:
        self._clock = clock
        self._open_api = open_api or (
            lambda settings: ProxmoxerApi(settings, clock, on_call=on_call, on_circuit=on_circuit)
        )
        self._observer_ttl_s = observer_ttl_s
        self._connections: dict[ConnectionSettings, ProxmoxConnection] = {}
        self._clusters: list[RealCluster] = []
        self._openings: dict[ConnectionSettings, _Opening] = {}
        self._apis: dict[ConnectionSettings, ProxmoxApi] = {}

    async def get(self, settings: ConnectionSettings, *, patience_s: float = PATIENCE_S) -> ProxmoxConnection:
        """The connection for these settings. All who ask share one attempt to open it.

        Raises what `cluster_status` raises if it was never open, and `Unreachable` when nobody has answered for
        `patience_s`: the attempt goes on, and serves who asks later.
        """
        known = self._connections.get(settings)
        if known is not None:
            return known
        opening = self._begin(settings)
        left_s = opening.began + patience_s - self._clock.monotonic()
        if left_s > 0:
            await wait_for(opening.task, left_s, self._clock)
        return outcome(opening.task, patience_s)

    async def release(self, settings: ConnectionSettings) -> None:
        """These settings are no longer used. An observer that others share goes on over one of theirs."""
        opening = self._openings.pop(settings, None)
        if opening is not None:
            opening.task.cancel()
            await asyncio.wait({opening.task})
        connection = self._connections.pop(settings, None)
        api = self._apis.pop(settings, None)
        if connection is not None and connection.observer.api is api:
            await self._hand_over(connection)
        if api is not None:
            await api.close()

    async def close(self) -> None:
        for settings in list(self._apis):
            await self.release(settings)

    def _begin(self, settings: ConnectionSettings) -> _Opening:
        opening = self._openings.get(settings)
        if opening is not None and not opening.task.done():
            return opening
        if settings not in self._apis:
            # Kept also while it cannot be reached: its circuit breaker must remember.
            self._apis[settings] = self._open_api(settings)
        task = asyncio.create_task(self._open(settings, self._apis[settings]))
        # How it ended may be asked by nobody.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._openings[settings] = opening = _Opening(self._clock.monotonic(), task)
        return opening

    async def _open(self, settings: ConnectionSettings, api: ProxmoxApi) -> ProxmoxConnection:
        status = await api.cluster_status()
        user = await api.user()
        self._connections[settings] = self._connect(api, user, status)
        return self._connections[settings]

    def _connect(self, api: ProxmoxApi, user: str, status: ClusterStatus) -> ProxmoxConnection:
        cluster = self._cluster(identities(status))
        observer = cluster.observers.get(user)
        if observer is None:
            observer = cluster.observers[user] = Observer(api, self._clock, ttl_s=self._observer_ttl_s)
        return ProxmoxConnection(api, observer, cluster)

    def _cluster(self, nodes: set[NodeIdentity]) -> RealCluster:
        for cluster in self._clusters:
            if cluster.nodes & nodes:
                cluster.nodes |= nodes
                return cluster
        self._clusters.append(RealCluster(nodes))
        return self._clusters[-1]

    async def _hand_over(self, connection: ProxmoxConnection) -> None:
        observer, cluster = connection.observer, connection.cluster
        heir = next((other for other in self._connections.values() if other.observer is observer), None)
        if heir is not None:
            await observer.use(heir.api)
            return
        await observer.close()
        for user in [user for user, one in cluster.observers.items() if one is observer]:
            del cluster.observers[user]
        if not any(other.cluster is cluster for other in self._connections.values()):
            self._clusters.remove(cluster)


def identities(status: ClusterStatus) -> set[NodeIdentity]:
    """What identifies the real cluster: any node of it that shows its certificate."""
    return {(node.name, node.ip, node.fingerprint) for node in status.nodes if node.fingerprint is not None}
