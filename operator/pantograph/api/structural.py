"""From a model to a structural schema: what pydantic emits, rewritten to what the API server takes, and linted.

The API server refuses references, unions and untyped nodes, and prices CEL rules by the bounds it is given. Everything
that it would refuse, or that GitOps tools would see as drift, is found here with the path of the field.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from itertools import pairwise
from textwrap import dedent
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from pantograph.api.markers import IMMUTABLE, INT_OR_STRING, LIST_MAP_KEYS, LIST_TYPE
from pantograph.api.meta import CelRule, Model

VALIDATIONS: Final = "x-kubernetes-validations"
Node = dict[str, Any]

_NOISE: Final = {"title", "examples", "readOnly", "writeOnly", "deprecated"}
_KNOWN: Final = {
    *("type", "description", "default", "enum", "format", "pattern", "required", "properties", "items"),
    *("additionalProperties", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *(LIST_TYPE, LIST_MAP_KEYS, VALIDATIONS, INT_OR_STRING),
}
_REMEDIES: Final = {
    "anyOf": "a union: make the alternatives optional fields with exactly_one_of(...), or mark it IntOrString()",
    "oneOf": "a union: make the alternatives optional fields with exactly_one_of(...)",
    "allOf": "an intersection: write one model",
    "prefixItems": "a tuple: make it a model with named fields",
    "patternProperties": "a map with patterns for keys: use a list of models with ListMap(...)",
    "propertyNames": "a map with a type for keys: use plain str keys and a CEL rule",
}


class SchemaError(ValueError):
    """A model that the API server would refuse: one line for each fault, with the path of its field."""


def structural(model: type[Model], *, path: str, defaults: bool = True) -> Node:
    """The schema of `model`, whose fields are called `path`... in errors; without defaults if they are not wanted.

    Raises SchemaError.
    """
    raw = model.model_json_schema(schema_generator=_JsonSchema)
    node = _Rewriter(raw.pop("$defs", {}), defaults=defaults).node(raw, path, frozenset())
    faults = list(_lint(node, path, in_list=False, correlated=True))
    if faults:
        raise SchemaError("\n".join(faults))
    return node


def validation(rule: CelRule) -> Node:
    """`rule` as an entry of `x-kubernetes-validations`."""
    entry: Node = {"rule": rule.rule, "message": rule.message}
    if rule.field_path is not None:
        entry["fieldPath"] = rule.field_path
    if rule.reason is not None:
        entry["reason"] = rule.reason
    if rule.optional_old_self:
        entry["optionalOldSelf"] = True
    return entry


class _JsonSchema(GenerateJsonSchema):
    """pydantic's own, with each model's CEL rules on its node, and docstrings on its fields; a base's come first."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Node:
        node = super().model_schema(schema)
        lineage = [cls for cls in reversed(schema["cls"].__mro__) if issubclass(cls, Model)]
        rules = [rule for cls in lineage for rule in vars(cls).get("cel", ())]
        if rules:
            node[VALIDATIONS] = [validation(rule) for rule in rules]
        for cls in lineage:
            for name, text in _field_docstrings(cls).items():
                field = schema["cls"].model_fields.get(name)
                if field is not None:
                    node["properties"][field.alias or name]["description"] = text
        return node


