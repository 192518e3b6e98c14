"""How far a fetch is and how fast, as people see it."""

from __future__ import annotations

from collections import deque

from pantograph.clock import Clock
from pantograph.depot.model import Stage

_WINDOW_S = 10.0
_SAMPLE_S = 0.5


class Meter:
    """Counts the bytes of one stage after the other; the rate is that of the last ten seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
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
