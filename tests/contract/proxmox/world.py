"""The worlds that the contract is asked of."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from hack.cache import cache_dir
from hack.tools import HACK, tool
from pantograph.clock import SystemClock
from pantograph.providers.proxmox.adapter import ProxmoxerApi
from pantograph.providers.proxmox.port import ProxmoxApi, TaskStatus, Upid
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings, Tls, UserPassword
from tests.fakes.certificates import Certificate
from tests.fakes.proxmox import HttpFetch, Pace, SimulatedCluster, Storage, Truth, qcow2, simulated_api
from tests.fakes.proxmox.server import SimulatedServer
from tests.fakes.scaledclock import ScaledClock

GIB = 1024**3
SPEED = 100.0
"""Seconds of the cluster in one of the test's: Proxmox's 30 s time-out passes in 0.3 s."""
IMAGE = qcow2(virtual_size=2 * GIB, payload=b"the master copy" * 4000)
IMAGE_SHA256 = hashlib.sha256(IMAGE).hexdigest()
_VMIDS = itertools.count(500)
STAGED = "pantograph-0123456789abcdef.qcow2"


@dataclass(slots=True)
class World:
    """A Proxmox and a connection to it."""

    api: ProxmoxApi
    storage: str
    """Takes guests' disks."""
    node: str = "pve1"
    sim: SimulatedCluster | None = None
    image_url: str = ""

    def vmid(self) -> int:
        """A number that no other test uses: one fakepve serves them all."""
        return next(_VMIDS)

    async def done(self, upid: Upid) -> TaskStatus:
        """The status of the task once it has ended."""
        while (status := await self.api.task_status(upid)).running:
            if self.sim is not None:
                await self.sim.task(upid).done.wait()
            else:
                await asyncio.sleep(0.05)  # another process: there is no event to wait for
        return status

    async def created(self, vmid: int, **config: str) -> None:
        status = await self.done(await self.api.create_vm(self.node, vmid, config))
        assert status.exitstatus == "OK", status


@dataclass(slots=True)
class SimulatedWorld:
    """The simulator behind one of its faces, with the verbs of both."""

    world: World
    sim: SimulatedCluster
    truth: Truth
    settings: ConnectionSettings | None = None
    """How to reach the HTTP face; None for the in-process one."""

    @property
    def api(self) -> ProxmoxApi:
        return self.world.api

    async def stage(self, node: str = "pve1") -> str:
        """The image, staged on `local`; its volume id."""
        checksum = f"sha256:{IMAGE_SHA256}"
        upid = await self.api.download_url(node, "local", url=self.world.image_url, filename=STAGED, checksum=checksum)
        status = await self.world.done(upid)
        assert status.exitstatus == "OK", await self.api.task_log(upid)
        return f"local:import/{STAGED}"

    async def template(self, vmid: int, *, node: str = "pve1", tags: str = "") -> None:
        """A template made from the staged image."""
        source = await self.stage(node)
        config = {"name": "golden", "scsi0": f"local:0,import-from={source}", "ide2": "local:cloudinit",
                  "description": "made here"} | ({"tags": tags} if tags else {})  # fmt: skip
        assert (await self.world.done(await self.api.create_vm(node, vmid, config))).ok
        assert (await self.world.done(await self.api.convert_to_template(node, vmid))).ok


@asynccontextmanager
async def origin() -> AsyncIterator[str]:
    """A real HTTP server with the image; yields its URL."""

    async def image(_: web.Request) -> web.Response:
        return web.Response(body=IMAGE, content_type="application/octet-stream")

    application = web.Application()
    application.router.add_get("/image.qcow2", image)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/image.qcow2"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def simulated(face: str) -> AsyncIterator[SimulatedWorld]:
    """Three nodes with `local` each and one shared storage, behind `in-process` or `http`."""
    fetch = HttpFetch()
    cluster = SimulatedCluster(
        clock=ScaledClock(SPEED),
        random=random.Random(7),
        storages=[Storage("local", total_bytes=100 * GIB), Storage("shared", type="nfs", shared=True)],
        fetch=fetch,
        pace=Pace(task_s=1.0, progress_lines=8),
    )
    async with origin() as url:
        server = SimulatedServer(cluster)  # without TLS, which has a test of its own: a context costs more than a test
        try:
            if face == "http":
                await server.start()
                settings = ConnectionSettings(
                    endpoints=(server.url,),
                    credentials=ApiToken(cluster.operator, cluster.token_secret),
                )
                api: ProxmoxApi = ProxmoxerApi(settings, SystemClock())
            else:
                settings, api = None, simulated_api(cluster)
            world = World(api, "local", sim=cluster, image_url=url)
            yield SimulatedWorld(world, cluster, Truth(cluster), settings)
            await api.close()
        finally:
            await server.close()
            await cluster.close()
            await fetch.close()


def fakepve_command() -> Path:
    """fakepve at the pinned version, in an environment of its own in the cache."""
    return tool("fakepve", requirements=HACK / "fakepve.lock", folder=cache_dir() / "tools")


@contextmanager
def fakepve_process(directory: Path, certificate: Certificate) -> Iterator[ConnectionSettings]:
    """fakepve in a process of its own, on loopback, at a time scale at which tasks end at once."""
    guests = directory / "guests.json"
    guests.write_text(json.dumps({"guests": []}))
    pem = str(certificate.file)
    command = [str(fakepve_command()), str(guests), "--host", "127.0.0.1",
               "--port", "0", "--time-scale", "0", "--cert", pem, "--key", pem]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "listening on" in line, f"fakepve did not start: {line}"
            yield ConnectionSettings(
                endpoints=(line.split()[-1],),
                credentials=UserPassword("root@pam", "secret"),
                tls=Tls(fingerprint=certificate.fingerprint),
            )
        finally:
            process.terminate()


@asynccontextmanager
async def fakepve(settings: ConnectionSettings) -> AsyncIterator[World]:
    """A connection to the fakepve that runs."""
    api = ProxmoxerApi(settings, SystemClock())
    try:
        yield World(api, "local-lvm", image_url="http://127.0.0.1:1/image.qcow2")
    finally:
        await api.close()