def _field_docstrings(cls: type[Model]) -> dict[str, str]:
    """The text below each field that `cls` itself declares.

    Not `use_attribute_docstrings` of pydantic, which reads the source of every model in every process that has one.
    """
    try:
        declared = ast.parse(dedent(inspect.getsource(cls))).body[0]
    except OSError:
        return {}  # made by a program, not written
    assert isinstance(declared, ast.ClassDef), "the source of a class"
    found = {}
    for field, text in pairwise(declared.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                found[name] = inspect.cleandoc(docstring)
    return found


class _Rewriter:
    """Inlines references, takes `X | None` as optional X, and puts what has another name in OpenAPI under that name."""

    def __init__(self, definitions: Mapping[str, Node], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def node(self, raw: Node, path: str, within: frozenset[str]) -> Node:
        schema, within = self._inline(raw, path, within)
        node = {keyword: value for keyword, value in schema.items() if keyword not in _NOISE}
        if node.get("default") is None or not self._defaults:
            node.pop("default", None)
        if "description" in node:
            node["description"] = _paragraphs(node["description"])
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if node.pop("uniqueItems", False):
            node[LIST_TYPE] = "set"
        if node.get("format") == "binary":
            node["format"] = "byte"
        _bounds_as_flags(node)
        return self._children(node, path, within)

    def _inline(self, schema: Node, path: str, within: frozenset[str]) -> tuple[Node, frozenset[str]]:
        while True:
            if "$ref" in schema:
                name = schema["$ref"].rpartition("/")[2]
                if name in within:
                    raise SchemaError(f"{path}: {name} contains itself, and a structural schema has no references")
                within |= {name}
                schema = _merge(self._definitions[name], _without(schema, "$ref"))
                continue
            options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
            if len(options) != 1:
                return schema, within
            schema = _merge(options[0], _without(schema, "anyOf"))

    def _children(self, node: Node, path: str, within: frozenset[str]) -> Node:
        if "properties" in node:
            node.pop("additionalProperties", None)  # pruning and strict validation do what it would say
            node["properties"] = {
                name: self.node(child, f"{path}.{name}", within) for name, child in node["properties"].items()
            }
            _freeze(node)
        if "required" in node:
            node["required"] = sorted(node["required"])
        if isinstance(node.get("additionalProperties"), dict):
            node["additionalProperties"] = self.node(node["additionalProperties"], f"{path}{{}}", within)
        if isinstance(node.get("items"), dict):
            node["items"] = self.node(node["items"], f"{path}[]", within)
        return node


def _freeze(parent: Node) -> None:
    """Turn the Immutable marks of `parent`'s fields into rules.

    A rule on a field sees changes only: its coming and going is seen by a rule on the parent.
    """
    for name, child in parent["properties"].items():
        mark = child.pop(IMMUTABLE, None)
        if mark is None:
            continue
        message = mark or f"{name} cannot be changed"
        _add_rule(child, CelRule("self == oldSelf", message))
        if name not in parent.get("required", ()) and "default" not in child:
            message = mark or f"{name} cannot be added or removed"
            _add_rule(parent, CelRule(f"has(self.{name}) == has(oldSelf.{name})", message))


def _add_rule(node: Node, rule: CelRule) -> None:
    node[VALIDATIONS] = [*node.get(VALIDATIONS, ()), validation(rule)]


def _merge(inner: Node, outer: Node) -> Node:
    """`inner` with what stands beside a reference to it, which is closer to the field and wins; rules add up."""
    rules = [*inner.get(VALIDATIONS, ()), *outer.get(VALIDATIONS, ())]
    return {**inner, **outer, **({VALIDATIONS: rules} if rules else {})}


def _without(schema: Node, keyword: str) -> Node:
    return {each: value for each, value in schema.items() if each != keyword}


def _bounds_as_flags(node: Node) -> None:
    # OpenAPI 3.0 says `exclusiveMinimum: true` beside `minimum`, JSON schema gives it the number.
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in node:
            node[bound] = node[exclusive]
            node[exclusive] = True


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _lint(node: Node, path: str, *, in_list: bool, correlated: bool) -> Iterator[str]:
    """Every fault at or below `path`. `correlated`: the API server finds this node's old value, so rules may ask it."""
    for keyword in sorted(node.keys() - _KNOWN):
        yield f"{path}: {_REMEDIES.get(keyword, f'the API server does not take the keyword {keyword}')}"
    yield from _lint_default(node, path, in_list=in_list)
    if not correlated and any("oldSelf" in rule["rule"] for rule in node.get(VALIDATIONS, ())):
        yield f"{path}: a rule about oldSelf below a list whose items have no key: mark the list ListMap(...)"
    if "pattern" in node and "(?" in node["pattern"].replace("(?:", ""):
        yield f"{path}: a pattern with look-around, which RE2 does not have: write it without, or as a CEL rule"
    yield from _lint_bounds(node, path)
    for name, child in node.get("properties", {}).items():
        yield from _lint(child, f"{path}.{name}", in_list=in_list, correlated=correlated)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _lint(node["additionalProperties"], f"{path}{{}}", in_list=in_list, correlated=correlated)
    if isinstance(node.get("items"), dict):
        yield from _lint_list(node, path)
        keyed = correlated and node.get(LIST_TYPE) == "map"
        yield from _lint(node["items"], f"{path}[]", in_list=True, correlated=keyed)


def _lint_default(node: Node, path: str, *, in_list: bool) -> Iterator[str]:
    if "default" not in node:
        return
    if in_list:
        yield (
            f"{path}: a default inside a list, which GitOps tools show as drift: "
            "make the field optional and give its absence a meaning in code"
        )
    if isinstance(node["default"], dict | list):
        yield f"{path}: a default that is an object or a list: use default_factory, which is not published"


def _lint_bounds(node: Node, path: str) -> Iterator[str]:
    if node.get(INT_OR_STRING) or node.keys() - _KNOWN:
        return  # a union, a tuple or a foreign keyword has been named already; its bounds mean nothing
    match node.get("type"):
        case "string":
            if "maxLength" not in node and "enum" not in node and node.get("format") not in ("date", "date-time"):
                yield f"{path}: a string without maxLength: add Field(max_length=...), or list its values as Literal"
        case "array":
            if "maxItems" not in node:
                yield f"{path}: a list without maxItems: add Field(max_length=...)"
            if "items" not in node:
                yield f"{path}: a list whose items have no type: write list[...]"
        case "object":
            if "additionalProperties" in node and "maxProperties" not in node:
                yield f"{path}: a map without maxProperties: add Field(max_length=...)"
            if "properties" not in node and not isinstance(node.get("additionalProperties"), dict):
                yield f"{path}: an object without fields: write a model, or dict[str, ...] with the type of its values"
        case "number":
            yield f"{path}: a floating point number, which clients round differently: use an integer or a Quantity"
        case "integer" | "boolean":
            pass
        case _:
            yield f"{path}: a field without a type: the API server needs one at every node"


def _lint_list(node: Node, path: str) -> Iterator[str]:
    items, kind = node["items"], node.get(LIST_TYPE)
    scalar = items.get("type") not in ("object", "array")
    if not scalar and kind is None:
        yield f'{path}: a list of objects that does not say how it is merged: mark it ListMap("<key>") or Atomic()'
    if not scalar and kind == "set":
        yield f'{path}: a set of objects: mark it ListMap("<key>") instead of ListSet()'
    if kind != "map":
        return
    for key in node[LIST_MAP_KEYS]:
        if key not in items.get("properties", {}):
            yield f"{path}: ListMap({key!r}) names no field of the items"
        elif key not in items.get("required", ()):
            yield f"{path}[].{key}: a key of ListMap must be required"
        elif items["properties"][key].get("type") in ("object", "array"):
            yield f"{path}[].{key}: a key of ListMap must be a scalar"
