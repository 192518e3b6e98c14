"""The fake beside a test that waits for other processes: it answers from a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fakes.openlist.server import FakeOpenList, serving


@contextmanager
def served(fake: FakeOpenList, *, host: str = "127.0.0.1") -> Iterator[FakeOpenList]:
    """`fake` answers at its `base_url`, an address of `host`, until the end."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def serve() -> None:
        async with serving(fake, host=host):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="openlist", daemon=True)
    thread.start()
    assert ready.wait(10), f"no answer at {host}"
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
