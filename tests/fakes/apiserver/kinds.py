"""Which kinds the server serves, and by which rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pantograph.api.meta import CONFIG_MAPS, EVENTS, JOBS, LEASES, PODS, SECRETS, ResourceType
from tests.fakes.apiserver.schema import Schema


@dataclass(frozen=True, slots=True)
class Kind:
    """A served kind. Built-in kinds have no schema here: their bodies are taken as they come."""

    resource: ResourceType
    schema: Schema | None = None
    has_status: bool = False
    """Whether `status` is a subresource: the main verbs ignore it, and `/status` ignores the rest."""
    counts_generations: bool = False
    needs_version_to_replace: bool = False
    """Whether a PUT without metadata.resourceVersion is refused."""
    put_creates: bool = False
    shape: Schema = field(default_factory=dict)
    """How lists merge in server-side apply: the schema's `x-kubernetes-list-type`s, and those of metadata."""


_METADATA_SHAPE = {
    "properties": {
        "finalizers": {"x-kubernetes-list-type": "set"},
        "ownerReferences": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]},
    }
}

BUILT_IN = (
    Kind(SECRETS, shape={"properties": {"metadata": _METADATA_SHAPE}}),
    Kind(CONFIG_MAPS, shape={"properties": {"metadata": _METADATA_SHAPE}}),
    Kind(EVENTS, put_creates=True, shape={"properties": {"metadata": _METADATA_SHAPE}}),
    Kind(JOBS, has_status=True, counts_generations=True, shape={"properties": {"metadata": _METADATA_SHAPE}}),
    Kind(PODS, has_status=True, shape={"properties": {"metadata": _METADATA_SHAPE}}),
    Kind(LEASES, needs_version_to_replace=True, put_creates=True, shape={"properties": {"metadata": _METADATA_SHAPE}}),
)


def kinds_of(crd: Mapping[str, Any]) -> list[Kind]:
    """The kinds that a CustomResourceDefinition makes the server serve: one for each served version."""
    spec = crd["spec"]
    names = spec["names"]
    kinds = []
    for version in spec["versions"]:
        if not version.get("served", True):
            continue
        schema = version["schema"]["openAPIV3Schema"]
        resource = ResourceType(spec["group"], version["name"], names["plural"], names["kind"])
        kinds.append(
            Kind(
                resource,
                schema=schema,
                has_status="status" in version.get("subresources", {}),
                counts_generations=True,
                needs_version_to_replace=True,
                shape={"properties": {**schema.get("properties", {}), "metadata": _METADATA_SHAPE}},
            )
        )
    return kinds
