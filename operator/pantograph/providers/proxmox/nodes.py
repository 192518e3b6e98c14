"""What one node tells of itself, read so that a node that hangs delays nobody but itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError
from pantograph.providers.proxmox.port import NodeStorage, ProxmoxApi, TaskRow


@dataclass(frozen=True, slots=True)
class NodePart:
    storages: Sequence[NodeStorage]
    version: str | None
    running: Sequence[TaskRow] = ()


class NodeReader:
    """One read of a node at a time. A tick waits `patience_s` for it; a slower one goes on for a later tick."""

    def __init__(
        self,
        api: ProxmoxApi,
        clock: Clock,
        node: str,
        *,
        with_tasks: bool,
        version_ttl_s: float,
        patience_s: float,
        pause_s: float,
    ) -> None:
        self._api = api
        self._clock = clock
        self._node = node
        self._with_tasks = with_tasks
        self._version_ttl_s = version_ttl_s
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._version: tuple[float, str] | None = None
        self._failed: tuple[float, str] | None = None
        self._flight: asyncio.Task[NodePart | str] | None = None

    async def part(self) -> NodePart | str:
        """The node's part, or why it is not known."""
        if self._failed is not None and self._clock.monotonic() < self._failed[0] + self._pause_s:
            return self._failed[1]
        if self._flight is None:
            self._flight = asyncio.create_task(self._read())
        flight = self._flight
        timer = asyncio.create_task(self._clock.sleep(self._patience_s))
        await asyncio.wait({flight, timer}, return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        if not flight.done():
            return f"node {self._node!r} has not answered for {self._patience_s:g} s"
        self._flight = None
        return flight.result()

    async def close(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait({self._flight})

    async def _read(self) -> NodePart | str:
        began = self._clock.monotonic()
        try:
            storages = await self._api.storages(self._node)
            version = await self._current_version()
            tasks = await self._api.tasks(self._node) if self._with_tasks else ()
        except ProviderError as error:
            # One that made us wait is left alone for a while: each question holds a thread of ours.
            slow = self._clock.monotonic() - began >= self._patience_s
            self._failed = (self._clock.monotonic(), error.message) if slow else None
            self._flight = None  # the pause answers from now on; a late success waits for the next tick instead
            return error.message
        self._failed = None
        return NodePart(storages, version, tuple(task for task in tasks if task.running))

    async def _current_version(self) -> str:
        now = self._clock.monotonic()
        if self._version is None or now - self._version[0] >= self._version_ttl_s:
            self._version = (now, await self._api.node_version(self._node))
        return self._version[1]
