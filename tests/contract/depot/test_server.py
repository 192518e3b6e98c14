"""What a node sees: one image, by a URL that was signed for it and has not expired."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import aiohttp
import pytest
from aiohttp import web

from pantograph.clock import SystemClock
from pantograph.depot import Depot, FetchRequest, Image, application
from tests.contract.depot.conftest import KEY, Lab, fetched
from tests.fakes.images import qcow2

CONTENT = qcow2(payload=Random(7).randbytes(1 << 20))


class Served:
    """A depot with one image behind its server, and a client."""

    def __init__(self, depot: Depot, image: Image, *, base_url: str, client: aiohttp.ClientSession) -> None:
        self.depot, self.image, self.base_url, self.client = depot, image, base_url, client

    def url(self, *, ttl_s: int = 900) -> str:
        return self.depot.url_for(self.image.image_digest, base_url=self.base_url, ttl_s=ttl_s)


async def serve(depot: Depot, lab: Lab) -> str:
    runner = web.AppRunner(application(depot), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    lab.stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return "http://{}:{}".format(*runner.addresses[0][:2])


@pytest.fixture
async def served(lab: Lab) -> AsyncIterator[Served]:
    depot = await lab.depot(parallel_downloads=2)
    image = await fetched(depot, FetchRequest(lab.origin.put("x", CONTENT)))
    base_url = await serve(depot, lab)
    async with aiohttp.ClientSession() as client:
        yield Served(depot, image, base_url=base_url, client=client)


async def test_a_signed_url_ends_with_the_file_name_and_brings_the_bytes(served: Served) -> None:
    path, _, query = served.url().partition("?")
    assert path.endswith(f"/{served.image.file_name}")
    assert path.endswith(".qcow2")
    assert "expires=" in query
    async with served.client.get(served.url()) as response:
        assert response.status == 200
        assert await response.read() == CONTENT


async def test_head_tells_the_length_and_sends_nothing(served: Served) -> None:
    async with served.client.head(served.url()) as response:
        assert (response.status, response.content_length) == (200, len(CONTENT))
        assert response.headers["Accept-Ranges"] == "bytes"


async def test_a_range_brings_that_part(served: Served) -> None:
    async with served.client.get(served.url(), headers={"Range": "bytes=1000-1999"}) as response:
        assert response.status == 206
        assert await response.read() == CONTENT[1000:2000]


async def test_an_expired_url_is_refused_with_the_reason(served: Served) -> None:
    async with served.client.get(served.url(ttl_s=-1)) as response:
        assert response.status == 403
        assert "has expired" in await response.text()


async def test_a_url_for_another_image_or_a_later_time_is_refused(served: Served) -> None:
    url = served.url()
    expires = url.partition("expires=")[2].partition("&")[0]
    other = f"sha256:{'0' * 64}"
    for forged in (
        url.replace(served.image.image_digest, other),
        url.replace(f"expires={expires}", f"expires={int(expires) + 1}"),
        url.replace(f"expires={expires}", "expires=never"),
        url.partition("?")[0],
    ):
        async with served.client.get(forged) as response:
            assert response.status == 403
            assert "signature" in await response.text()


async def test_an_image_that_is_gone_or_named_otherwise_is_not_found(served: Served) -> None:
    url = served.url()
    async with served.client.get(url.replace(served.image.file_name, "other.qcow2")) as response:
        assert response.status == 404
    served.depot.path(served.image).unlink()
    async with served.client.get(url) as response:
        assert response.status == 404


async def test_a_depot_that_never_started_serves_what_another_process_fetched(served: Served, lab: Lab) -> None:
    standby = Depot(lab.root, signing_key=KEY, clock=SystemClock(), random=Random(1))
    lab.stack.push_async_callback(standby.close)
    base_url = await serve(standby, lab)
    async with served.client.get(served.url().replace(served.base_url, base_url)) as response:
        assert await response.read() == CONTENT


async def test_a_download_that_outlives_its_signature_goes_on(lab: Lab) -> None:
    async with _big(lab) as (client, url):
        response = await client.get(url(1))
        await response.content.readexactly(1000)
        expired = await client.get(url(-1))
        assert expired.status == 403
        assert len(await response.read()) == BIG_BYTES - 1000


async def test_beyond_the_limit_nodes_are_told_to_come_back(lab: Lab) -> None:
    async with _big(lab, parallel_downloads=2) as (client, url):
        running = [await client.get(url(900)) for _ in range(2)]
        async with client.get(url(900)) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "10")
            assert "2 downloads are running" in await response.text()
        for one in running:
            one.close()
        async with asyncio.timeout(10):
            while (response := await client.get(url(900))).status == 503:
                response.close()
        assert response.status == 200
        response.close()


async def test_memory_does_not_grow_with_the_image(lab: Lab) -> None:
    """200 MB through the fetch and out of the server, both ends in this process, within 16 MB."""
    block = Random(7).randbytes(1 << 20)
    head, size = qcow2(), 200 << 20

    def read(start: int, stop: int) -> bytes:
        if stop <= len(head):
            return head[start:stop]
        return block[: stop - start]

    depot = await lab.depot()
    tracemalloc.start()
    try:
        image = await fetched(depot, FetchRequest(lab.origin.generate("x", read, size=size)))
        url = depot.url_for(image.image_digest, base_url=await serve(depot, lab))
        digest = hashlib.sha256()
        async with aiohttp.ClientSession() as client, client.get(url) as response:
            async for piece in response.content.iter_any():
                digest.update(piece)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert f"sha256:{digest.hexdigest()}" == image.image_digest
    assert image.size_bytes == size
    assert peak_bytes < 16 << 20


BIG_BYTES = 64 << 20


@asynccontextmanager
async def _big(lab: Lab, **changes: object) -> AsyncIterator[tuple[aiohttp.ClientSession, Callable[[int], str]]]:
    """An image larger than all buffers between the depot and a client that does not read; its URL by lifetime."""
    depot = await lab.depot(**changes)
    image = await fetched(depot, FetchRequest(lab.origin.put("x", b"\x01" * BIG_BYTES)))
    base_url = await serve(depot, lab)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:
        yield client, lambda ttl_s: depot.url_for(image.image_digest, base_url=base_url, ttl_s=ttl_s)
