"""The one observer of a cluster: every object on it is served from one look a tick, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError, Unreachable
from pantograph.providers.proxmox.mark import tagged_uid16
from pantograph.providers.proxmox.nodes import NodePart, NodeReader
from pantograph.providers.proxmox.port import ProxmoxApi
from pantograph.providers.proxmox.snapshot import ClusterSnapshot, completeness_problem

FAILURE_TTL_S = 5.0
"""For so long a failed look answers everybody who asks: a refused token alone costs 3 s a try."""


class Observer:
    """Looks at a cluster when somebody asks and the last look is older than `ttl_s`; everybody shares one look.

    A look costs six calls and one a node (two when a version is due), whatever the number of guests.
    """

    def __init__(
        self,
        api: ProxmoxApi,
        clock: Clock,
        *,
        ttl_s: float = 10.0,
        with_tasks: bool = False,
        version_ttl_s: float = 600.0,
        node_patience_s: float = 5.0,
        node_pause_s: float = 30.0,
    ) -> None:
        self.api = api
        self._clock = clock
        self._ttl_s = ttl_s
        self._with_tasks = with_tasks
        self._version_ttl_s = version_ttl_s
        self._node_patience_s = node_patience_s
        self._node_pause_s = node_pause_s
        self._readers: dict[str, NodeReader] = {}
        self._wanted = 0
        """Rises with each invalidation; a look serves those whose number it has reached when it begins."""
        self._last: _Look | None = None
        self._flight: tuple[int, asyncio.Task[_Look]] | None = None

    @property
    def latest(self) -> ClusterSnapshot | None:
        """The last successful look, of whatever age; None before the first."""
        return self._last.snapshot if self._last is not None else None

    async def snapshot(self) -> ClusterSnapshot:
        """A look no older than `ttl_s` and no older than the last `invalidate()`.

        Raises the `ProviderError` that kept it from seeing the cluster at all. A node that does not answer, a lost
        quorum and a missing right raise nothing: the snapshot says what is not known.
        """
        wanted = self._wanted
        if self._last is not None and self._last.number >= wanted and self._is_fresh(self._last):
            return self._last.result()
        while True:
            number, flight = self._begin()
            look = await _outcome(flight)
            if number >= wanted:
                return look.result()

    async def fresh(self) -> ClusterSnapshot:
        """A look that began after this call."""
        self.invalidate()
        return await self.snapshot()

    def invalidate(self) -> None:
        """We changed something: what was seen before, or is being looked at now, no longer answers for it."""
        self._wanted += 1

    async def use(self, api: ProxmoxApi) -> None:
        """Look through another connection from now on."""
        await self.close()
        self.api, self._readers, self._flight = api, {}, None

    async def close(self) -> None:
        if self._flight is not None:
            self._flight[1].cancel()
            await asyncio.wait({self._flight[1]})
        for reader in self._readers.values():
            await reader.close()

    # -- one look -----------------------------------------------------------------

    def _is_fresh(self, look: _Look) -> bool:
        ttl_s = self._ttl_s if look.error is None else min(self._ttl_s, FAILURE_TTL_S)
        return self._clock.monotonic() - look.at < ttl_s

    def _begin(self) -> tuple[int, asyncio.Task[_Look]]:
        if self._flight is None or self._flight[1].done():
            self._flight = (self._wanted, asyncio.create_task(self._look(self._wanted)))
        return self._flight

    async def _look(self, number: int) -> _Look:
        began = self._clock.monotonic()
        try:
            self._last = _Look(number, began, await self._read(), None)
        except ProviderError as failure:
            self._last = _Look(number, began, self.latest, failure)
        return self._last

    async def _read(self) -> ClusterSnapshot:
        taken_at = self._clock.now()
        # The rights first: a right that is lost on the way then shows in the next step, as a refused configuration.
        permissions = await self.api.permissions()
        status = await self.api.cluster_status()
        guests = await self.api.guests()
        storage_rows = await self.api.storage_rows()
        version = await self.api.version()
        parts = await self._parts([member.name for member in status.nodes if member.online])
        read = {node: part for node, part in parts.items() if isinstance(part, NodePart)}
        unread = {node: part for node, part in parts.items() if isinstance(part, str)}
        unread |= {member.name: f"node {member.name!r} is offline" for member in status.nodes if not member.online}
        return ClusterSnapshot(
            taken_at=taken_at,
            status=status,
            guests={row.vmid: row for row in guests},
            permissions=permissions,
            version=version,
            storage_rows=storage_rows,
            storages={(node, one.storage): one for node, part in read.items() for one in part.storages},
            versions={node: part.version for node, part in read.items() if part.version is not None},
            running={node: part.running for node, part in read.items()},
            unread=unread,
            problem=completeness_problem(status, permissions),
            tagged={uid: row.vmid for row in guests if (uid := tagged_uid16(row)) is not None},
        )

    async def _parts(self, nodes: list[str]) -> Mapping[str, NodePart | str]:
        for gone in self._readers.keys() - set(nodes):
            await self._readers.pop(gone).close()
        for node in nodes:
            self._readers.setdefault(node, self._reader(node))
        parts = await asyncio.gather(*(self._readers[node].part() for node in nodes))
        return dict(zip(nodes, parts, strict=True))

    def _reader(self, node: str) -> NodeReader:
        return NodeReader(
            self.api,
            self._clock,
            node,
            with_tasks=self._with_tasks,
            version_ttl_s=self._version_ttl_s,
            patience_s=self._node_patience_s,
            pause_s=self._node_pause_s,
        )


async def _outcome(flight: asyncio.Task[_Look]) -> _Look:
    """How the look ended, for one of those who wait for it. `close` cancels the look, not those who wait."""
    await asyncio.wait({flight})
    if flight.cancelled():
        raise Unreachable("the connection to Proxmox was closed", reason="ConnectionClosed")
    return flight.result()


class _Look:
    """How a look ended. `snapshot` is then the one before, where it failed."""

    __slots__ = ("at", "error", "number", "snapshot")

    def __init__(self, number: int, at: float, snapshot: ClusterSnapshot | None, error: ProviderError | None) -> None:
        self.number = number
        self.at = at
        self.snapshot = snapshot
        self.error = error

    def result(self) -> ClusterSnapshot:
        if self.error is not None:
            raise self.error.with_traceback(None)
        assert self.snapshot is not None
        return self.snapshot
