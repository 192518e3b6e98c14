"""The base of every kind: an object of the API as types, and what the API server must know about its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, Self, TypeVar, cast

from pydantic import Field, ValidationError

from pantograph.api.conditions import Condition
from pantograph.api.markers import ListMap, at_least
from pantograph.api.meta import Body, CelRule, Duration, Key, Model, ResourceType
from pantograph.api.operation import Operation
from pantograph.api.units import Timestamp, parse_duration

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


class OwnerReference(Model):
    """`metav1.OwnerReference`."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(Model):
    """The part of `metav1.ObjectMeta` that we read."""

    name: str
    namespace: str
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[OwnerReference] = Field(default_factory=list)
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None


MIN_INTERVAL_S: Final = 10.0


class CommonSpec(Model):
    """What can be declared of every kind."""

    cel: ClassVar[tuple[CelRule, ...]] = (at_least("interval", f"{MIN_INTERVAL_S:.0f}s"),)

    suspend: bool | None = None
    """True: nothing is begun for this object until it is false again; deletion still works."""
    interval: Duration | None = None
    """How often the outside is compared again although nothing changed; absent: 10m; 20s of a ProxmoxCluster, 5m of a
    DataServer."""

    def interval_or(self, absent_s: float) -> float:
        """Seconds; never less than the rule allows, also of an object that is older than the rule."""
        return absent_s if self.interval is None else max(MIN_INTERVAL_S, parse_duration(self.interval))


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


SpecT = TypeVar("SpecT", bound=CommonSpec)
StatusT = TypeVar("StatusT", bound=CommonStatus)

_EMPTY: Final = cast("Callable[[], Any]", dict)  # validated into the kind's own status model


class InvalidObject(ValueError):
    """An object whose spec this operator cannot read: the message names the fields and what is wrong with them."""


class Resource(Model, Generic[SpecT, StatusT]):
    """An object of one kind. A kind's docstring and `info` become its CRD, with the schemas of spec and status."""

    info: ClassVar[KindInfo]

    metadata: ObjectMeta
    spec: SpecT
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
            raise InvalidObject(_explain(error)) from error

    @property
    def key(self) -> Key:
        return Key(self.info.resource.kind, self.metadata.namespace, self.metadata.name)

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    def refers_to(self) -> tuple[Key, ...]:
        """The objects of our kinds whose changes concern this one. A kind with references overrides it."""
        return ()


def to_body(model: Model) -> Body:
    """`model` as JSON for the API server: absent and empty things are left out."""
    return cast("Body", _without_empty_lists(model.model_dump(mode="json", by_alias=True, exclude_none=True)))


def _without_empty_lists(value: Any) -> Any:
    # An empty object says something (`exactly_one_of`); an empty list means the same as none and would show as drift.
    if isinstance(value, dict):
        return {name: _without_empty_lists(each) for name, each in value.items() if each != []}
    if isinstance(value, list):
        return [_without_empty_lists(each) for each in value]
    return value


def _explain(error: ValidationError) -> str:
    faults = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
    return "; ".join(faults)
