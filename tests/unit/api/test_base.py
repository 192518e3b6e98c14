"""Objects as types: lenient with status, exact about what is wrong with a spec, and back to JSON without noise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field

from pantograph.api import conditions as c
from pantograph.api.base import CommonStatus, KindInfo, Resource
from pantograph.api.declaration import CommonSpec, InvalidObject, ObjectMeta
from pantograph.api.meta import GROUP, VERSION, Key, LocalReference, Model, ResourceType, to_body

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)


class Empty(Model):
    """Says something by being there."""


class ToySpec(CommonSpec):
    colour: Annotated[str, Field(max_length=8)]
    secret_ref: LocalReference | None = None
    inner: Empty | None = None


class ToyStatus(CommonStatus):
    count: int | None = None


class Toy(Resource[ToySpec, ToyStatus]):
    info: ClassVar[KindInfo] = KindInfo(resource=ResourceType(GROUP, VERSION, "toys", "Toy"))


def body(**parts: Any) -> dict[str, Any]:
    return {"metadata": {"name": "bear", "namespace": "shop"}, "spec": {"colour": "brown"}, **parts}


def test_an_object_has_the_key_that_the_queue_knows_it_by() -> None:
    assert Toy.parse(body()).key == Key("Toy", "shop", "bear")


def test_an_object_without_status_was_never_observed() -> None:
    for toy in (
        Toy.parse(body()),
        Toy(metadata=ObjectMeta(name="bear", namespace="shop"), spec=ToySpec(colour="brown")),
    ):
        assert toy.status == ToyStatus(observed_generation=-1)


def test_two_objects_never_share_an_empty_status() -> None:
    one, other = Toy.parse(body()), Toy.parse(body())
    one.status.conditions.append(c.ready(generation=1, now=NOW)[0])
    assert other.status.conditions == []


def test_a_status_that_cannot_be_read_counts_as_empty() -> None:
    toy = Toy.parse(body(status={"observedGeneration": 4, "conditions": [{"type": "Ready"}]}))
    assert toy.status == ToyStatus()


def test_a_spec_that_cannot_be_read_is_refused_with_the_names_that_people_wrote() -> None:
    with pytest.raises(InvalidObject) as caught:
        Toy.parse(body(spec={"secretRef": {"name": "UPPER"}}, status={"conditions": 7}))
    message = str(caught.value)
    assert "spec.colour: Field required" in message
    assert "spec.secretRef.name: String should match pattern" in message


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert Toy.parse(body(spec={"colour": "brown", "wheels": 4})).spec == ToySpec(colour="brown")


def test_an_object_under_deletion_says_so() -> None:
    metadata = {"name": "bear", "namespace": "shop", "deletionTimestamp": "2026-11-26T12:00:00Z"}
    assert Toy.parse(body(metadata=metadata)).deleting
    assert not Toy.parse(body()).deleting


def test_json_has_no_nulls_and_no_empty_lists_but_keeps_empty_objects() -> None:
    assert to_body(ToySpec(colour="brown", inner=Empty())) == {"colour": "brown", "inner": {}}
    assert to_body(ToyStatus(observed_generation=3, conditions=[])) == {"observedGeneration": 3}


def test_a_status_survives_the_way_to_the_server_and_back() -> None:
    status = ToyStatus(observed_generation=3, conditions=c.terminal("Bad", "why", generation=3, now=NOW), count=0)
    assert Toy.parse(body(status=to_body(status))).status == status
