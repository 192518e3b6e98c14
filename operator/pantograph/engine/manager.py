"""The operator's core without its process: cache, queue, workers and controllers around one API and one clock.

The process (`runtime`) puts signals, the lease and HTTP around it; the simulation runs it as it is, on virtual time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from pantograph.api.meta import Key

from .controller import Controller
from .informer import Informer
from .kube import WatchSource
from .queue import QueueClosed
from .services import Services

logger = logging.getLogger(__name__)

Background = Callable[[], Coroutine[Any, Any, None]]
"""Work beside the queue (bulk observers, fetchers): started after the cache is complete, cancelled at the end."""


class Manager:
    """Runs `controllers` until `stop`. The kinds they watch are registered in the cache of `services` here."""

    def __init__(
        self,
        *,
        services: Services,
        source: WatchSource,
        controllers: Sequence[Controller[Any]],
        workers: int = 8,
        prepare: Background | None = None,
        background: Sequence[Background] = (),
        namespaces: Sequence[str] = (),
    ) -> None:
        self.services = services
        self._controllers = {controller.resource.kind: controller for controller in controllers}
        services.reconciled.update(self._controllers)
        for controller in controllers:
            for watched in controller.watches:
                services.cache.register(watched)
                kind = watched.resource.kind
                services.metrics.cached_objects.labels(kind).set_function(partial(services.cache.count, kind))
        for kind in self._controllers:
            services.metrics.stalled_objects.labels(kind).set_function(partial(services.cache.count_stalled, kind))
        self.informer = Informer(services=services, source=source, enqueue=self.enqueue, namespaces=namespaces)
        self._workers = workers
        self._prepare = prepare
        self._background = background
        self._stopping = asyncio.Event()
        self._grace_s = 0.0

    @property
    def ready(self) -> bool:
        """The cache is complete: reconciles run."""
        return self.services.cache.ready

    def enqueue(self, key: Key) -> None:
        """Look at `key`, if its kind has a controller here."""
        if key.kind in self._controllers:
            self.services.queue.add(key)

    async def run(self) -> None:
        """Returns after `stop`; raises what ended any of its parts, or MissingKinds. Cancelled, it drops everything."""
        if not await self._load():
            return
        if self._prepare is not None:
            await self._prepare()
        for kind in self._controllers:
            for key in self.services.cache.keys(kind):
                self.enqueue(key)
        workers = [asyncio.create_task(self._work(), name=f"worker-{n}") for n in range(self._workers)]
        others = [
            asyncio.create_task(self.informer.run(), name="watch"),
            asyncio.create_task(self.services.queue.run_timer(), name="timer"),
            *(asyncio.create_task(work(), name="background") for work in self._background),
        ]
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        everything = [*workers, *others, stopping]
        try:
            done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            if stopping not in done:
                _raise_end(done)
            await self._settle(workers)
        finally:
            self.services.queue.close()
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)

    def stop(self, *, grace_s: float = 10.0) -> None:
        """Take no more keys; those in work have `grace_s` seconds to end (what they leave is found again later)."""
        self._grace_s = grace_s
        self._stopping.set()

    async def _load(self) -> bool:
        """Complete the cache; False if asked to stop before that."""
        load = asyncio.create_task(self.informer.load(), name="load")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await asyncio.wait([load, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not load.done():
                return False
            await load
            return True
        finally:
            load.cancel()
            stopping.cancel()
            await asyncio.gather(load, stopping, return_exceptions=True)

    async def _settle(self, workers: Sequence[asyncio.Task[None]]) -> None:
        self.services.queue.close()
        _, late = await asyncio.wait(workers, timeout=self._grace_s)
        if late:
            logger.warning("still at work after %.0f s, cut: %s", self._grace_s, sorted(self.services.queue.in_work))

    async def _work(self) -> None:
        queue = self.services.queue
        while True:
            try:
                key = await queue.get()
            except QueueClosed:
                return
            try:
                await self._controllers[key.kind].reconcile(key)
            finally:
                queue.done(key)
            # A reconcile that finds all as it should be waits for nothing, and after a restart thousands do: between
            # two of them the Lease, the probes and the watch have their turn.
            await asyncio.sleep(0)


def _raise_end(done: set[asyncio.Task[Any]]) -> None:
    for task in done:
        if error := task.exception():
            raise error
    names = ", ".join(sorted(task.get_name() for task in done))
    raise RuntimeError(f"ended by itself: {names}")
