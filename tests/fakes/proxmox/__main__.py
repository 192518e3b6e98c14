"""A simulated cluster in a process of its own: prints one JSON line that says how to reach it, serves until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
from pathlib import Path

from pantograph.clock import SystemClock
from tests.fakes.certificates import self_signed
from tests.fakes.proxmox.blobs import Blobs, DiskBlobs, HashBlobs, MemoryBlobs
from tests.fakes.proxmox.cluster import Pace, SimulatedCluster
from tests.fakes.proxmox.fetching import HttpFetch
from tests.fakes.proxmox.images import GIB
from tests.fakes.proxmox.server import LOOPBACK, SimulatedServer
from tests.fakes.proxmox.storages import Storage


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.proxmox", description=__doc__)
    parser.add_argument("--name", default="prod", help="the cluster's name; '' for a single, never-clustered node")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--host", default=LOOPBACK, help="the address to answer at, IPv4")
    parser.add_argument("--port", type=int, default=0, help="answers for all nodes; 0 takes a free one")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--port-per-node", action="store_true", help="one more port for each node")
    parser.add_argument("--plain", action="store_true", help="HTTP instead of TLS with a self-signed certificate")
    parser.add_argument("--version", default="8.4.21")
    parser.add_argument("--shared", metavar="NAME", action="append", default=[], help="add a shared storage")
    parser.add_argument("--size-gib", type=int, default=100, help="size of each storage")
    parser.add_argument("--bytes", choices=["disk", "memory", "hash"], default="memory", help="where the bytes go")
    parser.add_argument("--data", type=Path, help="directory for --bytes disk")
    parser.add_argument("--task-seconds", type=float, default=0.2)
    parser.add_argument("--copy-rate", type=float, default=4e9, help="bytes/s of virtual size")
    parser.add_argument("--download-rate", type=float, help="bytes/s of each download")
    parser.add_argument("--seed", type=int, help="for identifiers; absent: different each time")
    return parser.parse_args()


def _blobs(args: argparse.Namespace, scratch: Path) -> Blobs:
    if args.bytes == "disk":
        return DiskBlobs(args.data or scratch / "data")
    return HashBlobs() if args.bytes == "hash" else MemoryBlobs()


async def _serve(args: argparse.Namespace, scratch: Path) -> None:
    fetch = HttpFetch()
    size = args.size_gib * GIB
    shared = [Storage(name, shared=True, type="nfs", total_bytes=size) for name in args.shared]
    cluster = SimulatedCluster(
        clock=SystemClock(),
        random=random.Random(args.seed),
        name=args.name or None,
        nodes=[f"pve{i}" for i in range(1, args.nodes + 1)],
        storages=[Storage("local", total_bytes=size), *shared],
        blobs=_blobs(args, scratch),
        fetch=fetch,
        pace=Pace(task_s=args.task_seconds, copy_bytes_per_s=args.copy_rate, download_bytes_per_s=args.download_rate),
        version=args.version,
    )
    certificate = None if args.plain else self_signed(scratch, host=args.host)
    server = SimulatedServer(cluster, certificate, host=args.host)
    await server.start(port=args.port, port_per_node=args.port_per_node, control_port=args.control_port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(json.dumps(_announcement(server)), flush=True)
    await stop.wait()
    await server.close()
    await cluster.close()
    await fetch.close()


def _announcement(server: SimulatedServer) -> dict[str, object]:
    certificate, cluster = server.certificate, server.cluster
    return {
        "url": server.url,
        "nodes": server.node_urls,
        "control": server.control_url,
        "fingerprint": certificate.fingerprint if certificate else None,
        "ca": certificate.pem if certificate else None,
        "tokenId": cluster.operator,
        "tokenSecret": cluster.token_secret,
    }


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="simulated-pve-") as scratch:
        asyncio.run(_serve(_arguments(), Path(scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
