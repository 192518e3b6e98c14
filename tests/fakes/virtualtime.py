"""An event loop whose time jumps: when nothing can run, the clock moves to the next timer at once.

Hours of back-off pass in milliseconds and in the same order every time. Work in an executor's threads holds the time
still until it ends; a loop that waits for nothing at all, for ever, is an error and not a hang.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any, TypeVar

from pantograph.clock import LoopClock

T = TypeVar("T")
EPOCH = datetime(2026, 11, 26, tzinfo=UTC)
DEADLOCK_AFTER_S = 5.0
"""Real seconds without a timer, a thread or a file descriptor that becomes ready."""


class Deadlock(RuntimeError):
    """Every task waits and nothing will ever wake one."""


class _JumpingSelector(selectors.DefaultSelector):
    """Reports what is ready now; instead of waiting for a timer it moves the loop's time."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.loop.threads_busy:
            return super().select(0.05)
        if timeout is not None:
            self.loop.advance(timeout)
            return []
        ready = super().select(DEADLOCK_AFTER_S)
        if not ready:
            raise Deadlock("every task waits, and no timer is set")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on virtual time, from 0."""

    def __init__(self) -> None:
        self._now = 0.0
        self.threads_busy = 0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def run_in_executor(  # type: ignore[override]  # typeshed's signature uses a TypeVarTuple that no override can repeat
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.threads_busy += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: object) -> None:
        self.threads_busy -= 1


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def virtual_clock() -> LoopClock:
    """A clock that follows the loop; the day is always the same."""
    return LoopClock(EPOCH)
