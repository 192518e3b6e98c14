"""What the operator costs the API server and the machine: from nothing until everything is Ready, and on a restart.

A real control plane with the chart's roles; the operator's core (`core.py`) and the floor (`floor.py`) are processes of
their own. All replicas are made by templates; people's own copies go the same way but for the parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hack.controlplane.controlplane import ControlPlane
from hack.stage import SERVICE_ACCOUNT, SYSTEM, Stage
from pantograph.clock import SystemClock
from tests.bench.results import Result
from tests.bench.world import CLUSTERS, NAMESPACE, declared, template_count

SIZES = (1_000, 10_000)
CHECKOUT = Path(__file__).parents[2]
USER = f"system:serviceaccount:{SYSTEM}:{SERVICE_ACCOUNT}"
WRITES = frozenset({"create", "update", "patch", "delete"})
OPERATIONS = 4
"""Of each copy here: Stage, Import, Convert, Unstage."""
STATUS_BUDGET = 3 + 2 * OPERATIONS
JUDGED = 10_000
"""CPU is judged from so many objects on: with fewer, what a process costs at all weighs too much."""
TICK_S = 20.0
STEADY_S = 60.0
CPU_GATE = 4.0
RESTART_CPU_GATE = 10.0
RSS_GATE_BYTES = 12_000

Milestone = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Life:
    """One process of the operator's core: what it said, and what the API server noted of it."""

    base: Milestone
    converged: Milestone
    settled: Milestone
    steady: Milestone
    requests: Counter[tuple[str, str]]
    """By verb and resource, from the audit log; the Secret of the installation is made before."""

    def writes(self, *resources: str) -> int:
        return sum(count for (verb, what), count in self.requests.items() if verb in WRITES and what in resources)

    @property
    def all_writes(self) -> int:
        return sum(count for (verb, _), count in self.requests.items() if verb in WRITES)

    @property
    def cpu_s(self) -> float:
        """The operator's own, from the first connection until all was Ready."""
        spent: float = self.converged["cpu_s"] - self.base["cpu_s"] - self.converged["simulator_cpu_s"]
        return spent

    @property
    def grown_bytes(self) -> int:
        """What the process grew by from the loaded world until everything was Ready."""
        grown: int = self.settled["rss_bytes"] - self.base["rss_bytes"]
        return grown

    @property
    def calls_per_tick(self) -> float:
        """Calls to Proxmox while nothing changes, for each time that all clusters were looked at."""
        calls: float = self.steady["provider_calls"] - self.converged["provider_calls"]
        return calls / (STEADY_S / TICK_S)


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything about one number of objects."""

    objects: int
    first: Life
    restarted: Life
    floor: Milestone
    listing: Milestone


def run(sizes: Sequence[int] = SIZES, *, profile: Path | None = None) -> list[Result]:
    """Measure each size on a control plane of its own."""
    measured = [_measure(size, profile) for size in sizes]
    results = [result for each in measured for result in _judge(each)]
    if len(measured) > 1:
        results += _memory(measured[0], measured[-1])
    return results


def _measure(objects: int, profile: Path | None) -> Measured:
    with _stage() as stage:
        connections, templates = declared(objects, SystemClock())
        stage.apply(*connections)
        stage.apply(*templates)
        audit = _Audit(stage.plane)
        world = stage.folder / "world"
        first = _life(stage, audit, objects, world, 0.0, profile and profile.with_suffix(".first"))
        restarted = _life(stage, audit, objects, world, STEADY_S, profile and profile.with_suffix(".restarted"))
        listing = _floor(stage.plane, "list")
        events = first.writes("events") / objects
        writes = first.all_writes / objects - events
        floor = _floor(stage.plane, "write", writes=round(writes), events=round(events))
        # The floor writes whole numbers: brought to what the operator wrote, per write.
        floor["cpu_s"] *= (writes + events) / (round(writes) + round(events))
        return Measured(objects, first, restarted, floor, listing)


@contextmanager
def _stage() -> Iterator[Stage]:
    with Stage(namespace=NAMESPACE) as stage:
        stage.install_chart()
        stage.plane.kubectl("create", "namespace", NAMESPACE)
        yield stage


class _Audit:
    """Reads the audit log from where it was read to."""

    def __init__(self, plane: ControlPlane) -> None:
        self._log = plane.audit_log
        self._offset = 0

    def requests(self) -> Counter[tuple[str, str]]:
        """The operator's requests since the last call, by verb and resource (`x/status` for a subresource)."""
        found: Counter[tuple[str, str]] = Counter()
        with self._log.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                event = json.loads(line)
                if event["user"]["username"] != USER or event["stage"] != "ResponseComplete":
                    continue
                reference = event.get("objectRef", {})
                parts = (reference.get("resource", ""), reference.get("subresource"))
                found[event["verb"], "/".join(part for part in parts if part)] += 1
            self._offset = log.tell()
        return found


