"""How far a fetch is and how fast, as people see it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from pantograph.clock import Clock
from pantograph.depot.errors import DepotError
from pantograph.depot.model import Stage

_WINDOW_S = 10.0
_SAMPLE_S = 0.5


class Pace:
    """Whether an origin brings bytes fast enough to be worth its place, judged once a window."""

    def __init__(self, clock: Clock, *, least_bytes_s: int, window_s: float) -> None:
        self._clock = clock
        self._least_bytes_s = least_bytes_s
        self._window_s = window_s
        self._since = clock.monotonic()
        self._bytes = 0
        self.too_slow = False
        """Once true, for good."""

    def add(self, size_bytes: int) -> None:
        """So many more bytes came."""
        self._bytes += size_bytes
        self.judge()

    def judge(self) -> None:
        """Look whether a window has ended, and how it went."""
        now = self._clock.monotonic()
        elapsed_s = now - self._since
        if elapsed_s < self._window_s:
            return
        self.too_slow = self.too_slow or self._bytes < self._least_bytes_s * elapsed_s
        self._since, self._bytes = now, 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that the origin is not to blame for."""
        paused_at = self._clock.monotonic()
        yield
        self._since += self._clock.monotonic() - paused_at


class Meter:
    """Counts the bytes of one stage after the other; the rate is that of the last ten seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.fault: DepotError | None = None
        """Of the last attempt, until the origin answers again."""
        self.start("Downloading")

    def start(self, stage: Stage, *, done: int = 0, total: int | None = None) -> None:
        """A stage begins; `done` of its bytes came earlier and count for no rate."""
        self.stage: Stage = stage
        self.bytes_done = done
        self.bytes_total = total
        self._samples = deque([(self._clock.monotonic(), done)])

    def add(self, size_bytes: int) -> None:
        """So many more bytes are done."""
        self.bytes_done += size_bytes
        now = self._clock.monotonic()
        if now - self._samples[-1][0] < _SAMPLE_S:
            return
        self._samples.append((now, self.bytes_done))
        while self._samples[1][0] <= now - _WINDOW_S:
            self._samples.popleft()

    @property
    def rate_bytes_s(self) -> float:
        """Bytes per second, 0 before anything can be said."""
        since, done_then = self._samples[0]
        elapsed = self._clock.monotonic() - since
        return (self.bytes_done - done_then) / elapsed if elapsed > 0 else 0.0
