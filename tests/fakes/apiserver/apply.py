"""Server-side apply, as far as a forced apply shows: what is sent is set, what was sent before and no longer is goes.

Ownership is kept per applying manager and field. A field that somebody else has changed since is no longer the
manager's, so dropping it from the next apply leaves it alone. Other managers' plain writes own nothing here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from pantograph.api.meta import Body
from tests.fakes.apiserver.schema import ROOT_FIELDS, Schema, is_a
from tests.fakes.apiserver.values import copied

_ABSENT: Any = object()


class Item(NamedTuple):
    """One step of a path into a list: the values of its map keys, or the item of a set."""

    identity: tuple[tuple[str, Hashable], ...] | Hashable


Path = tuple[str | Item, ...]
Fields = frozenset[Path]
UNOWNED: Fields = frozenset(
    {("apiVersion",), ("kind",), *(("metadata", name) for name in ("name", "namespace", "uid", "resourceVersion"))}
)
"""What an apply must send and does not own."""


def fields(value: Any, shape: Schema, path: Path = ()) -> Iterator[Path]:
    """The paths of all leaves of `value`; a list without a list type is a leaf."""
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from fields(child, _child(shape, name), (*path, name))
        return
    if isinstance(value, list) and shape.get("x-kubernetes-list-type") in ("map", "set"):
        for entry in value:
            yield from fields(entry, shape.get("items", {}), (*path, _item(entry, shape)))
        return
    yield path


def mistyped(config: Any, schema: Schema, path: str = "") -> str | None:
    """The first field of `config` that the schema does not declare or has another type for, as the server names it."""
    if isinstance(config, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, value in config.items():
            if not path and name in ROOT_FIELDS:
                continue
            child = known.get(name, others)
            if child is None and not schema.get("x-kubernetes-preserve-unknown-fields"):
                return f"{path}.{name}: field not declared in schema"
            if isinstance(child, Mapping) and (fault := mistyped(value, child, f"{path}.{name}")):
                return fault
        return None
    wanted = schema.get("type")
    if wanted == "array" and isinstance(config, list):
        faults = (mistyped(item, schema.get("items", {}), f"{path}[{index}]") for index, item in enumerate(config))
        return next((fault for fault in faults if fault), None)
    if config is None or wanted is None or is_a(config, wanted):
        return None
    return f"{path}: expected {wanted}, got {type(config).__name__}"


def reapplied(live: Body, config: Body, shape: Schema, *, dropped: Fields) -> Body:
    """`live` with all that `config` names and without the `dropped` fields; `live` stays as it is."""
    result = applied(live, config, shape)
    for path in sorted(dropped, key=len, reverse=True):
        result = without(result, path, shape)
    return dict(result)


def applied(live: Any, config: Any, shape: Schema) -> Any:
    """`live` with everything that `config` names; `live` stays as it is."""
    if isinstance(config, dict) and isinstance(live, dict):
        result = dict(live)
        for name, value in config.items():
            result[name] = applied(live.get(name, _ABSENT), value, _child(shape, name))
        return result
    if isinstance(config, list) and isinstance(live, list) and shape.get("x-kubernetes-list-type") in ("map", "set"):
        entries = {_item(entry, shape): entry for entry in live}
        for entry in config:
            key = _item(entry, shape)
            entries[key] = applied(entries.get(key, _ABSENT), entry, shape.get("items", {}))
        return list(entries.values())
    return copied(config)


def without(value: Any, path: Path, shape: Schema) -> Any:
    """`value` without the leaf at `path` and without what that leaves empty; `value` stays as it is."""
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        if not isinstance(value, dict) or step not in value:
            return value
        inner = without(value[step], rest, _child(shape, step)) if rest else None
        remaining = {name: child for name, child in value.items() if name != step}
        return remaining if inner in (None, {}, []) else {**value, step: inner}
    if not isinstance(value, list):
        return value
    keys = shape.get("x-kubernetes-list-map-keys", ())
    entries = []
    for entry in value:
        if _item(entry, shape) != step:
            entries.append(entry)
            continue
        left = without(entry, rest, shape.get("items", {})) if rest else {}
        if set(left) - set(keys):
            entries.append({key: entry[key] for key in keys if key in entry} | left)
    return entries


def unchanged(owned: Fields, old: Body, new: Body, shape: Schema) -> Fields:
    """Those of the `owned` paths whose value is the same in both bodies."""
    return frozenset(path for path in owned if _at(old, path, shape) == _at(new, path, shape))


def _at(value: Any, path: Path, shape: Schema) -> Any:
    for step in path:
        if isinstance(step, str):
            value = value.get(step, _ABSENT) if isinstance(value, Mapping) else _ABSENT
            shape = _child(shape, step)
        else:
            entries = value if isinstance(value, list) else ()
            value = next((entry for entry in entries if _item(entry, shape) == step), _ABSENT)
            shape = shape.get("items", {})
        if value is _ABSENT:
            return _ABSENT
    return value


def _child(shape: Schema, name: str) -> Schema:
    child = shape.get("properties", {}).get(name, shape.get("additionalProperties"))
    return child if isinstance(child, Mapping) else {}


def _item(entry: Any, shape: Schema) -> Item:
    if shape.get("x-kubernetes-list-type") == "map":
        return Item(tuple((key, entry.get(key)) for key in shape["x-kubernetes-list-map-keys"]))
    return Item(entry)
