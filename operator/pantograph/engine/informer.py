"""Keeps the cache true and tells who must look again.

At the start every kind is listed, so that nothing is decided on half the objects; then the watch brings changes. A
watch may lose a deletion (a relist tells what is, never what is no longer) and is not trusted alone: a metadata-only
list compares now and then, and an object is forgotten only after a GET said 404.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from pantograph.api.meta import Body, Key, ResourceType

from .cache import Watched, key_of
from .kube import KubeError, Listing, NotFound, WatchEvent, WatchSource
from .services import Services

logger = logging.getLogger(__name__)

SWEEP_EVERY_S = 600.0
SWEEP_AFTER_RELIST_S = 5.0
"""After the last event of a relist: its burst is over."""
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
WHOLE_EVERY_S = 5.0
"""How often it is looked whether the kinds that are missing are back, while some are."""


class MissingKinds(Exception):
    """The API server does not serve kinds that the operator needs; the message says which, and what installs them."""


class Informer:
    """Fills the cache of `services` from `source`; `enqueue` gets every key that must be looked at.

    Without `namespaces` everything is listed clusterwide; `source` must watch the same.
    """

    def __init__(
        self,
        *,
        services: Services,
        source: WatchSource,
        enqueue: Callable[[Key], None],
        namespaces: Sequence[str] = (),
    ) -> None:
        self._services = services
        self._source = source
        self._enqueue = enqueue
        self._namespaces: Sequence[str | None] = tuple(namespaces) or (None,)
        self._gone: Sequence[ResourceType] = ()
        """Kinds whose definitions were removed, while those of others are being removed."""
        self._listed: dict[tuple[ResourceType, str | None], str] = {}
        self._relisted_at: float | None = None
        self._relisted = asyncio.Event()

    @property
    def _watched(self) -> Sequence[Watched]:
        return [each for each in self._services.cache.watched if each.resource not in self._gone]

    async def load(self) -> None:
        """Check that every kind is served, then list all of them. Waits for a server that is down.

        After this the cache is complete. Raises MissingKinds, but not while definitions are being removed: then the
        objects of those that are left go only if somebody works.
        """
        self._gone = await self._not_served()
        for watched in self._watched:
            for namespace in self._namespaces:
                listing = await self._patiently_list(watched, namespace)
                for body in listing.items:
                    self._services.cache.absorb(body)
                self._listed[watched.resource, namespace] = listing.resource_version
        if self._gone and not self._is_removal():
            raise MissingKinds(_missing(self._gone))
        for watched in self._services.cache.watched:
            self._services.cache.mark_listed(watched.resource.kind)
        logger.info(
            "cache complete: %s",
            ", ".join(f"{self._services.cache.count(w.resource.kind)} {w.resource.plural}" for w in self._watched),
        )

    async def run(self) -> None:
        """Follow the watch and sweep for ghosts, until cancelled. Raises MissingKinds, or what ended either."""
        parts = (self._watch(), self._await_whole(), self._sweep_now_and_then())
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await done.pop()
        raise RuntimeError("the watch has ended by itself")

    async def _watch(self) -> None:
        """Until the watch ends; that of the kinds that are left goes on while definitions are being removed."""
        while True:
            try:
                resources = [watched.resource for watched in self._watched]
                return await self._source.run(resources, self.on_event, since=self._listed)
            except Exception as error:
                self._listed = {}  # the next watch lists anew
                gone = await self._not_served()
                if not gone:
                    raise
                self._leave_out(gone)
                if not self._is_removal():
                    raise MissingKinds(_missing(self._gone)) from error
                logger.warning("definitions are being removed, finishing what is left: %s", _names(gone))

    def _leave_out(self, gone: Sequence[ResourceType]) -> None:
        """A definition goes after its last object, so none of these kinds is left."""
        for resource in gone:
            for key in self._services.cache.keys(resource.kind):
                if (entry := self._services.cache.entry(key)) is not None:
                    self._forget(key, uid=entry.uid)
        self._gone = [*self._gone, *gone]

    async def _await_whole(self) -> None:
        """Without some kinds, until nothing is left to remove, or they are back: raises MissingKinds then."""
        while True:
            await self._services.clock.sleep(WHOLE_EVERY_S)
            if not self._gone:
                continue
            if not self._is_removal():
                raise MissingKinds(_missing(self._gone))
            if back := [each for each in self._gone if await self._patiently_served(each)]:
                raise MissingKinds(f"{_names(back)} were missing and are served again: the operator must start anew")

    def _is_removal(self) -> bool:
        """Whether objects that are left are under deletion."""
        cache = self._services.cache
        bodies = (cache.get(key) for kind in self._services.reconciled for key in cache.keys(kind))
        return any(body is not None and body["metadata"].get("deletionTimestamp") for body in bodies)

    async def _not_served(self) -> list[ResourceType]:
        return [w.resource for w in self._watched if not await self._patiently_served(w.resource)]

    def on_event(self, resource: ResourceType, event: WatchEvent) -> None:
        """Take one change; whoever it concerns is enqueued, unless it told nothing new."""
        if event.type is None:
            self._relisted_at = self._services.clock.monotonic()
            self._relisted.set()
        meta = event.object["metadata"]
        if event.type == "DELETED":
            self._forget(Key(resource.kind, meta.get("namespace", ""), meta["name"]), uid=meta["uid"])
        else:
            self._absorb(event.object)

    async def sweep(self) -> None:
        """Compare every kind with a metadata-only list once, and take in what the watch did not tell."""
        for watched in self._watched:
            try:
                for namespace in self._namespaces:
                    await self._sweep_kind(watched, namespace)
            except KubeError as error:
                logger.warning("%s could not be compared, later again: %s", watched.resource.plural, error)

    def _absorb(self, body: Body) -> bool:
        concerned = self._services.cache.learn(body)
        if concerned is None:
            return False
        self._tell(key_of(body), concerned)
        return True

    def _forget(self, key: Key, *, uid: str) -> bool:
        concerned = self._services.cache.concerned(key)
        if not self._services.cache.forget(key, uid=uid):
            return False
        self._tell(key, concerned)
        return True

    def _tell(self, key: Key, concerned: set[Key]) -> None:
        self._enqueue(key)
        self._services.wake(concerned)

    async def _sweep_now_and_then(self) -> None:
        clock = self._services.clock
        while True:
            relisted = asyncio.ensure_future(self._relisted.wait())
            pause = asyncio.ensure_future(clock.sleep(SWEEP_EVERY_S))
            try:
                await asyncio.wait({relisted, pause}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                relisted.cancel()
                pause.cancel()
            while self._relisted_at is not None:
                rest = self._relisted_at + SWEEP_AFTER_RELIST_S - clock.monotonic()
                if rest <= 0:
                    self._relisted_at = None
                else:
                    await clock.sleep(rest)
            self._relisted.clear()
            await self.sweep()

    async def _sweep_kind(self, watched: Watched, namespace: str | None) -> None:
        cache = self._services.cache
        kind = watched.resource.kind
        listing = await self._services.kube.list(
            watched.resource, namespace=namespace, labels=watched.labels, metadata_only=True
        )
        at = int(listing.resource_version)
        listed = {
            Key(kind, body["metadata"].get("namespace", ""), body["metadata"]["name"]): body["metadata"]
            for body in listing.items
        }
        for key in cache.select(kind, namespace=namespace):
            entry = cache.entry(key)
            newer_than_list = entry is None or entry.version > at
            if not newer_than_list and key not in listed:
                await self._look(watched.resource, key)
        for key, meta in listed.items():
            entry = cache.entry(key)
            if entry is None or entry.version < int(meta["resourceVersion"]):
                await self._look(watched.resource, key)

    async def _look(self, resource: ResourceType, key: Key) -> None:
        """Read one object that the list and the cache disagree on."""
        entry = self._services.cache.entry(key)
        try:
            self._absorb(await self._services.kube.get(resource, key.namespace, key.name))
        except NotFound:
            if entry is not None and self._forget(key, uid=entry.uid):
                self._services.metrics.ghosts.labels(key.kind).inc()
                logger.info("%s is gone, and the watch had not told", key)

    async def _patiently_served(self, resource: ResourceType) -> bool:
        delay = FIRST_RETRY_S
        while True:
            try:
                return await self._services.kube.served(resource)
            except KubeError as error:
                logger.warning("the API server does not answer, tried again in %.0f s: %s", delay, error)
            await self._services.clock.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_S)

    async def _patiently_list(self, watched: Watched, namespace: str | None) -> Listing:
        delay = FIRST_RETRY_S
        while True:
            try:
                return await self._services.kube.list(watched.resource, namespace=namespace, labels=watched.labels)
            except KubeError as error:
                logger.warning("%s cannot be listed, again in %.0f s: %s", watched.resource.plural, delay, error)
            await self._services.clock.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_S)


def _names(resources: Sequence[ResourceType]) -> str:
    return ", ".join(f"{r.plural}.{r.group or 'core'}/{r.version}" for r in resources)


def _missing(resources: Sequence[ResourceType]) -> str:
    return (
        f"the API server does not serve {_names(resources)}; to mend it: install the CRDs "
        "(helm upgrade --install with crds.enabled=true, or kubectl apply -f crds/) and start the operator again"
    )
