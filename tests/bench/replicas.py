"""From one image to many nodes: the whole operator over HTTP, nodes that are processes of their own and discard bytes.

Eight nodes must take hardly longer than one, since each is held to the same rate: the depot is no bottleneck, the
origin is read once, and the operator's memory does not grow with the image.
"""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any

from hack.stage import Operator, Simulator, Stage, until
from tests.bench.images import write_image
from tests.bench.results import Result

NODES = 8
RATE = 20e6
"""Bytes/s of each node's download."""
LARGE_BYTES = 300 << 20
SMALL_BYTES = 16 << 20
TIME_GATE = 1.3
MEMORY_GATE_BYTES = 24e6
WITHIN_S = 900.0

Body = dict[str, Any]


class _Origin:
    """A web server for images that notes what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reads: list[str] = []
        folder.mkdir()
        reads = self.reads

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                reads.append(self.path)
                super().do_GET()

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self._server.serve_forever, name="origin", daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def run() -> list[Result]:
    """One node, then all of them, then a small image for the memory."""
    with Stage() as stage:
        stage.install_chart()
        origin = _Origin(stage.folder / "origin")
        stage._ends.append(origin.stop)
        for number, (name, size) in enumerate(_IMAGES.items()):
            write_image(origin.folder / name, size, seed=number)
        simulators = [_start_node(stage, number) for number in range(NODES)]
        operator = stage.start_operator()
        operator.await_ready()
        for number, simulator in enumerate(simulators):
            stage.apply(*_connection(stage, simulator, number))
        _copy(stage, origin, "small.qcow2", NODES)
        small = _peak_bytes(operator)
        one = _copy(stage, origin, "one.qcow2", 1)
        many = _copy(stage, origin, "many.qcow2", NODES)
        reads = Counter(origin.reads)
        large = _peak_bytes(operator)
        return [
            Result(name="replicas.8", value=many, unit="s", reference=one, gate=TIME_GATE),
            Result(name="replicas.8.rate", value=NODES * LARGE_BYTES / many / 1e6, unit="MB/s"),
            Result(name="replicas.origin_reads", value=max(reads.values()), unit="reads", gate=1),
            Result(name="replicas.memory", value=(large - small) / 1e6, unit="MB", gate=MEMORY_GATE_BYTES / 1e6),
            Result(name="replicas.memory.peak", value=large / 1e6, unit="MB"),
        ]


_IMAGES = {"small.qcow2": SMALL_BYTES, "one.qcow2": LARGE_BYTES, "many.qcow2": LARGE_BYTES}


def _start_node(stage: Stage, number: int) -> Simulator:
    log = stage.folder / f"node-{number}.log"
    simulator = Simulator(
        log,
        "--name",
        f"dc{number}",
        "--nodes",
        "1",
        "--bytes",
        "hash",
        "--download-rate",
        str(RATE),
        "--seed",
        str(number),
    )
    stage._ends.append(simulator.stop)
    return simulator


def _connection(stage: Stage, simulator: Simulator, number: int) -> list[Body]:
    secret, cluster = stage.connection(simulator, secret=f"dc{number}-token")
    cluster["metadata"]["name"] = f"dc{number}"
    return [secret, cluster]


def _copy(stage: Stage, origin: _Origin, image: str, nodes: int) -> float:
    """Seconds from a fetched image until the template is Ready on the first `nodes` nodes."""
    name = image.partition(".")[0]
    placements = [
        {"name": f"dc{number}", "proxmox": {"clusterRef": {"name": f"dc{number}"}, "storage": "local"}}
        for number in range(nodes)
    ]
    spec = {"source": {"http": {"url": origin.url(image)}}, "placements": placements, "maxParallel": nodes}
    stage.apply(
        {"apiVersion": "pantograph.dev/v1alpha1", "kind": "VMTemplate", "metadata": {"name": name}, "spec": spec}
    )
    until(lambda: _has_image(stage, name), f"{name} fetched", within_s=WITHIN_S)
    began = monotonic()
    until(lambda: stage.condition(f"vmtemplate/{name}").get("status") == "True", f"{name} Ready", within_s=WITHIN_S)
    return monotonic() - began


def _has_image(stage: Stage, name: str) -> bool:
    return "image" in stage.get(f"vmtemplate/{name}").get("status", {})


def _peak_bytes(operator: Operator) -> int:
    """The most that the process ever had resident."""
    for line in Path(f"/proc/{operator.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell VmHWM")
