"""Which places must hold a copy: from the placements and what is known of their clusters."""

from __future__ import annotations

from typing import Any

import pytest

from pantograph.api.names import replica_name
from pantograph.api.vmtemplate import Placement
from pantograph.controllers.vmtemplate.planning import Child, ClusterId, ClusterView, Plan, StorageView, make_plan

PROD: ClusterId = ("lab", "prod")
REVISION = "0123456789"


def placement(name: str = "all", **proxmox: Any) -> Placement:
    return Placement.model_validate(
        {"name": name, "proxmox": {"clusterRef": {"name": "prod"}, "storage": "local", **proxmox}}
    )


def view(online: dict[str, bool] | None = None, *, shared: bool = False, on: set[str] | None = None) -> ClusterView:
    nodes = online or {"pve1": True, "pve2": True, "pve3": True}
    return ClusterView(nodes, {"local": StorageView(frozenset(on or nodes), shared)})


def unlisting(online: dict[str, bool] | None = None) -> ClusterView:
    """The listing lacks the storage, for whatever reason."""
    return ClusterView(view(online).online, {})


def plan(*placements: Placement, seen: ClusterView | None, children: dict[str, Child] | None = None) -> Plan:
    """`children`: by node."""
    return make_plan(
        "debian",
        "lab",
        revision=REVISION,
        placements=placements or [placement()],
        views={PROD: seen},
        children={name_on(node): child for node, child in (children or {}).items()},
    )


COPY, BARE, VIEW = Child("Copy", holds=True), Child("Copy", holds=False), Child("Logical", holds=False)


def owners(planned: Plan) -> list[str]:
    return [place.node for place in planned.places if place.copy_of is None]


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
    planned = plan(seen=seen, children={"pve1": VIEW, "pve2": VIEW, "pve3": COPY})
    assert owners(planned) == ["pve3"]


@pytest.mark.parametrize("seen", [unlisting(), view(on={"pve1"})], ids=["not listed", "restricted to pve1"])
def test_a_replica_that_is_there_keeps_its_place_when_the_listing_lacks_the_storage(seen: ClusterView) -> None:
    planned = plan(seen=seen, children={"pve1": COPY, "pve2": COPY})
    assert nodes_of(planned) == ["pve1", "pve2"]
    assert owners(planned) == ["pve1", "pve2"]


def test_the_plan_names_the_storages_that_are_not_listed() -> None:
    assert plan(seen=unlisting()).unlisted == ((PROD, "local"),)
    assert plan(seen=view(on={"pve1"})).unlisted == ()


@pytest.mark.parametrize(
    ("wanted", "online", "expected"),
    [
        ({"excludeNodes": ["pve2"]}, None, ["pve1"]),
        ({"nodes": ["pve2"]}, None, ["pve2"]),
        ({"storage": "other"}, None, []),
        ({}, {"pve1": True, "pve3": True}, ["pve1"]),
    ],
    ids=["excluded", "not named any more", "another storage", "its node has left"],
)
def test_a_replica_on_a_storage_that_is_not_listed_goes_when_the_spec_or_its_node_goes(
    wanted: dict[str, Any], online: dict[str, bool] | None, expected: list[str]
) -> None:
    children = {"pve1": COPY, "pve2": COPY}
    assert nodes_of(plan(placement(**wanted), seen=unlisting(online), children=children)) == expected


def test_views_stay_views_when_the_listing_lacks_their_shared_storage() -> None:
    shown = Child("Logical", holds=False, copy_of=name_on("pve2"))
    planned = plan(placement(nodes=["pve1", "pve2", "pve3"]), seen=unlisting(), children={"pve1": shown, "pve2": COPY})
    assert {place.node: place.copy_of for place in planned.places} == {
        "pve1": name_on("pve2"),
        "pve2": None,
        "pve3": name_on("pve2"),
    }


def test_no_view_becomes_the_copy_while_the_storage_is_not_listed() -> None:
    view_of_gone = Child("Logical", holds=False, copy_of=name_on("pve1"))
    planned = plan(placement(excludeNodes=["pve1"]), seen=unlisting(), children={"pve2": view_of_gone})
    assert {place.node: place.copy_of for place in planned.places} == {"pve2": name_on("pve1")}


def test_a_node_that_lost_the_storage_makes_no_copy_for_the_others() -> None:
    children = {"pve1": BARE, "pve2": VIEW, "pve3": VIEW}
    assert owners(plan(seen=view(shared=True, on={"pve2", "pve3"}), children=children)) == ["pve2"]
    assert owners(plan(placement(nodes=["pve1", "pve2"]), seen=view(shared=True, on={"pve2"}))) == ["pve2"]


def test_no_listing_turns_a_copy_that_is_there_into_a_view() -> None:
    children = {"pve1": BARE, "pve2": COPY, "pve3": COPY}
    assert owners(plan(seen=view(shared=True), children=children)) == ["pve2", "pve3"]


def test_when_the_owner_on_shared_storage_goes_a_view_becomes_the_copy() -> None:
    planned = plan(placement(excludeNodes=["pve1"]), seen=view(shared=True), children={"pve2": VIEW, "pve3": VIEW})
    assert owners(planned) == ["pve2"]


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
