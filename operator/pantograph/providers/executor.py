"""Blocking outside calls in threads of their own: so many a connection, so that one slow host stalls nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class CallTimedOut(Exception):
    """No result within the time; `began` is whether a thread had taken the call up, and so may still be at it."""

    def __init__(self, timeout_s: float, *, began: bool) -> None:
        super().__init__(f"no result within {timeout_s:g} s")
        self.began = began


class CallExecutor:
    """A pool of `size` threads; further calls wait in line, and a call whose time is up leaves the line undone."""

    def __init__(self, name: str, *, size: int) -> None:
        self.size = size
        self._threads = ThreadPoolExecutor(max_workers=size, thread_name_prefix=name)

    async def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
        """The result of `call`, or what it raised. Raises `CallTimedOut` after `timeout_s` in line and at work.

        A thread cannot be stopped: a call that began goes on to its own socket time-outs.
        """
        future: Future[T] = self._threads.submit(call)
        waiter = asyncio.wrap_future(future)
        done, _ = await asyncio.wait({waiter}, timeout=timeout_s)
        if done:
            return waiter.result()
        waiter.cancel()
        raise CallTimedOut(timeout_s, began=not future.cancel())

    def close(self) -> None:
        """Take no more calls and drop those in line; does not wait for those at work."""
        self._threads.shutdown(wait=False, cancel_futures=True)
