"""One client's watches: every change to its sink, in order for one uid, and what may happen to them on the way."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from pantograph.api.meta import ResourceType
from pantograph.clock import Clock
from pantograph.engine.kube import NotFound, WatchEvent
from tests.fakes.apiserver.store import Store
from tests.fakes.apiserver.values import copied

Sink = Callable[[ResourceType, WatchEvent], None]
LOG_LENGTH = 1000
"""How many events of a kind can be replayed."""


class Watches:
    """The watches of one client. Each uid has a lane: its events arrive in order, those of different uids may not."""

    def __init__(self, store: Store, *, clock: Clock, rng: random.Random) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._streams: list[_Stream] = []
        self._log: dict[ResourceType, deque[WatchEvent]] = {}
        self._deaf: set[ResourceType] = set()
        self._delays: dict[ResourceType, tuple[float, float]] = {}
        self.connected = asyncio.Event()
        self.connected.set()
        store.listeners.append(self._on_event)
        store.mourners.append(self._on_withdrawal)

    async def run(self, resources: Sequence[ResourceType], sink: Sink) -> None:
        """See `WatchSource.run`; raises NotFound when a watched kind is not served, or no longer. Lists all itself."""
        stream = _Stream(resources, sink, self)
        self._streams.append(stream)
        try:
            for resource in resources:
                self._relist(resource, (stream,))
            await stream.ended
        finally:
            self._streams.remove(stream)
            stream.close()

    def delay(self, resource: ResourceType, least_s: float, most_s: float) -> None:
        self._delays[resource] = (least_s, most_s)

    def deafen(self, resource: ResourceType) -> None:
        self._deaf.add(resource)

    def relist(self, resource: ResourceType) -> None:
        self._deaf.discard(resource)
        self._relist(resource, self._streams)

    def replay(self, resource: ResourceType, count: int) -> None:
        for event in list(self._log.get(resource, ()))[-count:]:
            self._send(resource, event)

    async def travel(self, resource: ResourceType) -> None:
        """The way of one event from the server to its client."""
        delay = self._delays.get(resource)
        if delay is None:
            # Two turns of the loop: a reply takes one or three, so that an event comes sometimes first, mostly second.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        else:
            await self._clock.sleep(self._rng.uniform(*delay))
        await self.connected.wait()

    def _on_event(self, resource: ResourceType, event: WatchEvent) -> None:
        self._log.setdefault(resource, deque(maxlen=LOG_LENGTH)).append(event)
        if resource not in self._deaf:
            self._send(resource, event)

    def _on_withdrawal(self, resource: ResourceType) -> None:
        for stream in self._streams:
            if resource in stream.resources:
                stream.end(NotFound(f"the server could not find {resource.plural}", code=404, reason="NotFound"))

    def _send(self, resource: ResourceType, event: WatchEvent) -> None:
        for stream in self._streams:
            if resource in stream.resources:
                stream.send(resource, event)

    def _relist(self, resource: ResourceType, streams: Sequence[_Stream]) -> None:
        for body in self._store.all(resource).values():
            for stream in streams:
                if resource in stream.resources:
                    stream.send(resource, WatchEvent(None, body))


class _Stream:
    """One running watch: a sink, and a lane for each uid that has events on their way."""

    def __init__(self, resources: Sequence[ResourceType], sink: Sink, watches: Watches) -> None:
        self.resources = frozenset(resources)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sink = sink
        self._watches = watches
        self._lanes: dict[str, deque[tuple[ResourceType, WatchEvent]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def send(self, resource: ResourceType, event: WatchEvent) -> None:
        uid = event.object["metadata"]["uid"]
        lane = self._lanes.get(uid)
        if lane is not None:
            lane.append((resource, event))
            return
        self._lanes[uid] = deque([(resource, event)])
        task = asyncio.get_running_loop().create_task(self._deliver(uid))
        self._running.add(task)
        task.add_done_callback(self._on_done)

    def end(self, error: BaseException) -> None:
        """Let the watch end with `error`, unless it ends already."""
        if not self.ended.done():
            self.ended.set_exception(error)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.end(error)

    def close(self) -> None:
        for task in self._running:
            task.cancel()

    async def _deliver(self, uid: str) -> None:
        lane = self._lanes[uid]
        while lane:
            resource, event = lane.popleft()
            await self._watches.travel(resource)
            self._sink(resource, replace(event, object=copied(event.object)))
        del self._lanes[uid]