def _life(stage: Stage, audit: _Audit, objects: int, world: Path, steady_s: float, profile: Path | None) -> Life:
    kubeconfig = stage.plane.kubeconfig_for(SYSTEM, SERVICE_ACCOUNT, seconds=14_400)
    audit.requests()
    options = ["--kubeconfig", str(kubeconfig), "--objects", str(objects), "--world", str(world)]
    options += ["--steady", str(steady_s), *(["--profile", str(profile)] if profile else [])]
    said = {line["milestone"]: line for line in _lines("tests.bench.core", options)}
    print(json.dumps(said["steady"]), flush=True)
    return Life(said["base"], said["converged"], said["settled"], said["steady"], audit.requests())


def _floor(plane: ControlPlane, mode: str, **numbers: int) -> Milestone:
    options = [mode, "--kubeconfig", str(plane.kubeconfig), "--namespace", NAMESPACE]
    options += [text for name, number in numbers.items() for text in (f"--{name}", str(number))]
    (line,) = _lines("tests.bench.floor", options)
    print(json.dumps(line), flush=True)
    return line


def _lines(module: str, options: Sequence[str]) -> list[Milestone]:
    """Run a module of the bench as a process; what it prints. Its log goes to our stderr."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-m", module, *options], stdout=subprocess.PIPE, env=environment, cwd=CHECKOUT, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _judge(measured: Measured) -> list[Result]:
    objects, first, restarted = measured.objects, measured.first, measured.restarted
    name = f"controlplane.{objects}"
    replicas = first.writes("templatereplicas", "templatereplicas/status")
    progress = first.converged["progress_writes"]
    made = objects  # by their parents, which is not a write of theirs
    is_judged = objects >= JUDGED
    return [
        Result(
            name=f"{name}.writes",
            value=(replicas - made - progress) / objects,
            unit="writes/object",
            gate=STATUS_BUDGET,
        ),
        Result(name=f"{name}.writes.progress", value=progress / objects, unit="writes/object"),
        Result(name=f"{name}.writes.all", value=first.all_writes / objects, unit="writes/object"),
        Result(name=f"{name}.events", value=first.writes("events") / objects, unit="events/object"),
        Result(
            name=f"{name}.parents",
            value=first.writes("vmtemplates/status", "configmaps") / template_count(objects),
            unit="writes/template",
        ),
        Result(
            name=f"{name}.cpu",
            value=first.cpu_s / objects * 1000,
            unit="ms/object",
            reference=measured.floor["cpu_s"] / objects * 1000,
            gate=CPU_GATE if is_judged else None,
        ),
        Result(
            name=f"{name}.cpu.simulator", value=first.converged["simulator_cpu_s"] / objects * 1000, unit="ms/object"
        ),
        Result(name=f"{name}.wall", value=first.converged["wall_s"], unit="s", reference=measured.floor["wall_s"]),
        Result(name=f"{name}.calls", value=first.converged["provider_calls"] / objects, unit="calls/object"),
        Result(
            name=f"{name}.steady.calls", value=restarted.calls_per_tick / CLUSTERS, unit="calls/tick/cluster", gate=40
        ),
        Result(name=f"{name}.restart.writes", value=restarted.all_writes, unit="writes", gate=0),
        Result(name=f"{name}.restart.mutations", value=restarted.steady["mutations"], unit="mutations", gate=0),
        Result(
            name=f"{name}.restart.cpu",
            value=restarted.cpu_s / objects * 1000,
            unit="ms/object",
            reference=measured.listing["cpu_s"] / objects * 1000,
            gate=RESTART_CPU_GATE if is_judged else None,
        ),
        Result(name=f"{name}.restart.wall", value=restarted.converged["wall_s"], unit="s"),
    ]


def _memory(small: Measured, large: Measured) -> list[Result]:
    """Of restarted processes, whose world was there before: the simulator's memory is not the operator's."""
    more = large.objects - small.objects
    grown = (large.restarted.grown_bytes - small.restarted.grown_bytes) / more
    converged = (large.first.settled["rss_bytes"] - small.first.settled["rss_bytes"]) / more
    base = small.restarted.settled["rss_bytes"] - grown * small.objects
    return [
        Result(name="controlplane.rss", value=grown, unit="bytes/object", gate=RSS_GATE_BYTES),
        Result(name="controlplane.rss.base", value=base / 1e6, unit="MB"),
        Result(name="controlplane.rss.with_simulator", value=converged, unit="bytes/object"),
    ]


def declared_yaml(objects: int) -> str:
    """What is applied, to try it by hand."""
    connections, templates = declared(objects, SystemClock())
    return yaml.safe_dump_all([*connections, *templates])
