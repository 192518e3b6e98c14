"""The one queue of all kinds: which object to look at next, and when.

Its semantics are those of client-go's workqueue: a key is in work once, a key added while in work is done again
afterwards, a delayed add keeps the earliest time, failures back off per key. It is fair: kinds take turns, and within
a kind namespaces do, so ten thousand objects of one tenant delay nobody else's one by more than a turn.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from random import Random

from pantograph.api.meta import Key
from pantograph.clock import Clock

from .metrics import Metrics

BACKOFF_FIRST_S = 1.0
BACKOFF_LIMIT_S = 300.0


class QueueClosed(Exception):
    """The queue was closed: the worker ends."""


class _Ready:
    """Keys that wait, taken in turns: first between kinds, then between the namespaces of a kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, deque[Key]]] = {}

    def push(self, key: Key) -> None:
        self._kinds.setdefault(key.kind, {}).setdefault(key.namespace, deque()).append(key)

    def pop(self) -> Key:
        kind = next(iter(self._kinds))
        namespaces = self._kinds.pop(kind)
        namespace = next(iter(namespaces))
        keys = namespaces.pop(namespace)
        key = keys.popleft()
        if keys:
            namespaces[namespace] = keys
        if namespaces:
            self._kinds[kind] = namespaces
        return key

    def __bool__(self) -> bool:
        return bool(self._kinds)


class WorkQueue:
    """All methods but `get` and `run_timer` return at once; everything runs on one event loop."""

    def __init__(self, *, clock: Clock, random: Random, metrics: Metrics | None = None) -> None:
        self._clock = clock
        self._random = random
        self._metrics = metrics or Metrics()
        self._ready = _Ready()
        self._waiting: dict[Key, float] = {}  # key → when it was added
        self._in_work: dict[Key, float] = {}  # key → when it was taken
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._timers: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._failures: dict[Key, int] = {}
        self._takers: deque[asyncio.Future[None]] = deque()
        self._timer_changed = asyncio.Event()
        self._closed = False

    def add(self, key: Key) -> None:
        """Do `key` as soon as its turn comes; if it is in work, once more afterwards."""
        if self._closed or key in self._waiting or key in self._again:
            return
        self._metrics.queue_adds.labels(key.kind).inc()
        if key in self._in_work:
            self._again.add(key)
            return
        self._enqueue(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Add `key` in `seconds`; of several times asked for, the earliest holds."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        if self._closed or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._timers, (due, next(self._order), key))
        self._timer_changed.set()

    def add_with_backoff(self, key: Key) -> float:
        """Add `key` after its back-off, which doubles with each failure in a row (full jitter); returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(BACKOFF_LIMIT_S, BACKOFF_FIRST_S * 2 ** min(failures, 16))
        delay = self._random.uniform(0, ceiling)
        self._metrics.queue_retries.labels(key.kind).inc()
        self.add_after(key, delay)
        return delay

    def forgive(self, key: Key) -> None:
        """The key's next failure is its first."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """How often in a row it was put back with back-off."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """The object is gone: no failures, no delayed add."""
        self.forgive(key)
        self._due.pop(key, None)

    async def get(self) -> Key:
        """The next key, now in work until `done`. Raises QueueClosed."""
        while not self._ready and not self._closed:
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                if taker.done() and not taker.cancelled():
                    self._wake_one()  # the wake-up was meant for somebody
                raise
        if self._closed:
            raise QueueClosed
        key = self._ready.pop()
        now = self._clock.monotonic()
        self._metrics.queue_latency.labels(key.kind).observe(now - self._waiting.pop(key))
        self._metrics.queue_depth.labels(key.kind).dec()
        self._in_work[key] = now
        return key

    def done(self, key: Key) -> None:
        """The worker has finished `key`; if it was added meanwhile it waits again."""
        started = self._in_work.pop(key)
        self._metrics.work_time.labels(key.kind).observe(self._clock.monotonic() - started)
        if key in self._again:
            self._again.discard(key)
            self._enqueue(key)

    async def run_timer(self) -> None:
        """Serve the delayed adds until cancelled."""
        while True:
            self._timer_changed.clear()
            delay = self._fire_due()
            if delay is None:
                await self._timer_changed.wait()
                continue
            sleep = asyncio.ensure_future(self._clock.sleep(delay))
            changed = asyncio.ensure_future(self._timer_changed.wait())
            try:
                await asyncio.wait({sleep, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                changed.cancel()

    def close(self) -> None:
        """Take no more adds; every `get` raises QueueClosed. Keys in work are finished by their workers."""
        self._closed = True
        while self._takers:
            self._wake_one()

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is in work (delayed adds may still come)."""
        return not self._ready and not self._in_work

    @property
    def in_work(self) -> frozenset[Key]:
        return frozenset(self._in_work)

    def due_in(self, key: Key) -> float | None:
        """Seconds until the key's delayed add, or None."""
        due = self._due.get(key)
        return None if due is None else due - self._clock.monotonic()

    def __len__(self) -> int:
        return len(self._waiting)

    def _enqueue(self, key: Key) -> None:
        self._waiting[key] = self._clock.monotonic()
        self._ready.push(key)
        self._metrics.queue_depth.labels(key.kind).inc()
        self._wake_one()

    def _wake_one(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return

    def _fire_due(self) -> float | None:
        """Add what is due; seconds until the next, or None."""
        while self._timers:
            due, _, key = self._timers[0]
            if self._due.get(key) != due:  # superseded by an earlier one, or forgotten
                heapq.heappop(self._timers)
                continue
            delay = due - self._clock.monotonic()
            if delay > 0:
                return delay
            heapq.heappop(self._timers)
            del self._due[key]
            self.add(key)
        return None
