"""The operator's core as a process to be measured: the real engine and controllers, simulated Proxmox and depot.

Prints one JSON line at each milestone (`base`, `converged`, `steady`), keeps the simulated world for the next process,
and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, thread_time
from typing import Any, Literal

from pantograph.api.meta import Body, ResourceType
from pantograph.clock import SystemClock
from pantograph.controllers.changes import ClusterChanges
from pantograph.controllers.connections import Connections
from pantograph.controllers.installation import load_installation
from pantograph.controllers.outside import Outside
from pantograph.controllers.proxmoxcluster import ProxmoxClusterController
from pantograph.controllers.templatereplica.controller import TemplateReplicaController
from pantograph.controllers.verified import VerifiedMachines
from pantograph.controllers.vmtemplate.controller import VMTemplateController
from pantograph.engine import logs
from pantograph.engine.client import KubeClient
from pantograph.engine.login import log_in
from pantograph.engine.manager import Manager
from pantograph.engine.metrics import Metrics
from pantograph.engine.runtime import run_process
from pantograph.engine.services import Services
from pantograph.engine.watch import KopfWatch
from pantograph.providers.proxmox.connection import ConnectionPool
from tests.bench.metering import cpu_s, rss_bytes
from tests.bench.world import World

OPERATOR_NAMESPACE = "pantograph-system"
KINDS = ("VMTemplate", "ProxmoxCluster", "TemplateReplica")


class _CountingClient(KubeClient):
    """Notes which writes tell only how far an operation is: they have a budget of their own, by time."""

    progress_writes = 0

    async def merge_patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: Literal["status"] | None = None,
    ) -> Body:
        operation = (patch.get("status") or {}).get("operation") or {}
        self.progress_writes += resource.kind == "TemplateReplica" and "progress" in operation
        return await super().merge_patch(resource, namespace, name, patch, subresource=subresource)


class Core:
    """One life of the operator around a world."""

    def __init__(self, world: World, objects: int, began: float) -> None:
        self._world = world
        self._objects = objects
        self._began = began
        self._metrics = Metrics()
        self._observing_s = 0.0

    async def run(self, kubeconfig: Path, steady_s: float) -> None:
        """Until all objects are Ready, and `steady_s` seconds more."""
        clock = SystemClock()
        login = await log_in(kubeconfig)
        kube = _CountingClient(login, metrics=self._metrics)
        services = Services.create(kube=kube, clock=clock, random=random.Random(), metrics=self._metrics)
        pool = ConnectionPool(clock, open_api=self._world.open_api)
        outside = Outside(
            installation=await load_installation(kube, OPERATOR_NAMESPACE),
            connections=Connections(pool, clock),
            depot=self._world.depot(),
            verified=VerifiedMachines(clock, random.Random()),
            changes=ClusterChanges(),
            depot_url="http://depot.test:8081",
        )
        manager = Manager(
            services=services,
            source=KopfWatch(login),
            controllers=[
                ProxmoxClusterController(services, outside),
                VMTemplateController(services, outside),
                TemplateReplicaController(services, outside),
            ],
        )
        running = asyncio.create_task(manager.run())
        while not self._is_converged(services):
            await asyncio.sleep(0.25)
            if running.done():
                running.result()
        self._say("converged", progress_writes=kube.progress_writes)
        self._say("settled", rss_bytes=rss_bytes())
        await asyncio.sleep(steady_s)
        self._say("steady", seconds=steady_s)
        manager.stop()
        await running
        await pool.close()
        await kube.close()

    def _is_converged(self, services: Services) -> bool:
        """Every object was reconciled well and its status says Ready; what looking costs is not the operator's."""
        began = thread_time()
        try:
            if self._succeeded("TemplateReplica") < self._objects or self._succeeded("VMTemplate") < 1:
                return False
            ready = [_is_ready(services, key) for kind in KINDS for key in services.cache.keys(kind)]
            return len(ready) > self._objects and all(ready)
        finally:
            self._observing_s += thread_time() - began

    def _succeeded(self, kind: str) -> float:
        return sum(
            sample.value
            for family in self._metrics.reconciles.collect()
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels == {"kind": kind, "result": "Succeeded"}
        )

    def _say(self, milestone: str, **more: Any) -> None:
        print(
            json.dumps(
                {
                    "milestone": milestone,
                    "wall_s": monotonic() - self._began,
                    "cpu_s": cpu_s() - self._observing_s,
                    "simulator_cpu_s": self._world.meter.seconds,
                    "provider_calls": self._world.meter.calls,
                    "mutations": self._world.mutations,
                    "requests": _samples(self._metrics.api_requests),
                    "reconciles": _samples(self._metrics.reconciles),
                    **more,
                }
            ),
            flush=True,
        )


def _is_ready(services: Services, key: Any) -> bool:
    body = services.cache.get(key)
    conditions = (body or {}).get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _samples(metric: Any) -> dict[str, float]:
    return {
        " ".join(sample.labels.values()): sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--world", type=Path, required=True, help="where the simulated world is kept")
    parser.add_argument("--steady", type=float, default=45.0, help="seconds to go on when all is Ready")
    parser.add_argument("--profile", type=Path, help="write what took the time")
    args = parser.parse_args()
    logs.configure(format="console", level="warning")
    world = World(args.objects, SystemClock())
    if args.world.exists():
        world.load(args.world)
    gc.collect()
    gc.freeze()  # the simulated world is not the operator's: its collections need not go through it
    print(json.dumps({"milestone": "base", "cpu_s": cpu_s(), "rss_bytes": rss_bytes()}), flush=True)
    core = Core(world, args.objects, monotonic())
    profile = cProfile.Profile() if args.profile else None
    try:
        if profile is not None:
            profile.enable()
        code = run_process(lambda: core.run(args.kubeconfig, args.steady))
    finally:
        if profile is not None:
            _write(profile, args.profile)
    world.save(args.world)
    return code


def _write(profile: cProfile.Profile, path: Path) -> None:
    profile.disable()
    with path.open("w") as out:
        stats = pstats.Stats(profile, stream=out)
        stats.sort_stats("cumulative").print_stats(120)
        stats.sort_stats("tottime").print_stats(60)


if __name__ == "__main__":
    sys.exit(main())
