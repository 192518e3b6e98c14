"""Blocking outside calls in threads of their own: so many a connection, so that one slow host stalls nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class CallNotFinished(Exception):
    """No result, for want of time or because of `close`; `began`: a thread took the call up and may still be at it."""

    def __init__(self, text: str, *, began: bool) -> None:
        super().__init__(text)
        self.began = began


class CallExecutor:
    """A pool of `size` threads; further calls wait in line, and a call whose time is up leaves the line undone."""

    def __init__(self, name: str, *, size: int) -> None:
        self._closed = False
        self._threads = ThreadPoolExecutor(max_workers=size, thread_name_prefix=name)

    async def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
        """The result of `call`, or what it raised. Raises `CallNotFinished` after `timeout_s` in line and at work.

        A thread cannot be stopped: a call that began goes on to its own socket time-outs.
        """
        if self._closed:
            raise CallNotFinished("closed", began=False)
        future: Future[T] = self._threads.submit(call)
        waiter = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait({waiter}, timeout=timeout_s)
        except asyncio.CancelledError:
            future.cancel()
            raise
        if waiter.cancelled():
            raise CallNotFinished("closed", began=False)
        if done:
            return waiter.result()
        began = not future.cancel()
        waiter.cancel()
        raise CallNotFinished(f"no result within {timeout_s:g} s", began=began)

    def close(self) -> None:
        """Take no more calls and drop those in line; does not wait for those at work."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
