"""A circuit breaker: an outside system that does not answer is asked seldom, and everybody else hears at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pantograph.clock import Clock
from pantograph.providers.errors import OutcomeUnknown, ProviderError, Unreachable


def _is_unreachable(error: ProviderError) -> bool:
    return isinstance(error, Unreachable)


class Breaker:
    """Opens after `threshold` failures in a row; `open_s` later one call may try, and its outcome decides.

    `is_failure` says which errors mean that the system itself did not answer; any other answer, an error too, shows
    that it lives. A lost answer (`OutcomeUnknown`) shows neither.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        threshold: int = 5,
        open_s: float = 30.0,
        is_failure: Callable[[ProviderError], bool] = _is_unreachable,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`on_change` is told whenever it opens (True) or closes (False)."""
        self._name = name
        self._clock = clock
        self._threshold = threshold
        self._open_s = open_s
        self._is_failure = is_failure
        self._on_change = on_change
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False
        self._last_failure = ""

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    def retire(self) -> None:
        """Nobody asks the system by this breaker any more: it is open for nobody, whatever late calls bring."""
        if self.is_open:
            self._on_change(False)
        self._on_change = lambda _: None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside, one call may be made. Raises `Unreachable` (reason `CircuitOpen`) instead while it is open."""
        probe = self._enter()
        try:
            yield
        except OutcomeUnknown:
            raise
        except ProviderError as error:
            if self._is_failure(error):
                self._failed(error)
            else:
                self._succeeded()
            raise
        else:
            self._succeeded()
        finally:
            # Also when the call was cancelled: the next caller is then the probe.
            if probe:
                self._probing = False

    def _enter(self) -> bool:
        if self._opened_at is None:
            return False
        left_s = self._opened_at + self._open_s - self._clock.monotonic()
        if self._probing or left_s > 0:
            raise Unreachable(
                f"{self._name} did not answer {self._threshold} times in a row ({self._last_failure});"
                f" it is asked once in {self._open_s:.0f} s",
                reason="CircuitOpen",
            )
        self._probing = True
        return True

    def _failed(self, error: ProviderError) -> None:
        self._failures += 1
        self._last_failure = error.message
        if self._failures < self._threshold:
            return
        if not self.is_open:
            self._on_change(True)
        self._opened_at = self._clock.monotonic()

    def _succeeded(self) -> None:
        self._failures = 0
        if self.is_open:
            self._on_change(False)
        self._opened_at = None
