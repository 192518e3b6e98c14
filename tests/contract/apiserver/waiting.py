"""Waiting for what the server does later, on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pantograph.api.meta import ResourceType
from pantograph.engine.kube import KubeApi, NotFound

LIMIT_S = 90.0
"""The real garbage collector needs 1 to 2 s, but looks only every 30 s for kinds that it does not know yet."""


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until `condition` holds; TimeoutError after `LIMIT_S`."""
    async with asyncio.timeout(LIMIT_S):
        while not await condition():  # noqa: ASYNC110  # the server gives no sign to wait for
            await asyncio.sleep(0.05)


async def gone(api: KubeApi, resource: ResourceType, namespace: str, name: str) -> bool:
    """Whether there is no such object."""
    try:
        await api.get(resource, namespace, name)
    except NotFound:
        return True
    return False
