"""How often a status may be written until Ready: it is what makes the API server and every watcher work."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fakes.proxmox import qcow2
from tests.simulation.lab import IMAGE_URL, Lab
from tests.simulation.sweep import MACHINE

OPERATIONS = ("Stage", "Import", "Convert", "Unstage")
PROGRESS_EVERY_S = 30


def status_writes(lab: Lab) -> Counter[tuple[str, str]]:
    """By kind and name, those that changed something, since the beginning."""
    return Counter(
        (write.kind, write.name)
        for write in lab.server.writes
        if write.subresource == "status" and write.outcome == "changed"
    )


def over(lab: Lab, allowed: dict[str, float]) -> dict[str, int]:
    """The objects that were written more often than their kind may be."""
    return {
        f"{kind}/{name}": count for (kind, name), count in status_writes(lab).items() if count > allowed.get(kind, 0)
    }


@pytest.mark.parametrize("hardware", [None, MACHINE], ids=["plain", "resized"])
async def test_until_ready_a_status_is_written_three_times_and_twice_an_operation(
    hardware: dict[str, object] | None,
) -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian", hardware=hardware))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        await lab.quiet(for_s=120)
        operations = len(OPERATIONS) + (1 if hardware else 0)
        allowed: dict[str, float] = {
            "TemplateReplica": 3 + 2 * operations,
            "VMTemplate": 3 + 2 + lab.clock.monotonic() // PROGRESS_EVERY_S,
            "ProxmoxCluster": 3,
        }
        assert over(lab, allowed) == {}, lab.server.writes


async def test_a_slow_copy_costs_a_write_every_thirty_seconds_at_most() -> None:
    async with Lab() as lab:
        lab.disk.origin[IMAGE_URL] = qcow2(payload=b"golden", virtual_size=64 * 1024**3)
        lab.pve.faults.slow_copies(8)
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        took_s = lab.clock.monotonic()
        assert took_s > 600, "the copy was not slow"
        progress = took_s // PROGRESS_EVERY_S + 1
        allowed: dict[str, float] = {
            "TemplateReplica": 3 + 2 * len(OPERATIONS) + progress,
            "VMTemplate": 3 + 2 + progress,
            "ProxmoxCluster": 3,
        }
        assert over(lab, allowed) == {}


async def test_eight_nodes_cost_a_template_hardly_more_writes_than_one() -> None:
    counts = []
    for nodes in (["pve1"], [f"pve{number}" for number in range(1, 9)]):
        async with Lab(nodes=nodes) as lab:
            await lab.apply(lab.template("debian"))
            await lab.until(lambda lab=lab: lab.is_ready("vmtemplate/debian"))  # type: ignore[misc]
            counts.append(status_writes(lab)["VMTemplate", "debian"])
    assert counts[1] <= counts[0] + 2, counts
