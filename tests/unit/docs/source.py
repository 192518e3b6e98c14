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
from pantograph.controllers.strmsyncjob.approvals import USED_UP
from pantograph.controllers.strmsyncjob.removing import FILES_KEPT, PURGE_FAILED
from pantograph.controllers.strmsyncjob.verdicts import NEEDS_A_PERSON, RUN_FAILED
from pantograph.controllers.templatereplica.follower import _TASK_TYPES
from pantograph.controllers.vmtemplate.image import FETCH
from pantograph.depot import errors as depot
from pantograph.engine import kube
from pantograph.engine.errors import Terminal
from pantograph.providers import errors as provider
from pantograph.providers.media.bucket import UPSTREAM_FAILED
from pantograph.providers.proxmox.errors import _RULES
from pantograph.strm import missing

CHECKOUT = Path(__file__).parents[3]
CODE = CHECKOUT / "operator" / "pantograph"
KINDS = ("proxmoxcluster", "vmtemplate", "templatereplica", "dataserver", "strmsyncjob")
_STEP_ERRORS = {"SecretNotFound": 0, "Waiting": 0, "Transient": 0, "Terminal": 0, "StrmError": 0, "_refusal": 0}
_OTHER_CALLS = {"unknown": 1, "_rule": 2, "refuse": 2}
"""Functions of ours that take a reason, and as which positional argument."""
_COMMAND_ONLY = frozenset({"NoWatch", "NotRewritable", "NothingToRestore", "RunUnknown"})
"""What `pantograph strm` says of actions that no controller orders."""
_BLOCKED = frozenset({"PruneBlocked", "RewriteLimit"})
"""Reasons of runs that wait for an approval."""
_ISSUES = {"Issue": 0, "_leave": 2}


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
    found[UPSTREAM_FAILED].add("common")
    found[underway("Run")].add("strmsyncjob")
    for reason in (FILES_KEPT, PURGE_FAILED, RUN_FAILED, USED_UP):
        found[reason].add("strmsyncjob")
    for error in _subclasses(kube.KubeError):
        if error not in (kube.Conflict, kube.OutcomeUnknown):  # these two never end in a condition: it is read again
            found[f"API{error.__name__}"].add("common")
    return {reason: kinds for reason, kinds in found.items() if reason not in _COMMAND_ONLY}


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
    } | NEEDS_A_PERSON | _BLOCKED  # fmt: skip


@cache
def comes_back() -> Mapping[tuple[str, str], set[str]]:
    """What the pages call the errors that are made by name, by kind and reason: `waits`, `retried` or both."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    words = {"Waiting": "waits", "Transient": "retried"}
    for path in _operator_code():
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.Call) and node.args and (word := words.get(_name(node.func))) is not None:
                for reason in _text(node.args[0]):
                    found[_owner(path.relative_to(CODE)), reason].add(word)
    return found


@cache
def sample_reasons() -> set[str]:
    """Every reason that a run can give for a single path, in `status.samples`."""
    gone = (missing.GONE, missing.EMPTIED, missing.DIRECTORY_GONE, missing.RECONFIGURED)
    return {f"Prune{reason}" for reason in gone} | {
        reason
        for path in sorted((CODE / "strm").rglob("*.py"))
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Call) and (position := _ISSUES.get(_name(node.func))) is not None
        for reason in _text(node.args[position])
    }


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
    """The code whose reasons can end in a condition; why somebody was not told is only in the message of one."""
    return sorted(path for path in CODE.rglob("*.py") if "notify" not in path.relative_to(CODE).parts)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _owner(path: Path) -> str:
    place = path.as_posix()
    if place.startswith(("strm/", "cli/strm", "controllers/runs/")):
        return "strmsyncjob"
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
        elif isinstance(node, ast.Assign):
            for name, value in _assignments(node):
                if name in ("retrying", ".reason"):
                    yield from _text(value)


def _stalling(node: ast.Call) -> Iterator[str]:
    """The reason of a call that makes an error for which `Stalled` is set."""
    name = _name(node.func)
    if name in ("Terminal", "_refusal") and node.args:
        yield from _text(node.args[0])
    fault = getattr(provider, name, None)
    if inspect.isclass(fault) and issubclass(fault, provider.ProviderError) and _stalls(fault("x")):
        named = [reason for keyword in node.keywords if keyword.arg == "reason" for reason in _text(keyword.value)]
        yield from named or [fault.reason]


def _stalls(error: Exception) -> bool:
    return isinstance(faults.step_error(error), Terminal)


def _assignments(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    """Names and values, also of `report.result, report.reason = "Failed", "RunLost"`; attributes as `.reason`."""
    target, value = node.targets[0], node.value
    pairs = [(target, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = list(zip(target.elts, value.elts, strict=True))
    for each, assigned in pairs:
        if isinstance(each, ast.Name | ast.Attribute):
            yield each.id if isinstance(each, ast.Name) else f".{each.attr}", assigned


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
