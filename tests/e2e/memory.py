"""How much memory the processes of a pod have had, as the node's kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

from hack.node import cgroups
from hack.node.world import GROUP
from hack.stage import Body


def peaks(pod: Body) -> dict[int, int]:
    """The most bytes that each process of the pod's containers has had resident since it began, by its number."""
    uid = pod["metadata"]["uid"]
    found = {}
    for pid in cgroups.processes(os.environ[GROUP]):
        folder = Path("/proc") / str(pid)
        try:
            groups, said = (folder / "cgroup").read_text(), (folder / "status").read_text()
        except FileNotFoundError:  # ended meanwhile
            continue
        status = dict(line.split(":", 1) for line in said.splitlines())
        if uid in groups and status["Name"].strip() != "pause":
            found[pid] = int(status["VmHWM"].split()[0]) << 10
    return found
