"""What every kind shares: its resource type, the bounds of names, references, and the base of all models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP: Final = "pantograph.dev"
VERSION: Final = "v1alpha1"
FINALIZER: Final = f"{GROUP}/finalizer"
RECONCILE_AT: Final = f"{GROUP}/reconcile-at"
"""Annotation: a token; each new value asks for one reconcile now."""
FORCE_RELEASE: Final = f"{GROUP}/force-release"
"""Annotation: `"true"` drops the finalizer of an object under deletion and leaves what is outside."""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """How the API server names a kind of object."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


SECRETS: Final = ResourceType("", "v1", "secrets", "Secret")
CONFIG_MAPS: Final = ResourceType("", "v1", "configmaps", "ConfigMap")
EVENTS: Final = ResourceType("", "v1", "events", "Event")
LEASES: Final = ResourceType("coordination.k8s.io", "v1", "leases", "Lease")
JOBS: Final = ResourceType("batch", "v1", "jobs", "Job")
PODS: Final = ResourceType("", "v1", "pods", "Pod")
TOKEN_REVIEWS: Final = ResourceType("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)


class Key(NamedTuple):
    """Which object: what the queue holds and the cache is asked for."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class CelRule:
    """One `x-kubernetes-validations` entry."""

    rule: str
    message: str
    field_path: str | None = None
    reason: str | None = None
    optional_old_self: bool = False


class Model(BaseModel):
    """A piece of the API: camelCase outside, unknown fields ignored (a newer CRD may have more of them)."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=False,
        defer_build=True,  # a run of one job needs the models of two kinds, not of all
    )

    cel: ClassVar[tuple[CelRule, ...]] = ()
    """Rules that the API server checks on this node, in order."""


Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""An object's name (DNS subdomain)."""
Namespace = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A namespace (DNS label)."""
NamespaceOrAll = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")]
"""A namespace, or `*` for all."""
Duration = Annotated[str, Field(max_length=32, pattern=r"^([0-9]+(ms|s|m|h))+$")]
"""A duration such as `30s`, `10m` or `1h30m`."""
Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$")]
"""An amount of bytes such as `512Mi` or `32Gi`."""


class ObjectReference(Model):
    """Refers to another object of this API; another namespace must be allowed by its `allowedNamespaces`."""

    name: Name
    namespace: Namespace | None = None
    """The namespace of the object; absent: this object's own."""

    def key(self, kind: str, namespace: str) -> Key:
        """The object referred to, from an object in `namespace`."""
        return Key(kind, self.namespace or namespace, self.name)


class LocalReference(Model):
    """Refers to an object in the same namespace."""

    name: Name


Body = dict[str, Any]
"""An object as the API server's JSON."""


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
