"""Waiting for what the server does later, on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pantograph.api.meta import ResourceType
from pantograph.engine.kube import KubeApi, NotFound

LIMIT_S = 30.0
"""The real garbage collector needs 1 to 2 s, more on a busy machine."""


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until `condition` holds; TimeoutError after `LIMIT_S`."""
    async with asyncio.timeout(LIMIT_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def gone(api: KubeApi, resource: ResourceType, namespace: str, name: str) -> bool:
    """Whether there is no such object."""
    try:
        await api.get(resource, namespace, name)
    except NotFound:
        return True
    return False
