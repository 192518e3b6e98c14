"""Which data servers want to be left alone, as the runs on them have reported: a ban counts for all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pantograph.api.meta import Key
from pantograph.api.run import RunCooldown
from pantograph.clock import Clock
from pantograph.providers.media.bucket import Cooldown


class Cooldowns:
    """One a process. What was known before a restart comes again with the next report of a run that waits it out."""

    def __init__(self, clock: Clock, *, on_change: Callable[[Key], None] = lambda _: None) -> None:
        """`on_change` is told the DataServer whose cooldown has begun or grown."""
        self._clock = clock
        self._on_change = on_change
        self._held: dict[Key, tuple[float, Cooldown]] = {}

    def cool(self, server: Key, seconds: float, why: str) -> None:
        """Nothing is asked of the server for so long; a shorter wish never ends a longer one."""
        until = self._clock.monotonic() + seconds
        held = self._held.get(server)
        # The same cooldown comes again with every report, as late as that report was on its way: that is no news.
        if held is not None and until < held[0] + 1.0:
            return
        self._held[server] = (until, Cooldown(self._clock.now() + timedelta(seconds=seconds), why))
        self._on_change(server)

    def of(self, server: Key) -> Cooldown | None:
        """The one that holds now."""
        return None if self.left(server) is None else self._held[server][1]

    def left(self, server: Key) -> RunCooldown | None:
        """The same as runs are told it."""
        held = self._held.get(server)
        if held is None:
            return None
        seconds = held[0] - self._clock.monotonic()
        if seconds <= 0:
            del self._held[server]
            return None
        return RunCooldown(seconds=min(seconds, 86_400), why=held[1].why[:1024])
