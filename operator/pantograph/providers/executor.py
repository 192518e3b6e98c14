"""Blocking outside calls in threads of their own: so many a connection, so that one slow host stalls nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Any, TypeVar

T = TypeVar("T")


class CallNotFinished(Exception):
    """No result, for want of time or because of `close`; `began`: a thread took the call up and may still be at it."""

    def __init__(self, text: str, *, began: bool) -> None:
        super().__init__(text)
        self.began = began


class CallExecutor:
    """A pool of `size` threads; further calls wait in line, and a call whose time is up leaves the line undone.

    A thread cannot be stopped, so whatever holds one (a dead host, a hung mount) holds at most `size` of them. They are
    daemons: the end of the process does not wait for them, as it does for those of a `ThreadPoolExecutor`.
    """

    def __init__(self, name: str, *, size: int) -> None:
        self._name = name
        self._size = size
        self._closed = False
        self._line: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = Semaphore(0)
        self._threads: list[Thread] = []
        self._waiting: set[Future[Any]] = set()
        self._overdue: set[Future[Any]] = set()

    @property
    def is_stuck(self) -> bool:
        """Every thread is at a call that nobody waits for any more: a further call would only wait in line."""
        return len(self._overdue) >= self._size

    async def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
        """The result of `call`, or what it raised. Raises `CallNotFinished` after `timeout_s` in line and at work.

        A call that began goes on until it ends by itself: it must hand out nothing that has to be closed.
        """
        if self._closed:
            raise CallNotFinished("closed", began=False)
        future = self._submit(call)
        waiter = asyncio.get_running_loop().run_in_executor(_InLine(future), call)
        try:
            done, _ = await asyncio.wait({waiter}, timeout=timeout_s)
        except asyncio.CancelledError:
            self._abandon(future, waiter)
            raise
        if waiter.cancelled():
            raise CallNotFinished("closed", began=False)
        if done:
            return waiter.result()
        began = self._abandon(future, waiter)
        raise CallNotFinished(f"no result within {timeout_s:g} s", began=began)

    def _abandon(self, future: Future[T], waiter: asyncio.Future[T]) -> bool:
        """Wait for the call no longer; whether it began, and holds its thread until it ends by itself."""
        began = not future.cancel()
        waiter.cancel()
        if began:
            self._overdue.add(future)
            future.add_done_callback(self._overdue.discard)
        return began

    def close(self) -> None:
        """Take no more calls and drop those in line; does not wait for those at work."""
        self._closed = True
        for future in list(self._waiting):
            future.cancel()
        self._line.put(None)

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            self._waiting.discard(future)
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        self._line.put(work)
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._size:
            name = f"{self._name}_{len(self._threads)}"
            thread = Thread(target=_work_off, args=(self._line, self._idle), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future


class _InLine(Executor):
    """A call that is in line already, for `run_in_executor`: so a loop knows of it, and one of virtual time waits."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def submit(self, _fn: Callable[..., Any], /, *_: Any, **__: Any) -> Future[Any]:
        return self._future


def _work_off(line: SimpleQueue[Callable[[], None] | None], idle: Semaphore) -> None:
    """What a thread does until the line is closed."""
    while True:
        try:
            work = line.get_nowait()
        except Empty:
            idle.release()
            work = line.get()
        if work is None:
            line.put(None)  # for the next thread
            return
        work()
        del work
