"""A storage that drops out of the listing: what lies on it stays, and somebody says what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fakes.proxmox import OPERATOR_TOKEN, Storage
from tests.simulation.lab import Lab

GIB = 2**30
SHARED = [Storage("local", total_bytes=512 * GIB), Storage("shared", shared=True, total_bytes=512 * GIB)]
LOCAL = "/storage/local"


@dataclass(frozen=True)
class Dropped:
    """What makes Proxmox leave rows of a storage out, what undoes it, and what must be said meanwhile."""

    drop: Callable[[Lab], object]
    mend: Callable[[Lab], object]
    says: tuple[str, ...]


def lose(lab: Lab, *rights: str) -> None:
    for right in rights:
        lab.pve.faults.lose_rights(LOCAL, right)


def regain(lab: Lab, *rights: str) -> None:
    for right in rights:
        lab.pve.faults.regain_rights(LOCAL, right)


GRANT = f"pveum acl modify {LOCAL} --tokens '{OPERATOR_TOKEN}'"
BOTH = ("Datastore.Audit", "Datastore.AllocateSpace")
DROPPED = {
    "disabled": Dropped(
        lambda lab: lab.pve.faults.disable_storage("local"),
        lambda lab: lab.pve.faults.disable_storage("local", enabled=True),
        ("storage local is disabled", "pvesm set local --disable 0"),
    ),
    "restricted to one node": Dropped(
        lambda lab: lab.pve.faults.restrict_storage("local", "pve1"),
        lambda lab: lab.pve.faults.restrict_storage("local"),
        ("node pve2 has no storage local", "pvesm set local --nodes"),
    ),
    "not ours to see": Dropped(lambda lab: lose(lab, *BOTH), lambda lab: regain(lab, *BOTH), (LOCAL, GRANT)),
    "ours to use, not to see": Dropped(
        lambda lab: lose(lab, "Datastore.Audit"),
        lambda lab: regain(lab, "Datastore.Audit"),
        ("storage local of ProxmoxCluster lab/prod is not listed", f"Datastore.Audit on {LOCAL}"),
    ),
}


def uids(lab: Lab) -> dict[str, str]:
    return {body["metadata"]["name"]: body["metadata"]["uid"] for body in lab.all("templatereplica")}


@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
async def test_a_storage_that_drops_out_of_the_listing_costs_no_copy_and_is_named(dropped: Dropped) -> None:
    async with Lab() as lab:
        await lab.make_ready()
        made, machines, mutations = uids(lab), lab.truth.machines(), len(lab.truth.mutations)
        dropped.drop(lab)
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Degraded").get("status") == "True")
        for words in dropped.says:
            assert words in lab.condition("vmtemplate/debian", "Degraded")["message"]
        await lab.restart()
        await lab.quiet(for_s=2 * 3600)
        assert uids(lab) == made
        assert not any("deletionTimestamp" in body["metadata"] for body in lab.all("templatereplica"))
        assert lab.status("vmtemplate/debian")["replicas"]["desired"] == 3
        assert lab.is_ready("vmtemplate/debian")

        dropped.mend(lab)
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Degraded") == {})
        await lab.until(lambda: all(lab.is_ready(lab.replica(node)) for node in lab.pve.nodes))
        assert lab.truth.machines() == machines
        assert len(lab.truth.mutations) == mutations


async def test_a_view_on_a_node_that_may_not_use_the_shared_storage_any_more_says_so() -> None:
    async with shared_lab() as lab:
        await lab.make_ready(storage="shared")
        (machine,) = lab.truth.machines_marked()
        made = uids(lab)
        view = next(node for node in lab.pve.nodes if node != machine.node)
        lab.pve.faults.restrict_storage("shared", *(node for node in lab.pve.nodes if node != view))
        await lab.until_reason(lab.replica(view), "PlaceUnusable")
        assert f"node {view} has no storage shared" in lab.condition(lab.replica(view))["message"]
        await lab.quiet(for_s=3600)
        assert uids(lab) == made

        lab.pve.faults.restrict_storage("shared")
        await lab.until_ready(lab.replica(view))
        assert lab.truth.machines_marked() == [machine]


async def test_the_copy_on_a_disabled_shared_storage_stays_the_one_copy() -> None:
    async with shared_lab() as lab:
        await lab.make_ready(storage="shared", nodes=["pve1", "pve2"])
        made, machines = uids(lab), lab.truth.machines()
        lab.pve.faults.disable_storage("shared")
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Degraded").get("status") == "True")
        await lab.quiet(for_s=3600)
        lab.pve.faults.disable_storage("shared", enabled=True)
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Degraded") == {})
        assert uids(lab) == made
        assert lab.truth.machines() == machines


async def test_a_storage_that_nobody_lists_is_no_place_and_the_message_says_why_it_might_not_be_listed() -> None:
    async with Lab() as lab:
        lab.pve.faults.disable_storage("local")
        await lab.apply(lab.template("debian"))
        await lab.until_reason("vmtemplate/debian", "NoPlaces")
        message = lab.condition("vmtemplate/debian")["message"]
        assert "storage local of ProxmoxCluster lab/prod is not listed" in message
        assert "pvesm set local --disable 0" in message
        assert f"Datastore.Audit on {LOCAL}" in message
        assert lab.all("templatereplica") == []

        lab.pve.faults.disable_storage("local", enabled=True)
        await lab.until_ready("vmtemplate/debian")


async def test_people_strike_a_restricted_node_from_the_spec_when_its_copy_shall_go() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        lab.pve.faults.restrict_storage("local", "pve1", "pve2")
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Degraded").get("status") == "True")
        lab.pve.faults.restrict_storage("local")
        await lab.apply(lab.template("debian", nodes=["pve1", "pve2"]))
        await lab.until(lambda: len(lab.all("templatereplica")) == 2)
        assert sorted(machine.node for machine in lab.truth.machines()) == ["pve1", "pve2"]


def excluding(lab: Lab, *nodes: str) -> dict[str, Any]:
    template = lab.template("debian", storage="shared")
    template["spec"]["placements"][0]["proxmox"]["excludeNodes"] = list(nodes)
    return template


def types(lab: Lab) -> dict[str, str]:
    return {body["spec"]["node"]: body["spec"]["type"] for body in lab.all("templatereplica")}


def shared_lab() -> Lab:
    return Lab(storages=[dataclasses.replace(storage) for storage in SHARED])


@pytest.mark.parametrize("leaves", ["the spec", "the cluster"])
async def test_when_the_node_of_the_one_copy_goes_another_node_makes_it(leaves: str) -> None:
    async with shared_lab() as lab:
        await lab.make_ready(storage="shared")
        assert types(lab) == {"pve1": "Copy", "pve2": "Logical", "pve3": "Logical"}
        if leaves == "the spec":
            await lab.apply(excluding(lab, "pve1"))
        else:
            lab.pve.faults.remove_node("pve1")
        await lab.until(lambda: types(lab) == {"pve2": "Copy", "pve3": "Logical"})
        await lab.until(lambda: lab.is_ready("vmtemplate/debian") and lab.is_ready(lab.replica("pve3")))
        (machine,) = lab.truth.machines_marked()
        assert machine.node == "pve2"
        assert machine.is_real_template
        assert {lab.status(lab.replica(node))["vmid"] for node in ("pve2", "pve3")} == {machine.vmid}
        assert lab.status("vmtemplate/debian")["replicas"]["summary"] == "2/2"


async def test_the_node_of_a_former_copy_comes_back_as_a_view() -> None:
    async with shared_lab() as lab:
        await lab.make_ready(storage="shared")
        await lab.apply(excluding(lab, "pve1"))
        await lab.until(lambda: types(lab) == {"pve2": "Copy", "pve3": "Logical"})
        await lab.apply(excluding(lab))
        await lab.until(lambda: types(lab) == {"pve1": "Logical", "pve2": "Copy", "pve3": "Logical"})
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert [machine.node for machine in lab.truth.machines_marked()] == ["pve2"]


async def test_a_former_copy_that_cannot_go_yet_does_not_keep_another_node_from_making_it() -> None:
    async with shared_lab() as lab:
        await lab.make_ready(storage="shared")
        vmid = lab.vmid("pve1")
        await lab.people.linked_clone(vmid, 5000)
        await lab.apply(excluding(lab, "pve1"))
        await lab.until(lambda: types(lab).get("pve2") == "Copy" and lab.is_ready("vmtemplate/debian"))
        await lab.until_reason(lab.replica("pve1"), "InUse")
        assert vmid in {machine.vmid for machine in lab.truth.machines_marked()}
        await lab.people.destroy(5000)
        await lab.until(lambda: types(lab) == {"pve2": "Copy", "pve3": "Logical"})
        assert [machine.node for machine in lab.truth.machines_marked()] == ["pve2"]


async def test_copies_that_are_there_stay_when_their_storage_is_called_shared() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        machines, made = lab.truth.machines(), uids(lab)
        lab.pve.storages.get("local").shared = True
        await lab.until(lambda: lab.status("proxmoxcluster/prod")["storages"][0]["shared"])
        await lab.quiet(for_s=3600)
        assert uids(lab) == made
        assert not any("deletionTimestamp" in body["metadata"] for body in lab.all("templatereplica"))
        lab.pve.storages.get("local").shared = False
        await lab.quiet(for_s=1200)
        assert uids(lab) == made
        assert lab.truth.machines() == machines
        assert lab.is_ready("vmtemplate/debian")


async def test_copies_planned_while_nobody_knew_that_the_storage_is_shared_become_views_of_one() -> None:
    async with shared_lab() as lab:
        lab.pve.faults.disable_storage("shared")
        await lab.apply(lab.template("debian", storage="shared", nodes=["pve1", "pve2", "pve3"], maxParallel=1))
        await lab.until(lambda: types(lab) == dict.fromkeys(lab.pve.nodes, "Copy"))
        await lab.quiet(for_s=600)
        lab.pve.faults.disable_storage("shared", enabled=True)
        await lab.until(lambda: sorted(types(lab).values()) == ["Copy", "Logical", "Logical"])
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        await lab.quiet(for_s=1200)
        assert len(lab.truth.machines()) == 1
