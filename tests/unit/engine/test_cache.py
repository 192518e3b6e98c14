"""The cache believes the newer, and never raises the dead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pantograph.api.meta import Body, Key, ResourceType
from pantograph.engine.cache import Cache, Watched

TOYS = ResourceType("pantograph.dev", "v1alpha1", "toys", "Toy")
BOXES = ResourceType("pantograph.dev", "v1alpha1", "boxes", "Box")
X = Key("Toy", "a", "x")
BOX = Key("Box", "a", "box")


def box_of(body: Body) -> Iterable[Key]:
    if box := body.get("spec", {}).get("box"):
        yield Key("Box", body["metadata"]["namespace"], box)


def toy(version: int, *, uid: str = "u1", name: str = "x", **more: Any) -> Body:
    meta = {"name": name, "namespace": "a", "uid": uid, "resourceVersion": str(version), **more.pop("meta", {})}
    return {"apiVersion": TOYS.api_version, "kind": "Toy", "metadata": meta, "spec": more}


@pytest.fixture
def cache() -> Cache:
    return Cache([Watched(TOYS, references=box_of), Watched(BOXES)])


def test_the_newer_version_wins_in_whichever_order(cache: Cache) -> None:
    assert cache.absorb(toy(9, colour="red"))
    assert not cache.absorb(toy(8, colour="blue"))
    assert not cache.absorb(toy(9, colour="blue"))
    assert cache.absorb(toy(10, colour="green"))
    body = cache.get(X)
    assert body is not None
    assert body["spec"]["colour"] == "green"


def test_versions_are_compared_as_numbers(cache: Cache) -> None:
    cache.absorb(toy(99))
    assert cache.absorb(toy(100))


def test_a_late_answer_does_not_bring_back_a_deleted_object(cache: Cache) -> None:
    cache.absorb(toy(5))
    assert cache.forget(X, uid="u1")
    assert not cache.absorb(toy(7))
    assert cache.get(X) is None


def test_the_deletion_of_the_predecessor_leaves_its_successor(cache: Cache) -> None:
    cache.absorb(toy(5))
    cache.absorb(toy(9, uid="u2"))
    assert not cache.forget(X, uid="u1")
    assert not cache.absorb(toy(6))
    entry = cache.entry(X)
    assert entry is not None
    assert entry.uid == "u2"


def test_the_answer_to_removing_the_last_finalizer_is_a_deletion(cache: Cache) -> None:
    cache.absorb(toy(5, meta={"finalizers": ["f"]}))
    cache.absorb(toy(6, meta={"finalizers": [], "deletionTimestamp": "2026-11-26T00:00:00Z"}))
    assert cache.get(X) is None


def test_a_change_concerns_owners_and_referrers(cache: Cache) -> None:
    cache.absorb(toy(1, box="box"))
    cache.absorb(toy(2, uid="u2", name="part", meta={"ownerReferences": [{"kind": "Toy", "name": "x", "uid": "u1"}]}))
    assert cache.concerned(BOX) == {X}
    assert cache.concerned(Key("Toy", "a", "part")) == {X}
    assert cache.owned_by("u1") == [Key("Toy", "a", "part")]


def test_a_reference_that_was_removed_concerns_nobody(cache: Cache) -> None:
    cache.absorb(toy(1, box="box"))
    cache.absorb(toy(2))
    assert cache.referrers(BOX) == []
    cache.absorb(toy(3, box="box"))
    cache.forget(X, uid="u1")
    assert cache.referrers(BOX) == []


def test_selection_wants_all_labels(cache: Cache) -> None:
    cache.absorb(toy(1, meta={"labels": {"node": "pve1", "role": "replica"}}))
    cache.absorb(toy(2, uid="u2", name="y", meta={"labels": {"node": "pve2", "role": "replica"}}))
    assert list(cache.select("Toy", labels={"role": "replica", "node": "pve2"})) == [Key("Toy", "a", "y")]
    assert list(cache.select("Toy", namespace="b")) == []


def test_what_was_read_can_be_changed_without_changing_the_cache(cache: Cache) -> None:
    cache.absorb(toy(1, colour="red", meta={"managedFields": [{"manager": "kubectl"}]}))
    body = cache.get(X)
    assert body is not None
    assert "managedFields" not in body["metadata"]
    body["spec"]["colour"] = "blue"
    again = cache.get(X)
    assert again is not None
    assert again["spec"]["colour"] == "red"


def test_it_is_ready_when_every_kind_was_listed(cache: Cache) -> None:
    cache.mark_listed("Toy")
    assert not cache.ready
    cache.mark_listed("Box")
    assert cache.ready


def test_references_follow_the_spec_and_are_not_asked_for_again_while_it_stays(cache: Cache) -> None:
    cache.absorb(toy(1, box="box", meta={"generation": 1}))
    cache.absorb(toy(2, box="box", meta={"generation": 1, "labels": {"a": "b"}}))
    assert cache.referrers(BOX) == [X]
    cache.absorb(toy(3, box="crate", meta={"generation": 2}))
    assert cache.referrers(BOX) == []
    assert cache.referrers(Key("Box", "a", "crate")) == [X]
