"""What a model tells the API server beyond its types: how lists merge, what never changes, which fields exclude others.

Markers stand in `Annotated[...]` and leave extension keywords in the JSON schema; `crd` makes a structural one of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from pantograph.api.meta import CelRule

LIST_TYPE: Final = "x-kubernetes-list-type"
LIST_MAP_KEYS: Final = "x-kubernetes-list-map-keys"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
IMMUTABLE: Final = "x-pantograph-immutable"
"""Internal: `crd` replaces it by rules on the field and on its parent."""


class ListMap:
    """A list of objects told apart by `keys` (camelCase, required in the items): merged by key, duplicates refused."""

    def __init__(self, *keys: str) -> None:
        if not keys:
            raise ValueError('ListMap needs the fields that tell its items apart: ListMap("name")')
        self.keys = keys

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), LIST_TYPE: "map", LIST_MAP_KEYS: list(self.keys)}


@dataclass(frozen=True, slots=True)
class ListSet:
    """A list of scalars without duplicates, in which every field manager owns its own entries."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), LIST_TYPE: "set"}


@dataclass(frozen=True, slots=True)
class Atomic:
    """A list that is replaced as a whole: its order matters, or its items have no key."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), LIST_TYPE: "atomic"}


@dataclass(frozen=True, slots=True)
class IntOrString:
    """A number or a word, such as a count or `All`. A CEL rule on the parent says which words."""

    max_length: int = 32

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {INT_OR_STRING: True, "maxLength": self.max_length}


@dataclass(frozen=True, slots=True)
class Immutable:
    """A field that is set at creation and never changed, added or removed.

    An optional field guards its own coming and going only while its parent stays: mark an optional parent as well.
    """

    message: str | None = None
    """What the API server answers to a change; by default `<field> cannot be changed`."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), IMMUTABLE: self.message or ""}


def exactly_one_of(*fields: str) -> CelRule:
    """The rule that one of `fields` (camelCase) is set and the others are not."""
    return CelRule(_count(fields) + " == 1", f"exactly one of {_series(fields)} must be set")


def at_most_one_of(*fields: str) -> CelRule:
    """The rule that no two of `fields` (camelCase) are set together."""
    return CelRule(_count(fields) + " <= 1", f"at most one of {_series(fields)} may be set")


def at_least(field: str, least: str) -> CelRule:
    """The rule that the duration `field` (camelCase), if it is set, is not shorter than `least`."""
    return CelRule(
        f"!has(self.{field}) || duration(self.{field}) >= duration('{least}')", f"{field} must be at least {least}"
    )


def stays_below(field: str) -> CelRule:
    """The rule that the relative path `field` (camelCase), if it is set, leads nowhere else."""
    return CelRule(
        f"!has(self.{field}) || self.{field}.split('/').all(s, s != '..' && s != '.')",
        f"{field} must not contain the segments '.' or '..'",
    )


def _count(fields: tuple[str, ...]) -> str:
    return f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(x, x).size()"


def _series(fields: tuple[str, ...]) -> str:
    *head, last = fields
    return f"{', '.join(head)} or {last}" if head else last
