"""Turns among the copies of a template (`maxParallel`): who cannot be made holds no turn, and delays nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes.proxmox import Storage
from tests.simulation.lab import Lab

NODES = tuple(f"pve{number}" for number in range(1, 7))
FAST = Storage("fast", type="lvmthin", content=frozenset({"images"}))
STORAGES = {
    "while the image is staged": [Storage("local")],
    "while the disk is imported": [Storage("local"), FAST],
}


def is_stalled(lab: Lab, what: str, reason: str) -> bool:
    return lab.condition(what, "Stalled").get("reason") == reason


@pytest.mark.parametrize("storages", STORAGES.values(), ids=STORAGES)
@pytest.mark.parametrize(("limit", "full"), [(1, NODES[:1]), (1, NODES[-1:]), (4, NODES[:4])])
async def test_copies_that_failed_for_good_leave_their_turns_to_the_others(
    storages: list[Storage], limit: int, full: tuple[str, ...]
) -> None:
    target = storages[-1].name
    async with Lab(nodes=NODES, storages=storages) as lab:
        for node in full:
            lab.pve.faults.fill_storage(target, node)
        await lab.apply(lab.template("debian", storage=target, maxParallel=limit))
        rest = [node for node in NODES if node not in full]
        await lab.until(lambda: len(lab.truth.machines_marked()) == len(rest), within_s=300)
        for node in rest:
            await lab.until_ready(lab.replica(node), within_s=60)
        for node in full:
            await lab.until_reason(lab.replica(node), "StorageFull")

        tried = len(lab.truth.mutations)
        await lab.quiet(for_s=3600)
        assert len(lab.truth.mutations) - tried <= 10 * len(full), "who failed for good is tried once an interval"
        for node in full:
            lab.pve.faults.empty_storage(target, node)
        await lab.until_ready("vmtemplate/debian", within_s=1200)


async def test_copies_without_a_usable_place_do_not_make_the_others_wait_for_their_own_looks() -> None:
    fast = replace(FAST, nodes=frozenset(NODES[3:]))
    async with Lab(nodes=NODES, storages=[Storage("local"), fast]) as lab:
        await lab.apply(lab.template("debian", storage="fast", nodes=NODES, maxParallel=1))
        await lab.until(lambda: len(lab.truth.machines_marked()) == 3, within_s=90)
        assert all(is_stalled(lab, lab.replica(node), "PlaceUnusable") for node in NODES[:3])
