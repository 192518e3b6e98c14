"""The server's refusals, with the codes, reasons and words of the real one."""

from __future__ import annotations

from collections.abc import Sequence

from pantograph.api.meta import ResourceType
from pantograph.engine.kube import Conflict, Forbidden, Invalid, NotFound, OutcomeUnknown


def plural(resource: ResourceType) -> str:
    """How messages name a kind: `widgets.contract.pantograph.dev`."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def bad_request(message: str) -> Invalid:
    return Invalid(message, code=400, reason="BadRequest")


def invalid(resource: ResourceType, name: str, faults: Sequence[str]) -> Invalid:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    told = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
    return Invalid(f'{kind} "{name}" is invalid: {told}', code=422, reason="Invalid")


def immutable(resource: ResourceType, name: str, field: str, value: object) -> Invalid:
    return invalid(resource, name, [f'{field}: Invalid value: "{value}": field is immutable'])


def failed(message: str) -> OutcomeUnknown:
    """A 500, with which the real server answers some faults of its callers; a client cannot know what it did."""
    return OutcomeUnknown(message, code=500)


def unknown_kind() -> NotFound:
    return NotFound("the server could not find the requested resource", code=404, reason="NotFound")


def not_found(resource: ResourceType, name: str) -> NotFound:
    return NotFound(f'{plural(resource)} "{name}" not found', code=404, reason="NotFound")


def already_exists(resource: ResourceType, name: str) -> Conflict:
    return Conflict(f'{plural(resource)} "{name}" already exists', code=409, reason="AlreadyExists")


def modified(resource: ResourceType, name: str) -> Conflict:
    return _conflict(
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def not_there(resource: ResourceType, name: str, *, uid: str) -> Conflict:
    why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
    return _conflict(resource, name, why)


def other_uid(resource: ResourceType, name: str, *, asked: str, found: str) -> Conflict:
    return _conflict(resource, name, f"Precondition failed: UID in precondition: {asked}, UID in object meta: {found}")


def _conflict(resource: ResourceType, name: str, why: str) -> Conflict:
    message = f'Operation cannot be fulfilled on {plural(resource)} "{name}": {why}'
    return Conflict(message, code=409, reason="Conflict")


def terminating(resource: ResourceType, name: str, namespace: str) -> Forbidden:
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    return Forbidden(
        f'{plural(resource)} "{name}" is forbidden: {why}',
        code=403,
        reason="Forbidden",
    )
