"""CPU seconds and memory of this process, and how much of the CPU went into one part of it."""

from __future__ import annotations

import gc
import resource
from collections.abc import Coroutine, Generator
from time import thread_time
from typing import Any, TypeVar

import psutil

T = TypeVar("T")


def cpu_s() -> float:
    """User and system time of all threads so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_bytes() -> int:
    """Resident memory, after garbage was collected."""
    gc.collect()
    memory: int = psutil.Process().memory_info().rss
    return memory


class Meter:
    """Adds up the CPU time of the coroutines that run through it: what a simulator inside the process costs."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """`await work`, metered; what others do while it waits is not counted."""
        self.calls += 1
        result: T = await _Stepped(work, self)
        return result


class _Stepped:
    """An awaitable that times every step of a coroutine between two waits."""

    def __init__(self, work: Coroutine[Any, Any, Any], meter: Meter) -> None:
        self._work = work
        self._meter = meter

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        while True:
            began = thread_time()
            try:
                waits_for = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                self._meter.seconds += thread_time() - began
            error = None
            try:
                yield waits_for
            except BaseException as thrown:  # noqa: BLE001  # a cancellation too goes to the coroutine inside
                error = thrown
