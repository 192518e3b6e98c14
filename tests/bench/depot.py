"""What a byte served by the depot costs, against a bare aiohttp file response of the same file; runs alternate."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from hack.stage import Origin
from tests.bench.images import write_image
from tests.bench.results import Result

CHECKOUT = Path(__file__).parents[2]
SIZE_BYTES = 512 << 20
DOWNLOADS = 4
ROUNDS = 3
GATE = 1.2


def run() -> list[Result]:
    """Alternating runs, so that what else the machine does meets both; the median of each counts."""
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:
        origin = Origin(Path(folder))
        image = write_image(Path(folder) / "image.qcow2", SIZE_BYTES, seed=1)
        try:
            depot, bare = [], []
            for _ in range(ROUNDS):
                depot.append(_cpu_per_gb("--depot", origin.url(image.name)))
                bare.append(_cpu_per_gb("--bare", str(image)))
        finally:
            origin.stop()
    return [Result(name="depot.cpu", value=median(depot), unit="ms/GB", reference=median(bare), gate=GATE)]


def _cpu_per_gb(*what: str) -> float:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "tests.bench.serving", *what]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=CHECKOUT, text=True
    ) as server:
        url = _said(server)["url"]
        _download(url)  # imports and the page cache are paid for
        _tell(server)
        _said(server)
        total = sum(_download(url) for _ in range(DOWNLOADS))
        _tell(server)
        spent: float = _said(server)["cpu_s"]
    return spent * 1000 / (total / 1e9)


def _said(server: subprocess.Popen[str]) -> dict[str, Any]:
    assert server.stdout is not None
    said: dict[str, Any] = json.loads(server.stdout.readline())
    return said


def _tell(server: subprocess.Popen[str]) -> None:
    assert server.stdin is not None
    server.stdin.write("\n")
    server.stdin.flush()


def _download(url: str) -> int:
    """Read the whole answer and drop it; its size."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    size, buffer = 0, bytearray(1 << 20)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        while received := connection.recv_into(buffer):
            size += received
    if size < SIZE_BYTES:
        raise RuntimeError(f"{url} answered {size} bytes only: {bytes(buffer[:200])!r}")
    return size
