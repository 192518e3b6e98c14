"""A kind that uses everything the CRD generator can say, so that the API server judges all of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pantograph.api import crd
from pantograph.api.base import CommonStatus, KindInfo, PrinterColumn, Resource, ScaleSubresource
from pantograph.api.declaration import CommonSpec
from pantograph.api.meta import CelRule, Model, ResourceType

Word = Annotated[str, Field(max_length=16)]


class Part(Model):
    """A part of a toy."""

    name: Word
    colour: Annotated[Word, crd.Immutable()]


class Move(Model):
    """What a toy can do."""

    verb: Word


class ToySpec(CommonSpec):
    """What is wanted of a toy."""

    cel: ClassVar[tuple[CelRule, ...]] = (crd.exactly_one_of("wood", "metal"), crd.at_most_one_of("bell", "horn"))

    maker: Annotated[Word, crd.Immutable()] = "nobody"
    year: Annotated[int | None, crd.Immutable("year is stamped into it")] = None
    wood: Word | None = None
    metal: Word | None = None
    bell: Literal[True] | None = None
    horn: Literal[True] | None = None
    age: Annotated[int | Literal["Any"], crd.IntOrString()] | None = None
    parts: Annotated[list[Part], Field(max_length=8), crd.ListMap("name")] | None = None
    tags: Annotated[list[Word], Field(max_length=8), crd.ListSet()] | None = None
    moves: Annotated[list[Move], Field(max_length=8), crd.Atomic()] | None = None
    weights: Annotated[dict[str, Annotated[int, Field(gt=0)]], Field(max_length=8)] | None = None
    seal: Annotated[bytes, Field(max_length=8)] | None = None
    replicas: Annotated[int, Field(ge=0, le=9)] = 1


class ToyStatus(CommonStatus):
    """What was seen of a toy."""

    replicas: Annotated[int, Field(ge=0)] = 0
    selector: Word | None = None


class Toy(Resource[ToySpec, ToyStatus]):
    """A toy."""

    info: ClassVar[KindInfo] = KindInfo(
        resource=ResourceType("test.pantograph.dev", "v1", "toys", "Toy"),
        categories=("playthings",),
        columns=(
            PrinterColumn("Maker", "string", ".spec.maker", description="Who made it"),
            PrinterColumn("Year", "integer", ".spec.year", priority=1, format="int64"),
        ),
        selectable_fields=(".spec.maker",),
        scale=ScaleSubresource(label_selector=".status.selector"),
        rules=(
            CelRule(
                "self.metadata.name.size() <= 10", "metadata.name of a Toy must be short", reason="FieldValueInvalid"
            ),
        ),
    )
