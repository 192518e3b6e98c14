"""Which places must hold a copy: from the placements and what is known of their clusters."""

from __future__ import annotations

from typing import Any

import pytest

from pantograph.api.names import replica_name
from pantograph.api.vmtemplate import Placement
from pantograph.controllers.vmtemplate.planning import ClusterId, ClusterView, Plan, StorageView, make_plan

PROD: ClusterId = ("lab", "prod")
REVISION = "0123456789"


def placement(name: str = "all", **proxmox: Any) -> Placement:
    return Placement.model_validate(
        {"name": name, "proxmox": {"clusterRef": {"name": "prod"}, "storage": "local", **proxmox}}
    )


def view(online: dict[str, bool] | None = None, *, shared: bool = False, on: set[str] | None = None) -> ClusterView:
    nodes = online or {"pve1": True, "pve2": True, "pve3": True}
    return ClusterView(nodes, {"local": StorageView(frozenset(on or nodes), shared)})


def plan(*placements: Placement, seen: ClusterView | None, holders: frozenset[str] = frozenset()) -> Plan:
    return make_plan(
        "debian", "lab", revision=REVISION, placements=placements or [placement()], views={PROD: seen}, holders=holders
    )


def nodes_of(planned: Plan) -> list[str]:
    return [place.node for place in planned.places]


def name_on(node: str) -> str:
    return replica_name("debian", cluster=PROD, node=node, storage="local", revision=REVISION)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["pve1", "pve2", "pve3"]),
        ({"nodes": ["pve3", "pve1"]}, ["pve1", "pve3"]),
        ({"excludeNodes": ["pve2"]}, ["pve1", "pve3"]),
        ({"nodes": ["pve1", "gone"]}, ["pve1"]),
        ({"storage": "unknown"}, []),
        ({"storage": "unknown", "nodes": ["pve2"]}, ["pve2"]),
    ],
    ids=["every node", "named", "but one", "no member", "a storage nobody has", "a storage a named node lacks"],
)
def test_the_nodes_of_a_placement(wanted: dict[str, Any], expected: list[str]) -> None:
    assert nodes_of(plan(placement(**wanted), seen=view())) == expected


def test_a_storage_restricted_to_some_nodes_is_no_place_of_the_others() -> None:
    assert nodes_of(plan(seen=view(on={"pve1", "pve3"}))) == ["pve1", "pve3"]


def test_an_offline_node_keeps_its_place() -> None:
    assert nodes_of(plan(seen=view({"pve1": True, "pve2": False}))) == ["pve1", "pve2"]


def test_a_place_that_two_placements_name_is_one_place() -> None:
    assert nodes_of(plan(placement("a"), placement("b", nodes=["pve2"]), seen=view())) == ["pve1", "pve2", "pve3"]


def test_of_an_unknown_cluster_every_existing_replica_stays() -> None:
    planned = plan(seen=None)
    assert planned.places == ()
    assert planned.keeps(cluster=PROD, name="whatever")


def test_of_a_known_cluster_only_planned_replicas_stay() -> None:
    planned = plan(placement(nodes=["pve1"]), seen=view())
    assert planned.keeps(cluster=PROD, name=name_on("pve1"))
    assert not planned.keeps(cluster=PROD, name=name_on("pve2"))


def test_of_a_cluster_that_no_placement_names_no_replica_stays() -> None:
    other: ClusterId = ("lab", "other")
    name = replica_name("debian", cluster=other, node="pve1", storage="local", revision=REVISION)
    assert not plan(seen=view()).keeps(cluster=other, name=name)


def test_on_shared_storage_the_first_online_node_holds_the_one_real_copy() -> None:
    planned = plan(seen=view({"pve1": False, "pve2": True, "pve3": True}, shared=True))
    assert {place.node: place.copy_of for place in planned.places} == {
        "pve1": name_on("pve2"),
        "pve2": None,
        "pve3": name_on("pve2"),
    }


def test_on_shared_storage_who_holds_the_copy_already_goes_on_holding_it_even_offline() -> None:
    seen = view({"pve1": True, "pve2": True, "pve3": False}, shared=True)
    planned = plan(seen=seen, holders=frozenset({name_on("pve3")}))
    assert [place.node for place in planned.places if place.copy_of is None] == ["pve3"]


@pytest.mark.parametrize(
    "other",
    [
        {"cluster": ("other", "prod")},
        {"cluster": ("lab", "other")},
        {"node": "pve2"},
        {"storage": "fast"},
        {"revision": "9876543210"},
    ],
    ids=["namespace", "cluster", "node", "storage", "revision"],
)
def test_the_name_of_a_place_tells_it_from_every_other(other: dict[str, Any]) -> None:
    place: dict[str, Any] = {"cluster": PROD, "node": "pve1", "storage": "local", "revision": REVISION}
    assert replica_name("debian", **(place | other)) != replica_name("debian", **place)


@pytest.mark.parametrize("node", ["pve1", "a-node-with-a-very-long-name-indeed", "PVE.example", "x_1"])
def test_the_name_of_a_place_is_a_dns_label(node: str) -> None:
    name = replica_name("t" * 40, cluster=PROD, node=node, storage="local", revision=REVISION)
    assert len(name) <= 63
    assert all(c.islower() or c.isdigit() or c == "-" for c in name)
    assert name[0] != "-" != name[-1]
