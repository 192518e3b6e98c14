"""Owner garbage collection, background: objects all of whose owners are gone are deleted some time later.

As in the real one, a parent that a finalizer still holds keeps its children, an owner in another namespace counts as
gone, and of several owners only those that are gone are struck from the child.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pantograph.api.meta import Body, ResourceType
from pantograph.clock import Clock
from pantograph.engine.kube import WatchEvent
from tests.fakes.apiserver.store import Store


class OwnerCollector:
    """Listens to a store and deletes what nobody owns any more."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self.delay_s = 0.0
        """How long after an owner is gone its children go (the real one takes 1 to 2 s)."""
        self._store = store
        self._clock = clock
        self._living: dict[str, tuple[ResourceType, Body]] = {}
        self._children: dict[str, set[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        store.listeners.append(self._on_event)

    def _on_event(self, resource: ResourceType, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        uid = metadata["uid"]
        if event.type == "DELETED":
            self._living.pop(uid, None)
            for child in sorted(self._children.pop(uid, ())):
                self._judge_later(child)
            return
        self._living[uid] = (resource, event.object)
        for owner in metadata.get("ownerReferences", ()):
            self._children.setdefault(owner["uid"], set()).add(uid)
            if not self._is_alive(owner, metadata["namespace"]):
                self._judge_later(uid)

    def _is_alive(self, owner: dict[str, Any], namespace: str) -> bool:
        _, body = self._living.get(owner["uid"], (None, None))
        return (
            body is not None
            and body["metadata"]["namespace"] == namespace
            and body["metadata"]["name"] == owner["name"]
            and body["kind"] == owner["kind"]
        )

    def _judge_later(self, uid: str) -> None:
        task = asyncio.get_running_loop().create_task(self._judge(uid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judge(self, uid: str) -> None:
        await self._clock.sleep(self.delay_s)
        if uid not in self._living:
            return
        resource, body = self._living[uid]
        metadata = body["metadata"]
        owners = metadata.get("ownerReferences", [])
        alive = [owner for owner in owners if self._is_alive(owner, metadata["namespace"])]
        if len(alive) == len(owners):
            return
        if not alive:
            self._store.delete(resource, metadata["namespace"], metadata["name"], uid=uid)
            return
        self._store.update(
            resource,
            metadata["namespace"],
            metadata["name"],
            lambda old: {**old, "metadata": {**old["metadata"], "ownerReferences": alive}},
        )
