"""How much is asked of one server, by all its jobs together: so much a second, nothing while it wants to be left alone.

A ban counts for the account and its address, not for the job that ran into it: every caller of the bucket waits it out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from pantograph.clock import Clock
from pantograph.providers.breaker import Breaker
from pantograph.providers.errors import Busy, ProviderError, Unreachable
from pantograph.providers.limiter import Limiter

MAX_COOLDOWN_S = 1800.0
_JITTER = 0.1
UPSTREAM_FAILED = "UpstreamFailed"
"""The reason of an `Unreachable` that is about one cloud behind the server: the server itself answers."""


@dataclass(frozen=True, slots=True)
class Cooldown:
    """The server wants to be left alone until then."""

    until: datetime
    why: str


class RateBucket:
    """At most `concurrent` calls at once and `per_second` on average, a common cooldown, and a circuit breaker."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        random: Random,
        *,
        per_second: float = 2.0,
        burst: int = 4,
        concurrent: int = 4,
        cooldown_s: float = 60.0,
        on_change: Callable[[Cooldown | None], None] = lambda _: None,
    ) -> None:
        """`cooldown_s` holds when the server does not say how long, and doubles (to half an hour) until a call works.

        `on_change` is told when a cooldown begins or grows, and with None at the first call after it.
        """
        self.name = name
        self._clock = clock
        self._random = random
        self._limiter = Limiter(clock, concurrent=concurrent, per_second=per_second, burst=burst)
        self._breaker = Breaker(name, clock, is_failure=_server_is_silent)
        self._cooldown_s = cooldown_s
        self._on_change = on_change
        self._cooldown: Cooldown | None = None
        self._until = float("-inf")
        self._bans_in_a_row = 0

    @property
    def cooldown(self) -> Cooldown | None:
        """The one that holds now."""
        return self._cooldown if self._until > self._clock.monotonic() else None

    def set_rate(self, per_second: float) -> None:
        """From now on: this bucket's share of what the server takes."""
        self._limiter.set_rate(per_second)

    def cool(self, seconds: float, why: str) -> None:
        """Nothing is asked for so long; a shorter wish never ends a longer one."""
        until = self._clock.monotonic() + seconds
        if until <= self._until:
            return
        self._until = until
        self._cooldown = Cooldown(self._clock.now() + timedelta(seconds=seconds), why)
        self._on_change(self._cooldown)

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Inside, one call may be made, when its turn has come.

        Raises `Busy` (reason `CoolingDown`) at once during a cooldown and `Unreachable` (reason `CircuitOpen`) while
        the server does not answer. A `Busy` raised inside begins a cooldown for everybody.
        """
        self._refuse_while_cooling()
        async with self._limiter.turn():
            # The turn may have come much later, and the ban meanwhile.
            self._refuse_while_cooling()
            with self._breaker.attempt():
                try:
                    yield
                except Busy as error:
                    self._banned(error)
                    raise
            self._worked()

    def _refuse_while_cooling(self) -> None:
        left_s = self._until - self._clock.monotonic()
        if left_s > 0:
            why = self._cooldown.why if self._cooldown else ""
            raise Busy(
                f"{self.name} is left alone for {left_s:.0f} s: {why}", reason="CoolingDown", retry_after_s=left_s
            )

    def _banned(self, error: Busy) -> None:
        self._bans_in_a_row += 1
        asked_s = error.retry_after_s
        if asked_s is None:
            grown_s = self._cooldown_s * 2 ** min(self._bans_in_a_row - 1, 16)
            asked_s = min(grown_s, MAX_COOLDOWN_S)
        error.retry_after_s = asked_s * (1 + _JITTER * self._random.random())
        self.cool(error.retry_after_s, error.message)

    def _worked(self) -> None:
        self._bans_in_a_row = 0
        if self._cooldown is not None and self.cooldown is None:
            self._cooldown = None
            self._on_change(None)


def _server_is_silent(error: ProviderError) -> bool:
    return isinstance(error, Unreachable) and error.reason != UPSTREAM_FAILED
