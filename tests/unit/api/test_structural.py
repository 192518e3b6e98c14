"""Models become structural schemas; what the API server would refuse is named with the path of the field."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import ConfigDict, Field, create_model

from pantograph.api.crd import (
    Atomic,
    Immutable,
    IntOrString,
    ListMap,
    ListSet,
    SchemaError,
    at_most_one_of,
    exactly_one_of,
)
from pantograph.api.meta import CelRule, Model
from pantograph.api.structural import structural

Short = Annotated[str, Field(max_length=8)]


class Colour(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Item(Model):
    """One of several."""

    name: Short
    size: int | None = None


class Node(Model):
    """A node of a tree."""

    children: Annotated[list[Node], Field(max_length=2), ListMap("name")]
    name: Short


def of(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """The schema of a model whose only field, `field`, is so annotated."""
    model = create_model("Toy", __base__=Model, field=(annotation, default))
    node = structural(model, path="spec")["properties"]["field"]
    assert isinstance(node, dict)
    return node


def faults(annotation: Any, default: Any = ...) -> list[str]:
    with pytest.raises(SchemaError) as caught:
        of(annotation, default)
    return str(caught.value).splitlines()


ITEM = {
    "type": "object",
    "description": "One of several.",
    "properties": {"name": {"type": "string", "maxLength": 8}, "size": {"type": "integer"}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        pytest.param(Short | None, None, {"type": "string", "maxLength": 8}, id="optional"),
        pytest.param(Short, "red", {"type": "string", "maxLength": 8, "default": "red"}, id="default"),
        pytest.param(Colour, Colour.RED, {"type": "string", "enum": ["Red", "Blue"], "default": "Red"}, id="enum"),
        pytest.param(Colour | None, None, {"type": "string", "enum": ["Red", "Blue"]}, id="optional enum"),
        pytest.param(Literal["a"], ..., {"type": "string", "enum": ["a"]}, id="constant"),
        pytest.param(Literal[True] | None, None, {"type": "boolean", "enum": [True]}, id="only true"),
        pytest.param(
            Annotated[int, Field(gt=0, lt=9)],
            ...,
            {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": True},
            id="exclusive bounds",
        ),
        pytest.param(
            Annotated[bytes, Field(max_length=4)], ..., {"type": "string", "format": "byte", "maxLength": 4}, id="bytes"
        ),
        pytest.param(
            Annotated[int | Literal["All"], IntOrString()] | None,
            None,
            {"x-kubernetes-int-or-string": True, "maxLength": 32},
            id="int or string",
        ),
        pytest.param(
            Annotated[dict[str, Short], Field(max_length=4)],
            ...,
            {"type": "object", "additionalProperties": {"type": "string", "maxLength": 8}, "maxProperties": 4},
            id="map",
        ),
        pytest.param(
            Annotated[set[Short], Field(max_length=4)],
            ...,
            {
                "type": "array",
                "items": {"type": "string", "maxLength": 8},
                "maxItems": 4,
                "x-kubernetes-list-type": "set",
            },
            id="python set",
        ),
        pytest.param(
            Annotated[list[Short], Field(max_length=4), ListSet()] | None,
            None,
            {
                "type": "array",
                "items": {"type": "string", "maxLength": 8},
                "maxItems": 4,
                "x-kubernetes-list-type": "set",
            },
            id="list set",
        ),
        pytest.param(
            Annotated[list[Item], Field(max_length=4), ListMap("name")],
            ...,
            {
                "type": "array",
                "items": ITEM,
                "maxItems": 4,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            id="list map",
        ),
        pytest.param(
            Annotated[list[Item], Field(max_length=4), Atomic()],
            ...,
            {"type": "array", "items": ITEM, "maxItems": 4, "x-kubernetes-list-type": "atomic"},
            id="atomic list",
        ),
        pytest.param(Item | None, None, ITEM, id="model"),
    ],
)
def test_what_pydantic_says_in_its_way_is_said_in_the_api_servers(
    annotation: Any, default: Any, expected: dict[str, Any]
) -> None:
    assert of(annotation, default) == expected


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        pytest.param(
            str,
            ...,
            "spec.field: a string without maxLength: add Field(max_length=...), or list its values as Literal",
            id="string",
        ),
        pytest.param(list[Short], ..., "spec.field: a list without maxItems: add Field(max_length=...)", id="list"),
        pytest.param(
            dict[str, Short], ..., "spec.field: a map without maxProperties: add Field(max_length=...)", id="map"
        ),
        pytest.param(
            Annotated[dict[str, str], Field(max_length=2)],
            ...,
            "spec.field{}: a string without maxLength: add Field(max_length=...), or list its values as Literal",
            id="string in map",
        ),
        pytest.param(
            Annotated[list[str], Field(max_length=2)],
            ...,
            "spec.field[]: a string without maxLength: add Field(max_length=...), or list its values as Literal",
            id="string in list",
        ),
        pytest.param(
            int | Short,
            ...,
            "spec.field: a union: make the alternatives optional fields with exactly_one_of(...), "
            "or mark it IntOrString()",
            id="union",
        ),
        pytest.param(tuple[int, int], ..., "spec.field: a tuple: make it a model with named fields", id="tuple"),
        pytest.param(
            float,
            ...,
            "spec.field: a floating point number, which clients round differently: use an integer or a Quantity",
            id="float",
        ),
        pytest.param(
            Any, ..., "spec.field: a field without a type: the API server needs one at every node", id="anything"
        ),
        pytest.param(
            Annotated[dict[str, Any], Field(max_length=2)],
            ...,
            "spec.field: an object without fields: write a model, or dict[str, ...] with the type of its values",
            id="untyped map",
        ),
        pytest.param(
            Annotated[list[Short], Field(max_length=2)],
            ["a"],
            "spec.field: a default that is an object or a list: use default_factory, which is not published",
            id="list default",
        ),
        pytest.param(
            Annotated[list[Item], Field(max_length=2)],
            ...,
            'spec.field: a list of objects that does not say how it is merged: mark it ListMap("<key>") or Atomic()',
            id="list of objects",
        ),
        pytest.param(
            Annotated[list[Item], Field(max_length=2), ListSet()],
            ...,
            'spec.field: a set of objects: mark it ListMap("<key>") instead of ListSet()',
            id="set of objects",
        ),
        pytest.param(
            Annotated[list[Item], Field(max_length=2), ListMap("id")],
            ...,
            "spec.field: ListMap('id') names no field of the items",
            id="unknown key",
        ),
        pytest.param(
            Annotated[list[Item], Field(max_length=2), ListMap("size")],
            ...,
            "spec.field[].size: a key of ListMap must be required",
            id="optional key",
        ),
        pytest.param(
            Annotated[str, Field(max_length=2, json_schema_extra={"pattern": "^(?!a)b"})],
            ...,
            "spec.field: a pattern with look-around, which RE2 does not have: write it without, or as a CEL rule",
            id="look-ahead",
        ),
        pytest.param(
            Annotated[int, Field(json_schema_extra={"not": {"minimum": 3}})],
            ...,
            "spec.field: the API server does not take the keyword not",
            id="foreign keyword",
        ),
    ],
)
def test_what_the_api_server_would_refuse_is_named_with_its_path_and_remedy(
    annotation: Any, default: Any, expected: str
) -> None:
    assert faults(annotation, default) == [expected]


def test_all_faults_are_named_at_once() -> None:
    model = create_model("Toy", __base__=Model, one=(str, ...), two=(list[Short], ...))
    with pytest.raises(SchemaError) as caught:
        structural(model, path="spec")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["spec.one", "spec.two"]


def test_a_default_inside_a_list_is_a_fault_and_outside_is_not() -> None:
    class Disk(Model):
        name: Short
        bus: Literal["scsi", "sata"] = "scsi"

    assert of(Disk | None, None)["properties"]["bus"]["default"] == "scsi"
    assert faults(Annotated[list[Disk], Field(max_length=2), ListMap("name")]) == [
        "spec.field[].bus: a default inside a list, which GitOps tools show as drift: "
        "make the field optional and give its absence a meaning in code"
    ]


def test_a_model_that_contains_itself_is_a_fault() -> None:
    with pytest.raises(SchemaError, match=r"^spec\.field\.children\[\]: Node contains itself"):
        of(Node)


def test_names_are_camel_case_and_required_ones_sorted() -> None:
    model = create_model("Toy", __base__=Model, zone_id=(int, ...), a_name=(Short, ...))
    node = structural(model, path="spec")
    assert list(node["properties"]) == ["zoneId", "aName"]
    assert node["required"] == ["aName", "zoneId"]


def test_strictness_is_the_servers_so_additional_properties_are_dropped() -> None:
    class Strict(Model):
        model_config = ConfigDict(extra="forbid")
        name: Short

    assert "additionalProperties" not in of(Strict)


def test_the_fields_own_docstring_describes_it_better_than_its_type() -> None:
    class Toy(Model):
        """A toy
        of wood.

        Painted.
        """

        item: Item | None = None
        """The thing
        itself."""
        other: Item | None = None

    node = structural(Toy, path="spec")
    assert node["description"] == "A toy of wood.\n\nPainted."
    assert node["properties"]["item"]["description"] == "The thing itself."
    assert node["properties"]["other"]["description"] == "One of several."


def test_rules_stand_on_the_node_of_their_model_and_a_bases_come_first() -> None:
    class Base(Model):
        cel: ClassVar[tuple[CelRule, ...]] = (CelRule("self.a > 0", "a must be positive", field_path=".a"),)
        a: int

    class Derived(Base):
        cel: ClassVar[tuple[CelRule, ...]] = (
            CelRule("self.b > self.a", "b must be above a", reason="FieldValueInvalid", optional_old_self=True),
        )
        b: int

    assert of(Derived | None, None)["x-kubernetes-validations"] == [
        {"rule": "self.a > 0", "message": "a must be positive", "fieldPath": ".a"},
        {
            "rule": "self.b > self.a",
            "message": "b must be above a",
            "reason": "FieldValueInvalid",
            "optionalOldSelf": True,
        },
    ]


def test_exactly_one_of_counts_what_is_set() -> None:
    assert exactly_one_of("http", "depot", "backup") == CelRule(
        "[has(self.http), has(self.depot), has(self.backup)].filter(x, x).size() == 1",
        "exactly one of http, depot or backup must be set",
    )


def test_at_most_one_of_allows_none() -> None:
    assert at_most_one_of("caRef", "fingerprint") == CelRule(
        "[has(self.caRef), has(self.fingerprint)].filter(x, x).size() <= 1",
        "at most one of caRef or fingerprint may be set",
    )


def test_an_immutable_field_is_guarded_by_a_rule_and_an_optional_one_also_on_its_parent() -> None:
    class Toy(Model):
        needed: Annotated[Short, Immutable()]
        wished: Annotated[Short | None, Immutable()] = None
        given: Annotated[Literal["a", "b"], Immutable("given is for ever")] = "a"

    node = structural(Toy, path="spec")
    rules = {name: child["x-kubernetes-validations"] for name, child in node["properties"].items()}
    assert rules == {
        "needed": [{"rule": "self == oldSelf", "message": "needed cannot be changed"}],
        "wished": [{"rule": "self == oldSelf", "message": "wished cannot be changed"}],
        "given": [{"rule": "self == oldSelf", "message": "given is for ever"}],
    }
    assert node["x-kubernetes-validations"] == [
        {"rule": "has(self.wished) == has(oldSelf.wished)", "message": "wished cannot be added or removed"}
    ]


def test_an_immutable_field_in_a_list_needs_a_key_to_find_its_old_value() -> None:
    class Fixed(Model):
        name: Short
        size: Annotated[int, Immutable()]

    assert of(Annotated[list[Fixed], Field(max_length=2), ListMap("name")])["maxItems"] == 2
    assert faults(Annotated[list[Fixed], Field(max_length=2), Atomic()]) == [
        "spec.field[].size: a rule about oldSelf below a list whose items have no key: mark the list ListMap(...)"
    ]


def test_a_schema_without_defaults_has_none_at_any_depth() -> None:
    class Inner(Model):
        count: int = 0

    class Toy(Model):
        inner: Inner | None = None
        total: int = 0

    assert structural(Toy, path="status", defaults=False)["properties"] == {
        "inner": {"type": "object", "properties": {"count": {"type": "integer"}}},
        "total": {"type": "integer"},
    }
