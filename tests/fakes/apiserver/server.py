"""The in-memory API server as one client sees it: the verbs, the watches, and the faults between the two."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from pantograph.api.meta import Body, ResourceType
from pantograph.clock import Clock
from pantograph.engine.kube import FIELD_MANAGER, KubeError, Listed, Listing, WatchEvent
from tests.fakes.apiserver.collector import OwnerCollector
from tests.fakes.apiserver.faults import Call, Faults, Hook, Verb, Write
from tests.fakes.apiserver.selectors import selector
from tests.fakes.apiserver.store import Store
from tests.fakes.apiserver.values import copied, merged, patched, received
from tests.fakes.apiserver.watch import Watches

REPLY_AFTER_EVENT = 0.25
"""How often a write's event overtakes its reply (measured against the real server)."""


Answer = TypeVar("Answer")


class ApiServer:
    """A cluster's API server and one client's connection to it; `connect` gives further clients of the same cluster.

    Implements `KubeApi` and `WatchSource`. Faults, hook and records are the connection's own.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        crds: Sequence[Mapping[str, Any]] = (),
        manager: str = FIELD_MANAGER,
    ) -> None:
        store = Store(clock=clock, rng=rng)
        self._attach(store, OwnerCollector(store, clock=clock), clock=clock, rng=rng, manager=manager)
        for crd in crds:
            store.register(crd)

    def connect(self, manager: str = FIELD_MANAGER) -> ApiServer:
        """Another client of the same cluster: a second operator process, or a user's hand (`kubectl`)."""
        other = ApiServer.__new__(ApiServer)
        other._attach(self.store, self.collector, clock=self._clock, rng=self._rng, manager=manager)
        return other

    def _attach(
        self, store: Store, collector: OwnerCollector, *, clock: Clock, rng: random.Random, manager: str
    ) -> None:
        self.store = store
        self.collector = collector
        self._clock = clock
        self._rng = rng
        self._manager = manager
        self._faults = Faults()
        self._watches = Watches(store, clock=clock, rng=rng)
        self._stale: dict[ResourceType, Listing] = {}
        self.latency_s = 0.0
        """What a request and its answer take together."""
        self.hook: Hook | None = None
        self.writes: list[Write] = []
        """Every write that reached the server."""
        self.calls: Counter[tuple[Verb, str]] = Counter()
        """How many requests were made, by verb and kind."""

    # --- KubeApi

    async def list(
        self,
        resource: ResourceType,
        *,
        namespace: str | None = None,
        labels: str | None = None,
        metadata_only: bool = False,
    ) -> Listing:
        def read() -> Listing:
            wanted = selector(labels)
            listing = self._stale.get(resource) or self._listing(resource)
            items = [
                _partial(body) if metadata_only else copied(body)
                for body in listing.items
                if namespace in (None, body["metadata"]["namespace"]) and wanted(body["metadata"].get("labels", {}))
            ]
            return Listing(items, listing.resource_version)

        return await self._call(Call("list", resource.kind, namespace or "", ""), read)

    async def get(self, resource: ResourceType, namespace: str, name: str) -> Body:
        call = Call("get", resource.kind, namespace, name)
        return await self._call(call, lambda: copied(self.store.get(resource, namespace, name)))

    async def create(self, resource: ResourceType, namespace: str, body: Body) -> Body:
        call = Call("create", resource.kind, namespace, body.get("metadata", {}).get("name", ""))
        return await self._call(call, lambda: copied(self.store.create(resource, namespace, received(body))))

    async def apply(self, resource: ResourceType, namespace: str, name: str, body: Body) -> Body:
        call = Call("apply", resource.kind, namespace, name)
        return await self._call(
            call, lambda: copied(self.store.apply(resource, namespace, name, received(body), manager=self._manager))
        )

    async def merge_patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: Literal["status"] | None = None,
    ) -> Body:
        call = Call("merge_patch", resource.kind, namespace, name, subresource)
        sent = received(patch)
        return await self._update(call, resource, lambda old: merged(old, sent))

    async def json_patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        patch: Sequence[Mapping[str, Any]],
        *,
        subresource: Literal["status"] | None = None,
    ) -> Body:
        call = Call("json_patch", resource.kind, namespace, name, subresource)
        sent = received(patch)
        return await self._update(call, resource, lambda old: patched(old, sent))

    async def replace(self, resource: ResourceType, namespace: str, name: str, body: Body) -> Body:
        call = Call("replace", resource.kind, namespace, name)
        return await self._call(call, lambda: copied(self.store.replace(resource, namespace, name, received(body))))

    async def delete(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground"] = "Background",
    ) -> None:
        """`propagation` makes no difference here: nobody plays the foreground collector."""
        await self._call(
            Call("delete", resource.kind, namespace, name),
            lambda: self.store.delete(resource, namespace, name, uid=uid, resource_version=resource_version),
        )

    async def served(self, resource: ResourceType) -> bool:
        return await self._call(Call("served", resource.kind, "", ""), lambda: self.store.serves(resource))

    # --- WatchSource

    async def run(
        self,
        resources: Sequence[ResourceType],
        sink: Callable[[ResourceType, WatchEvent], None],
        *,
        since: Listed | None = None,
    ) -> None:
        """Tells all that there is, also what is not newer than `since`: so much is allowed."""
        await self._watches.run(resources, sink)

    # --- faults

    def fail_next(
        self,
        verb: Verb | Literal["write", "any"],
        error: KubeError,
        *,
        kind: str | None = None,
        after_effect: bool = False,
        times: int = 1,
    ) -> None:
        """Let the next `times` such calls raise `error`; with `after_effect` only after they have done their work."""
        self._faults.plan(verb, error, kind=kind, after_effect=after_effect, times=times)

    def cut(self) -> None:
        """No request reaches the server any more (`Unavailable`), and events wait."""
        self._faults.unreachable = True
        self._watches.connected.clear()

    def mend(self) -> None:
        """Undo `cut`: requests pass, and the watches go on where they were."""
        self._faults.unreachable = False
        self._watches.connected.set()

    def delay_events(self, resource: ResourceType, least_s: float, most_s: float | None = None) -> None:
        """Let events of this kind come late from now on, each by its own time between the two."""
        self._watches.delay(resource, least_s, least_s if most_s is None else most_s)

    def drop_events(self, resource: ResourceType) -> None:
        """Lose every event of this kind until `relist`."""
        self._watches.deafen(resource)

    def relist(self, resource: ResourceType) -> None:
        """The watch was too old: every object comes again with type None; nothing tells what was deleted meanwhile."""
        self._watches.relist(resource)

    def replay_events(self, resource: ResourceType, count: int) -> None:
        """Deliver the last `count` events once more, old as they are: a watch that reconnected to a lagging server."""
        self._watches.replay(resource, count)

    def stale_lists(self, resource: ResourceType) -> None:
        """Answer lists of this kind with its present state until `fresh_lists`, as a lagging watch cache does."""
        self._stale[resource] = self._listing(resource)

    def fresh_lists(self, resource: ResourceType) -> None:
        self._stale.pop(resource, None)

    # --- what others do to the cluster

    def register(self, crd: Mapping[str, Any]) -> None:
        """Install or update a CustomResourceDefinition."""
        self.store.register(crd)

    def withdraw(self, resource: ResourceType) -> None:
        """Delete a CustomResourceDefinition: its objects are gone, its watches end with NotFound."""
        self.store.withdraw(resource)

    def terminate_namespace(self, namespace: str) -> None:
        """Begin to delete a namespace: everything in it is deleted, nothing can be created in it any more."""
        self.store.terminate_namespace(namespace)

    # --- the way to the server and back

    def _listing(self, resource: ResourceType) -> Listing:
        objects = self.store.all(resource)
        return Listing([objects[key] for key in sorted(objects)], str(self.store.revision))

    async def _update(self, call: Call, resource: ResourceType, change: Callable[[Body], Any]) -> Body:
        subresource = call.subresource
        return await self._call(
            call,
            lambda: copied(self.store.update(resource, call.namespace, call.name, change, subresource=subresource)),
        )

    async def _call(self, call: Call, effect: Callable[[], Answer]) -> Answer:
        self.calls[call.verb, call.kind] += 1
        if self.hook is not None:
            self.hook("before", call)
        await self._travel()
        self._faults.refuse_unreachable()
        planned = self._faults.take(call)
        if planned is not None and not planned.after_effect:
            raise planned.error
        answer = self._carry_out(call, effect)
        if self.hook is not None:
            self.hook("after", call)
        await self._travel()
        if call.is_write and self._rng.random() < REPLY_AFTER_EVENT:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if planned is not None:
            raise planned.error
        return answer

    async def _travel(self) -> None:
        """Half a round trip; at least one turn of the loop, so that a task cancelled by a hook gets no further."""
        await (self._clock.sleep(self.latency_s / 2) if self.latency_s else asyncio.sleep(0))

    def _carry_out(self, call: Call, effect: Callable[[], Answer]) -> Answer:
        revision = self.store.revision
        outcome = "unchanged"
        try:
            answer = effect()
            outcome = "changed" if self.store.revision != revision else "unchanged"
        except KubeError as error:
            outcome = type(error).__name__
            raise
        finally:
            if call.is_write:
                self.writes.append(
                    Write(call.verb, call.kind, call.namespace, call.name, call.subresource, self._clock.now(), outcome)
                )
        return answer


def _partial(body: Body) -> Body:
    """What a metadata-only list has of an object."""
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": copied(body["metadata"])}
