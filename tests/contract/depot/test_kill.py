"""The depot's process is killed with SIGKILL; the next one goes on."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

from pantograph.depot import FetchRequest
from tests.contract.depot.conftest import Lab, fetched, sha256
from tests.fakes.images import qcow2

IMAGE = qcow2(payload=random.Random(7).randbytes(8 << 20))


async def killed_at(root: Path, url: str, size: int) -> None:
    """A process fetched `size` bytes of `url` and was killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.depot.fetching", str(root), url, str(size), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"there\n"
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_after_kills_at_several_points_every_byte_came_once(lab: Lab) -> None:
    url = lab.origin.put("x", IMAGE)
    for stop in (1 << 20, 3 << 20, 5 << 20):
        lab.origin["x"].stall_at = stop
        await killed_at(lab.root, url, stop)
    lab.origin["x"].stall_at = None
    image = await fetched(await lab.depot(), FetchRequest(url))
    assert image.image_digest == sha256(IMAGE)
    assert lab.origin.sent("x") == len(IMAGE)
    assert [r.headers.get("Range") for r in lab.origin.requests[1:]] == [f"bytes={n << 20}-" for n in (1, 3, 5)]


async def test_a_kill_after_the_last_byte_costs_no_byte(lab: Lab) -> None:
    url = lab.origin.put("x", IMAGE)
    lab.origin["x"].stall_at = len(IMAGE)
    await killed_at(lab.root, url, len(IMAGE))
    lab.origin["x"].stall_at = None
    assert (await fetched(await lab.depot(), FetchRequest(url))).image_digest == sha256(IMAGE)
    assert lab.origin.sent("x") == len(IMAGE)
