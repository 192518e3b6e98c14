"""The simulator in a process of its own, as the demo starts it, and where its bytes go."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from pantograph.clock import SystemClock
from pantograph.providers.proxmox.adapter import ProxmoxerApi
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings, Tls
from tests.contract.proxmox.world import IMAGE, IMAGE_SHA256, STAGED, origin
from tests.fakes.proxmox import DiskBlobs, HashBlobs, Pace, SimulatedCluster, Truth, serving, simulated_api
from tests.fakes.proxmox.blobs import Blobs
from tests.fakes.scaledclock import ScaledClock


async def test_it_says_how_to_reach_it_and_each_node_fetches_real_bytes_to_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fakes.proxmox", "--nodes", "2", "--bytes", "disk", "--data", str(tmp_path),
               "--task-seconds", "0.01"]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    try:
        assert process.stdout is not None
        told = json.loads(await process.stdout.readline())
        api = ProxmoxerApi(
            ConnectionSettings(
                endpoints=(told["url"],),
                credentials=ApiToken(told["tokenId"], told["tokenSecret"]),
                tls=Tls(fingerprint=told["fingerprint"]),
            ),
            SystemClock(),
        )
        async with origin() as url, aiohttp.ClientSession() as session:
            for node in ("pve1", "pve2"):
                checksum = f"sha256:{IMAGE_SHA256}"
                await api.download_url(node, "local", url=url, filename=STAGED, checksum=checksum)
            async with session.post(f"{told['control']}/faults/settle_tasks", json={}) as answer:
                assert answer.status == 200
            async with session.get(f"{told['control']}/truth/staged_files") as answer:
                staged = await answer.json()
        await api.close()
    finally:
        process.terminate()
    assert await process.wait() == 0
    assert [(file["node"], file["sha256"]) for file in staged] == [("pve1", IMAGE_SHA256), ("pve2", IMAGE_SHA256)]
    for node in ("pve1", "pve2"):
        assert (tmp_path / node / "var/lib/vz/import" / STAGED).read_bytes() == IMAGE


@pytest.mark.parametrize("store", ["disk", "hash"])
async def test_templates_are_made_wherever_the_bytes_go(tmp_path: Path, store: str) -> None:
    blobs: Blobs = DiskBlobs(tmp_path) if store == "disk" else HashBlobs()
    cluster = SimulatedCluster(
        clock=ScaledClock(100),
        random=random.Random(5),
        blobs=blobs,
        fetch=serving({"http://x/i.qcow2": IMAGE}),
        pace=Pace(task_s=0.1),
    )
    api, truth = simulated_api(cluster), Truth(cluster)
    sha512 = hashlib.sha512(IMAGE).hexdigest()
    for _ in range(2):
        upid = await api.download_url(
            "pve1", "local", url="http://x/i.qcow2", filename=STAGED, checksum=f"sha512:{sha512}"
        )
        await cluster.task(upid).done.wait()
        assert (await api.task_status(upid)).ok
    upid = await api.create_vm("pve1", 100, {"scsi0": f"local:0,import-from=local:import/{STAGED}"})
    await cluster.task(upid).done.wait()
    upid = await api.convert_to_template("pve1", 100)
    await cluster.task(upid).done.wait()
    assert truth.machine(100).is_real_template
    assert truth.disk_sha256(100) == IMAGE_SHA256
    if store == "disk":
        assert (tmp_path / "pve1/var/lib/vz/images/100/base-100-disk-0.qcow2").read_bytes() == IMAGE
    await cluster.close()
