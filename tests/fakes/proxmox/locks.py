"""flock as qemu-server uses it: `/var/lock/qemu-server/lock-<vmid>.conf`, waited for a fixed time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pantograph.clock import Clock
from tests.fakes.proxmox.answers import refusal

CONFIG_WAIT_S, CREATE_WAIT_S, CLONE_WAIT_S = 10.0, 5.0, 1.0


class GuestLocks:
    """One exclusive lock per VMID; a holder that dies releases it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._released: dict[int, asyncio.Event] = {}

    @asynccontextmanager
    async def hold(self, vmid: int, *, wait_s: float) -> AsyncIterator[None]:
        """Raises 500 `can't lock file … - got timeout` after `wait_s`."""
        await self.wait_free(vmid, wait_s=wait_s)
        released = self._released[vmid] = asyncio.Event()
        try:
            yield
        finally:
            del self._released[vmid]
            released.set()

    async def wait_free(self, vmid: int, *, wait_s: float) -> None:
        """Return when nobody holds it, without taking it (a shared lock)."""
        deadline = self._clock.monotonic() + wait_s
        while (released := self._released.get(vmid)) is not None:
            left = deadline - self._clock.monotonic()
            if left <= 0 or not await happens_within(released, left, self._clock):
                raise refusal(f"can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout")


async def happens_within(event: asyncio.Event, seconds: float, clock: Clock) -> bool:
    """Whether `event` is set within `seconds` of `clock`."""
    waits = {asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return event.is_set()
