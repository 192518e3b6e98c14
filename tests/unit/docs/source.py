"""What the documents must say, read from the code itself: every reason with its behaviour, every field of a kind."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pantograph.api import crd
from pantograph.controllers import faults
from pantograph.controllers.operations import underway
from pantograph.controllers.templatereplica.follower import _TASK_TYPES
from pantograph.controllers.vmtemplate.image import FETCH
from pantograph.depot import errors as depot
from pantograph.engine import kube
from pantograph.engine.errors import Terminal
from pantograph.providers import errors as provider
from pantograph.providers.proxmox.errors import _RULES

CHECKOUT = Path(__file__).parents[3]
CODE = CHECKOUT / "operator" / "pantograph"
KINDS = ("proxmoxcluster", "vmtemplate", "templatereplica")
_STEP_ERRORS = {"SecretNotFound": 0, "Waiting": 0, "Transient": 0, "Terminal": 0}
_OTHER_CALLS = {"unknown": 1, "_rule": 2}
"""Functions of ours that take a reason, and as which positional argument."""


@cache
def reasons() -> Mapping[str, set[str]]:
    """Every reason in the code, and the kinds whose controllers give it; `common`: any of them, or all."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in _operator_code():
        owner = _owner(path.relative_to(CODE))
        for reason in _reasons_in(_parsed(path)):
            found[reason].add(owner)
    for operation in _TASK_TYPES:
        found[underway(operation)].add("templatereplica")
    found[underway(FETCH)].add("vmtemplate")
    for error in _subclasses(kube.KubeError):
        if error not in (kube.Conflict, kube.OutcomeUnknown):  # these two never end in a condition: it is read again
            found[f"API{error.__name__}"].add("common")
    return found


@cache
def stalled_reasons() -> set[str]:
    """Every reason that a `Stalled` condition can give."""
    calls = (
        reason
        for path in _operator_code()
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Call)
        for reason in _stalling(node)
    )
    return {*calls} | {rule.reason for rule in _RULES if _stalls(rule.fault("x", reason=rule.reason))} | {
        error.reason for error in _subclasses(depot.DepotError) if not error.transient
    }  # fmt: skip


@cache
def fields(kind: crd.Kind) -> dict[str, Mapping[str, Any]]:
    """Every field below spec and status by its path, such as `spec.placements[].name`, with its schema."""
    properties = openapi(kind)["properties"]
    return {path: field for part in ("spec", "status") for path, field in _below(part, properties[part])}


@cache
def openapi(kind: crd.Kind) -> Mapping[str, Any]:
    """The schema that the API server is given for a kind."""
    schema: Mapping[str, Any] = crd.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _below(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if schema.get("type") == "array":
        yield from _below(f"{path}[]", schema["items"])
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from _below(f"{path}.{name}", field)


def _operator_code() -> list[Path]:
    """The code behind the kinds that the operator serves: what the STRM engine says, no object's condition says yet."""
    apart = (
        *("strm", "providers/media", "providers/notify"),
        *("controllers/dataserver", "controllers/strmsyncjob", "controllers/mediaservers", "controllers/runs"),
    )
    return sorted(path for path in CODE.rglob("*.py") if not path.relative_to(CODE).as_posix().startswith(apart))


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _owner(path: Path) -> str:
    if path.parts[0] != "controllers":
        return "common"
    name = path.parts[1].removesuffix(".py")
    return name if name in KINDS else "common"


def _reasons_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            position = {**_STEP_ERRORS, **_OTHER_CALLS}.get(_name(node.func))
            if position is not None and len(node.args) > position:
                yield from _text(node.args[position])
            for keyword in node.keywords:
                if keyword.arg == "reason":
                    yield from _text(keyword.value)
        elif isinstance(node, ast.ClassDef):
            for each in node.body:
                if (
                    isinstance(each, ast.Assign | ast.AnnAssign)
                    and each.value is not None
                    and _assigned(each) == "reason"
                ):
                    yield from _text(each.value)
        elif isinstance(node, ast.FunctionDef):
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                if argument.arg == "reason" and default is not None:
                    yield from _text(default)
        elif isinstance(node, ast.Assign) and _assigned(node) == "retrying":
            yield from _text(node.value)


def _stalling(node: ast.Call) -> Iterator[str]:
    """The reason of a call that makes an error for which `Stalled` is set."""
    name = _name(node.func)
    if name == "Terminal" and node.args:
        yield from _text(node.args[0])
    fault = getattr(provider, name, None)
    if inspect.isclass(fault) and issubclass(fault, provider.ProviderError) and _stalls(fault("x")):
        named = [reason for keyword in node.keywords if keyword.arg == "reason" for reason in _text(keyword.value)]
        yield from named or [fault.reason]


def _stalls(error: Exception) -> bool:
    return isinstance(faults.step_error(error), Terminal)


def _assigned(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else ""


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _text(node: ast.expr) -> Iterator[str]:
    """The constant, and both of `"A" if … else "B"`."""
    for each in (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value:
            yield each.value


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for each in base.__subclasses__():
        yield each
        yield from _subclasses(each)
