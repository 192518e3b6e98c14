"""The suite's own kind: one field for each thing that a schema can do."""

from __future__ import annotations

from typing import Any, Final

from pantograph.api.meta import Body, ResourceType
from pantograph.engine.kube import KubeApi

WIDGETS: Final = ResourceType("contract.pantograph.dev", "v1", "widgets", "Widget")
UNSERVED: Final = ResourceType("contract.pantograph.dev", "v1", "gadgets", "Gadget")

_TEXT = {"type": "string", "maxLength": 8}
_SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 100},
        "mode": {"type": "string", "enum": ["Fast", "Slow"], "default": "Fast"},
        "code": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 8},
        "nested": {
            "type": "object",
            "properties": {"a": _TEXT, "b": _TEXT, "depth": {"type": "integer", "default": 3}},
        },
        "bare": {"type": "object", "properties": {"a": _TEXT, "b": _TEXT}},
        "marks": {"type": "object", "additionalProperties": _TEXT, "maxProperties": 4},
        "steps": {"type": "array", "items": _TEXT, "maxItems": 4},
        "members": {"type": "array", "items": _TEXT, "maxItems": 4, "x-kubernetes-list-type": "set"},
        "parts": {
            "type": "array",
            "maxItems": 4,
            "items": {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "colour": _TEXT}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        "born": {
            "type": "object",
            "required": ["place"],
            "properties": {"place": _TEXT, "weight": _TEXT},
            "x-kubernetes-validations": [{"rule": "self.place == oldSelf.place", "message": "place is immutable"}],
        },
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "note": {"type": "string", "maxLength": 8, "nullable": True},
        "left": {"type": "object", "properties": {"a": _TEXT}},
        "right": {"type": "object", "properties": {"a": _TEXT}},
    },
    "not": {"required": ["left", "right"]},
}
_STATUS: dict[str, Any] = {
    "type": "object",
    "default": {"observedGeneration": -1},
    "properties": {
        "observedGeneration": {"type": "integer"},
        "phase": {"type": "string", "enum": ["Begun", "Done"]},
        "conditions": {
            "type": "array",
            "maxItems": 8,
            "items": {"type": "object", "required": ["type"], "properties": {"type": _TEXT, "status": _TEXT}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    },
}
CRD: Final[dict[str, Any]] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{WIDGETS.plural}.{WIDGETS.group}"},
    "spec": {
        "group": WIDGETS.group,
        "scope": "Namespaced",
        "names": {"plural": WIDGETS.plural, "singular": "widget", "kind": WIDGETS.kind, "listKind": "WidgetList"},
        "versions": [
            {
                "name": WIDGETS.version,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": _SPEC, "status": _STATUS}}},
            }
        ],
    },
}


def widget(name: str = "a", *, size: int = 1, metadata: dict[str, Any] | None = None, **spec: Any) -> Body:
    """A valid Widget, with `metadata` and `spec` added."""
    return {
        "apiVersion": WIDGETS.api_version,
        "kind": WIDGETS.kind,
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"size": size, **spec},
    }


async def settled(api: KubeApi, namespace: str, body: Body) -> Body:
    """Create `body`, and let its first write pass, which stores the default status and is always a change."""
    made = await api.create(WIDGETS, namespace, body)
    return await api.merge_patch(WIDGETS, namespace, made["metadata"]["name"], {})


def owned_by(*owners: Body) -> dict[str, Any]:
    """Metadata that makes an object the child of `owners`."""
    return {
        "ownerReferences": [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
            }
            for owner in owners
        ]
    }
