"""A file server as a process to be measured: the depot, or what it is compared with, a bare aiohttp file response.

Prints one JSON line with the URL of the file, serves until its stdin ends, and prints the CPU seconds that it took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from pantograph.clock import SystemClock
from pantograph.depot.depot import Depot, DepotSettings
from pantograph.depot.model import FetchRequest
from pantograph.depot.policy import FetchPolicy
from pantograph.depot.server import application
from tests.bench.metering import cpu_s


async def _serve_bare(file: Path) -> None:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(file, headers={"Content-Type": "application/octet-stream"})

    app = web.Application()
    app.add_routes([web.get("/file", serve)])
    base, runner = await _start(app)
    await _until_told(f"{base}/file")
    await runner.cleanup()


async def _serve_depot(url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-depot-") as folder:
        settings = DepotSettings(policy=FetchPolicy(allow_loopback=True))
        depot = Depot(
            Path(folder), signing_key=bytes(32), clock=SystemClock(), random=random.Random(), settings=settings
        )
        await depot.start()
        request = FetchRequest(url=url)
        since = datetime.now(UTC)
        depot.begin(request, owner="bench", since=since)
        state = await depot.finished(request, since=since)
        assert state is not None
        assert state.image is not None, state.error
        base, runner = await _start(application(depot))
        await _until_told(depot.url_for(state.image.image_digest, base_url=base))
        await runner.cleanup()
        await depot.close()


async def _start(app: web.Application) -> tuple[str, web.AppRunner]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}", runner


async def _until_told(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = cpu_s()
    print(json.dumps({"ready": True}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps({"cpu_s": cpu_s() - began}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bare", type=Path, metavar="FILE")
    what.add_argument("--depot", metavar="URL", help="where the depot fetches the file first")
    args = parser.parse_args()
    asyncio.run(_serve_bare(args.bare) if args.bare else _serve_depot(args.depot))
    return 0


if __name__ == "__main__":
    sys.exit(main())
