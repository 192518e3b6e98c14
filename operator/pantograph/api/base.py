"""The base of every kind: an object of the API as types, and what the API server must know about its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, Self, TypeVar, cast

from pydantic import Field, ValidationError

from pantograph.api.conditions import Condition
from pantograph.api.declaration import Declaration, InvalidObject, SpecT, explain
from pantograph.api.markers import ListMap
from pantograph.api.meta import CelRule, Key, Model, ResourceType
from pantograph.api.operation import Operation

NEVER_OBSERVED: Final = -1
"""`status.observedGeneration` of an object that no controller has looked at: equals no generation."""


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of `kubectl get`; with a `priority` above 0 only with `-o wide`."""

    name: str
    type: Literal["string", "integer", "boolean", "date", "number"]
    json_path: str
    """For example `.status.vmid` or `.status.conditions[?(@.type=="Ready")].status`."""
    priority: int = 0
    description: str | None = None
    format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSubresource:
    """Which fields `kubectl scale` reads and writes, as JSON paths."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    label_selector: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KindInfo:
    """What the API server is told about a kind besides its schema."""

    resource: ResourceType
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("pantograph",)
    columns: tuple[PrinterColumn, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    """JSON paths that `kubectl get --field-selector` takes, for example `.spec.clusterRef.name`."""
    scale: ScaleSubresource | None = None
    rules: tuple[CelRule, ...] = ()
    """Rules on the whole object, where `self.metadata.name`, `self.spec` and `self.status` can be read."""


class CommonStatus(Model):
    """What is reported of every kind."""

    observed_generation: int = NEVER_OBSERVED
    """The `metadata.generation` that this status speaks of; -1: nobody has looked at the object yet."""
    conditions: Annotated[list[Condition], ListMap("type"), Field(max_length=16)] = Field(default_factory=list)
    """Ready always; Reconciling and Stalled only while they are true."""
    operation: Operation | None = None
    """The work that is going on outside; at most one at a time."""
    last_handled_reconcile_at: Annotated[str, Field(max_length=256)] | None = None
    """The last value of the annotation `pantograph.dev/reconcile-at` that was obeyed."""


StatusT = TypeVar("StatusT", bound=CommonStatus)

_EMPTY: Final = cast("Callable[[], Any]", dict)  # validated into the kind's own status model


class Resource(Declaration[SpecT], Generic[SpecT, StatusT]):
    """An object of one kind. A kind's docstring and `info` become its CRD, with the schemas of spec and status."""

    info: ClassVar[KindInfo]

    status: StatusT = Field(default_factory=_EMPTY, validate_default=True)

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """The object in the API server's JSON.

        A status that cannot be read (written by another version) counts as empty, since it is derived anew anyway.
        Raises InvalidObject if the spec cannot be read.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            if all(each["loc"][0] == "status" for each in error.errors()):
                return cls.model_validate({**body, "status": {}})
            raise InvalidObject(explain(error)) from error

    @property
    def key(self) -> Key:
        return Key(self.info.resource.kind, self.metadata.namespace, self.metadata.name)

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    def refers_to(self) -> tuple[Key, ...]:
        """The objects of our kinds whose changes concern this one. A kind with references overrides it."""
        return ()
