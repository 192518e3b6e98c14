"""A process that fetches until so many bytes are there, says so, and waits to be killed: `ROOT URL BYTES`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from pantograph.clock import SystemClock
from pantograph.depot import Depot, DepotSettings, FetchPolicy, FetchRequest


async def brought(depot: Depot, request: FetchRequest, size: int) -> None:
    """Return once the fetch has brought `size` bytes: polled, as a controller does."""
    since = datetime.now(UTC)
    while depot.begin(request, owner=request.key, since=since).bytes_done < size:  # noqa: ASYNC110
        await asyncio.sleep(0.002)


async def main(root: str, url: str, size: str) -> None:
    depot = Depot(
        Path(root),
        signing_key=b"a signing key of the tests",
        clock=SystemClock(),
        random=Random(1),
        settings=DepotSettings(policy=FetchPolicy(allow_loopback=True)),
    )
    await depot.start()
    await brought(depot, FetchRequest(url), int(size))
    print("there", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
