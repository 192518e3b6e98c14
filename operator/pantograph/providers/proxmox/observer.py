"""The one observer of a cluster: every object on it is served from one look a tick, however many they are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError, Unreachable
from pantograph.providers.proxmox.mark import tagged_uid16
from pantograph.providers.proxmox.nodes import NodePart, NodeReader
from pantograph.providers.proxmox.port import ProxmoxApi
from pantograph.providers.proxmox.snapshot import ClusterSnapshot, completeness_problem

T = TypeVar("T")

FAILURE_TTL_S = 5.0
"""For so long a failed look answers everybody who asks: a refused token alone costs 3 s a try."""
PATIENCE_S = 12.0
"""Those who ask wait no longer for a cluster that gives no answer at all; the look goes on without them. Two
endpoints that are switched off hold up a call for less (`Timeouts.connect_s`)."""
THOROUGH_S = 45.0
"""The same for whoever must know: longer than a call to one endpoint may take (`Timeouts.read_s`)."""
LATE_TTL_S = 45.0
"""For so long after its end a look serves from which somebody was turned away: he comes back after 30 s, and a look of
a cluster as slow as that would never be fresh."""


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
        self._heard_at = 0.0
        """When the cluster last answered within the look that is being taken, or that look began."""
        self._last: _Look | None = None
        self._flight: _Flight | None = None

    @property
    def latest(self) -> ClusterSnapshot | None:
        """The last successful look, of whatever age; None before the first."""
        return self._last.snapshot if self._last is not None else None

    async def snapshot(self, *, patience_s: float = PATIENCE_S) -> ClusterSnapshot:
        """A look no older than `ttl_s` (a slow one: `LATE_TTL_S`) and no older than the last `invalidate()`.

        Raises the `ProviderError` that kept it from seeing the cluster at all, and `Unreachable` when the cluster has
        answered nothing for `patience_s`: the look goes on, and its outcome serves who asks later. A node that does
        not answer, a lost quorum and a missing right raise nothing: the snapshot says what is not known.
        """
        wanted = self._wanted
        if self._last is not None and self._last.number >= wanted and self._is_fresh(self._last):
            return self._last.result()
        while True:
            flight = self._begin()
            look = await self._outcome(flight, patience_s)
            if flight.number >= wanted:
                return look.result()

    async def fresh(self) -> ClusterSnapshot:
        """A look that began after this call. Raises as `snapshot`, more patiently: the next one would begin anew."""
        self.invalidate()
        return await self.snapshot(patience_s=THOROUGH_S)

    def invalidate(self) -> None:
        """We changed something: what was seen before, or is being looked at now, no longer answers for it."""
        self._wanted += 1

    async def use(self, api: ProxmoxApi) -> None:
        """Look through another connection from now on."""
        await self.close()
        self.api, self._readers, self._flight = api, {}, None

    async def close(self) -> None:
        if self._flight is not None:
            self._flight.task.cancel()
            await asyncio.wait({self._flight.task})
        for reader in self._readers.values():
            await reader.close()

    # -- one look -----------------------------------------------------------------

    def _is_fresh(self, look: _Look) -> bool:
        if look.error is not None:
            return self._clock.monotonic() - look.ended < min(self._ttl_s, FAILURE_TTL_S)
        if look.is_late:
            return self._clock.monotonic() - look.ended < LATE_TTL_S
        return self._clock.monotonic() - look.began < self._ttl_s

    def _begin(self) -> _Flight:
        if self._flight is None or self._flight.task.done():
            self._heard_at = self._clock.monotonic()
            self._flight = _Flight(self._wanted, asyncio.create_task(self._look(self._wanted)))
        return self._flight

    async def _outcome(self, flight: _Flight, patience_s: float) -> _Look:
        """How the look ended, for one of those who wait for it. `close` cancels the look, not those who wait."""
        while not flight.task.done():
            left_s = self._heard_at + patience_s - self._clock.monotonic()
            if left_s <= 0:
                flight.is_late = True
                break
            await wait_for(flight.task, None if left_s == math.inf else left_s, self._clock)
        return outcome(flight.task, patience_s)

    async def _look(self, number: int) -> _Look:
        began = self._clock.monotonic()
        snapshot, error = self.latest, None
        try:
            snapshot = await self._read()
        except ProviderError as failure:
            error = failure
        is_late = self._flight is not None and self._flight.is_late
        self._last = _Look(number, began, self._clock.monotonic(), is_late, snapshot, error)
        return self._last

    async def _heard(self, call: Awaitable[T]) -> T:
        """What the cluster answers: it is not silent, however slow."""
        answer = await call
        self._heard_at = self._clock.monotonic()
        return answer

    async def _read(self) -> ClusterSnapshot:
        taken_at = self._clock.now()
        # The rights first: a right that is lost on the way then shows in the next step, as a refused configuration.
        permissions = await self._heard(self.api.permissions())
        status = await self._heard(self.api.cluster_status())
        guests = await self._heard(self.api.guests())
        storage_rows = await self._heard(self.api.storage_rows())
        version = await self._heard(self.api.version())
        # Silence of a node is not the cluster's, and its reader has a patience of its own.
        self._heard_at = math.inf
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


def outcome(task: asyncio.Task[T], patience_s: float) -> T:
    """Of a shared task, for one who has waited for it so long. Raises `Unreachable` if it goes on, or was cancelled."""
    if not task.done():
        raise Unreachable(f"Proxmox has not answered for {patience_s:g} s")
    if task.cancelled():
        raise Unreachable("the connection to Proxmox was closed", reason="ConnectionClosed")
    return task.result()


async def wait_for(task: asyncio.Task[Any], seconds: float | None, clock: Clock) -> None:
    """Until the task has ended, but no longer; neither its error nor the caller's cancellation touches the other."""
    if seconds is None:
        await asyncio.wait({task})
        return
    timer = asyncio.create_task(clock.sleep(seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()


@dataclass(slots=True)
class _Flight:
    """A look that is being taken; it serves those whose number it has reached."""

    number: int
    task: asyncio.Task[_Look]
    is_late: bool = False
    """Somebody was turned away from it."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How a look ended. `snapshot` is then the one before, where it failed."""

    number: int
    began: float
    ended: float
    is_late: bool
    snapshot: ClusterSnapshot | None
    error: ProviderError | None

    def result(self) -> ClusterSnapshot:
        if self.error is not None:
            raise self.error.with_traceback(None)
        assert self.snapshot is not None
        return self.snapshot
