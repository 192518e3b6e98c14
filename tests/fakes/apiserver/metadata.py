"""What the server does with every object's metadata: keeps what is its own, refuses what is malformed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pantograph.api.meta import Body

SERVERS_OWN: Final = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
)
"""Fields that a client cannot set: on create they are made, on update they stay."""
_OTHERS: Final = ("name", "generateName", "namespace", "labels", "annotations", "ownerReferences", "finalizers")

_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"(?:(?P<prefix>[^/]+)/)?(?P<name>[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_SUBDOMAIN_HAS: Final = "lower case alphanumeric characters, '-' or '.'"
_LABEL_HAS: Final = "alphanumeric characters, '-', '_' or '.'"
_QUALIFIED_HAS: Final = f"name part must consist of {_LABEL_HAS}"
_ANNOTATIONS_LIMIT: Final = 256 * 1024


def cleaned(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the server would store it: only what it knows, and nothing empty."""
    return {name: metadata[name] for name in (*_OTHERS, *SERVERS_OWN) if metadata.get(name) not in (None, {}, [], "")}


def faults(metadata: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with an object's metadata, each as `path: fault`."""
    name = metadata["name"]
    if len(name) > 253 or _DNS_SUBDOMAIN.fullmatch(name) is None:
        yield f"metadata.name: Invalid value: {name!r}: a lowercase RFC 1123 subdomain must consist of {_SUBDOMAIN_HAS}"
    for key, value in metadata.get("labels", {}).items():
        if not _is_qualified(key):
            yield f"metadata.labels: Invalid value: {key!r}: {_QUALIFIED_HAS}"
        if not isinstance(value, str) or _LABEL_VALUE.fullmatch(value) is None:
            yield f"metadata.labels: Invalid value: {value!r}: a valid label must be at most 63 bytes of {_LABEL_HAS}"
    annotations = metadata.get("annotations", {})
    for key in annotations:
        if not _is_qualified(key.lower()):
            yield f"metadata.annotations: Invalid value: {key!r}: {_QUALIFIED_HAS}"
    if sum(len(key) + len(value) for key, value in annotations.items()) > _ANNOTATIONS_LIMIT:
        yield f"metadata.annotations: Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"
    for finalizer in metadata.get("finalizers", ()):
        if not _is_qualified(finalizer):
            yield f"metadata.finalizers: Invalid value: {finalizer!r}: {_QUALIFIED_HAS}"
    yield from _owner_faults(metadata.get("ownerReferences", ()))


def _owner_faults(owners: Any) -> Iterator[str]:
    for index, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield f'metadata.ownerReferences[{index}].{field}: Invalid value: "": must not be empty'
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        yield "metadata.ownerReferences: Invalid value: Only one reference can have Controller set to true"


def _is_qualified(key: str) -> bool:
    found = _QUALIFIED.fullmatch(key)
    if found is None:
        return False
    prefix = found["prefix"]
    return prefix is None or (len(prefix) <= 253 and _DNS_SUBDOMAIN.fullmatch(prefix) is not None)


def new_finalizers(old: Body, new: Body) -> list[str]:
    """The finalizers that `new` has and `old` lacks."""
    before = old["metadata"].get("finalizers", ())
    return [finalizer for finalizer in new["metadata"].get("finalizers", ()) if finalizer not in before]
