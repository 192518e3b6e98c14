"""An object without what is reported of it: its metadata and its spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from pydantic import Field, ValidationError

from pantograph.api.markers import at_least
from pantograph.api.meta import CelRule, Duration, Model
from pantograph.api.units import Timestamp, parse_duration


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


SpecT = TypeVar("SpecT", bound=CommonSpec)


class InvalidObject(ValueError):
    """An object whose spec this operator cannot read: the message names the fields and what is wrong with them."""


class Declaration(Model, Generic[SpecT]):
    """An object as a file declares it: who reads no more than that needs no model of a status."""

    metadata: ObjectMeta
    spec: SpecT

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Raises InvalidObject if it cannot be read."""
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise InvalidObject(explain(error)) from error


def explain(error: ValidationError) -> str:
    """Which fields cannot be read, and why."""
    faults = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
    return "; ".join(faults)
