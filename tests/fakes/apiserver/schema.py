"""The structural schema of a CRD version, as the server uses it: prune, default, validate.

Of CEL rules only those that freeze a field (`self.node == oldSelf.node`) are evaluated. Not evaluated: `format`, and
the bounds of metadata that a CRD may add.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.apiserver.values import copied

Schema = Mapping[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_COMBINATIONS = frozenset({"anyOf", "oneOf", "allOf", "not"})
ROOT_FIELDS = ("apiVersion", "kind", "metadata")


def prepared(body: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """`body` without what the schema does not know and with its defaults; apiVersion, kind and metadata as they are."""
    root = {name: body[name] for name in ROOT_FIELDS if name in body}
    rest = {name: value for name, value in body.items() if name not in ROOT_FIELDS}
    properties = {name: item for name, item in schema.get("properties", {}).items() if name not in ROOT_FIELDS}
    own: dict[str, Any] = _prepared(rest, {**schema, "properties": properties})
    return root | own


def _prepared(value: Any, schema: Schema) -> Any:
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_prepared(item, items) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties")
    result = {}
    for name, item in value.items():
        child = properties.get(name, others)
        if isinstance(child, Mapping):
            if item is not None or child.get("nullable"):
                result[name] = _prepared(item, child)
        elif child is True or schema.get("x-kubernetes-preserve-unknown-fields"):
            result[name] = item
    for name, child in properties.items():
        if name not in result and "default" in child:
            result[name] = _prepared(copied(child["default"]), child)
    return result


_FREEZES = re.compile(r"^self\.(\w+) == oldSelf\.\1$")


def frozen_faults(value: Any, old: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """Which frozen fields differ from those of `old`."""
    if value is old or not isinstance(value, dict) or not isinstance(old, dict):
        return
    for rule in schema.get("x-kubernetes-validations", ()):
        field = _FREEZES.match(rule["rule"])
        if field is not None and value.get(field[1]) != old.get(field[1]):
            yield f"{path}: Invalid value: {rule['message']}"
    for name, child in schema.get("properties", {}).items():
        if name in value and name in old:
            yield from frozen_faults(value[name], old[name], child, f"{path}.{name}".lstrip("."))


def faults(value: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """What is wrong with `value`, each as `path: fault`."""
    if value is None and schema.get("nullable"):
        return
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield f"{path}: Invalid value: must be an integer or a string"
        return
    wanted = schema.get("type")
    if wanted and not is_a(value, wanted):
        yield f"{path}: Invalid value: {type(value).__name__!r}: {path} in body must be of type {wanted}: {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(f'"{item}"' for item in schema["enum"])
        yield f"{path}: Unsupported value: {value!r}: supported values: {allowed}"
    if isinstance(value, str):
        yield from _string_faults(value, schema, path)
    elif isinstance(value, list):
        yield from _array_faults(value, schema, path)
    elif isinstance(value, dict):
        yield from _object_faults(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_faults(value, schema, path)
    if not _COMBINATIONS.isdisjoint(schema):
        yield from _combination_faults(value, schema, path)


def is_a(value: Any, wanted: str) -> bool:
    """Whether a value is of a schema's type."""
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[wanted])


def _string_faults(value: str, schema: Schema, path: str) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"{path}: Invalid value: {value!r}: should be at least {schema['minLength']} chars long"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{path}: Too long: may not be more than {schema['maxLength']} bytes"
    if "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield f"{path}: Invalid value: {value!r}: should match '{schema['pattern']}'"


def _number_faults(value: float, schema: Schema, path: str) -> Iterator[str]:
    minimum, maximum = schema.get("minimum"), schema.get("maximum")
    if minimum is not None and (value < minimum or (value == minimum and schema.get("exclusiveMinimum"))):
        yield f"{path}: Invalid value: {value!r}: should be greater than or equal to {minimum}"
    if maximum is not None and (value > maximum or (value == maximum and schema.get("exclusiveMaximum"))):
        yield f"{path}: Invalid value: {value!r}: should be less than or equal to {maximum}"
    if "multipleOf" in schema and value % schema["multipleOf"]:
        yield f"{path}: Invalid value: {value!r}: should be a multiple of {schema['multipleOf']}"


def _array_faults(value: list[Any], schema: Schema, path: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{path}: Invalid value: {len(value)}: should have at least {schema['minItems']} items"
    if len(value) > schema.get("maxItems", len(value)):
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxItems']} items"
    for index, item in enumerate(value):
        yield from faults(item, schema.get("items", {}), f"{path}[{index}]")
    seen: list[Any] = []
    keys = schema.get("x-kubernetes-list-map-keys", ())
    for index, item in enumerate(value):
        match schema.get("x-kubernetes-list-type"):
            case "map" if isinstance(item, dict):
                identity: Any = {key: item.get(key) for key in keys}
            case "set":
                identity = item
            case _:
                return
        if identity in seen:
            yield f"{path}[{index}]: Duplicate value: {identity!r}"
        seen.append(identity)


def _object_faults(value: dict[str, Any], schema: Schema, path: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties")
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_below(path, name)}: Required value"
    if len(value) > schema.get("maxProperties", len(value)):
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxProperties']} items"
    if len(value) < schema.get("minProperties", 0):
        yield f"{path}: Invalid value: {len(value)}: should have at least {schema['minProperties']} properties"
    for name, item in value.items():
        child = properties.get(name, others)
        if isinstance(child, Mapping):
            yield from faults(item, child, _below(path, name))


def _combination_faults(value: Any, schema: Schema, path: str) -> Iterator[str]:
    def fits(part: Schema) -> bool:
        return next(faults(value, part, path), None) is None

    if "anyOf" in schema and not any(fits(part) for part in schema["anyOf"]):
        yield f'<nil>: Invalid value: "": "{path}" must validate at least one schema (anyOf)'
    if "oneOf" in schema and sum(fits(part) for part in schema["oneOf"]) != 1:
        yield f'<nil>: Invalid value: "": "{path}" must validate one and only one schema (oneOf)'
    if "not" in schema and fits(schema["not"]):
        yield f'<nil>: Invalid value: "": "{path}" must not validate the schema (not)'
    for part in schema.get("allOf", ()):
        yield from faults(value, part, path)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
