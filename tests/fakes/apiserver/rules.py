"""How a request's body becomes a stored one: whose it says it is, what it may change, what the server fills in."""

from __future__ import annotations

from typing import Any

from pantograph.api.meta import Body
from tests.fakes.apiserver import metadata, refusals, schema
from tests.fakes.apiserver.kinds import Kind


def addressed(kind: Kind, body: Any, namespace: str, name: str | None) -> Body:
    """`body` with its kind, namespace and name filled in, its metadata a copy; Invalid if it says it is another's."""
    if not isinstance(body, dict) or not isinstance(body.get("metadata", {}), dict):
        raise refusals.bad_request("the body of the request is not an object")
    own = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
    if body.get("apiVersion", own["apiVersion"]) != own["apiVersion"]:
        raise refusals.bad_request(
            f"the API version in the data ({body['apiVersion']}) does not match "
            f"the expected API version ({own['apiVersion']})"
        )
    if body.get("kind", own["kind"]) != own["kind"]:
        fault = f'kind: Invalid value: "{body["kind"]}": must be {own["kind"]}'
        raise refusals.invalid(kind.resource, name or "", [fault])
    place = dict(body.get("metadata", {}))
    if place.setdefault("namespace", namespace) != namespace:
        raise refusals.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if name is not None and place.setdefault("name", name) != name:
        raise refusals.bad_request(
            f"the name of the object ({place['name']}) does not match the name on the URL ({name})"
        )
    return {**body, **own, "metadata": place}


def refuse_new_identity(kind: Kind, old: Body, asked: Body) -> None:
    """Raises Invalid if a patch would change the uid, or begin a deletion."""
    found, wanted = old["metadata"], asked["metadata"]
    if wanted.get("uid", found["uid"]) != found["uid"]:
        raise refusals.immutable(kind.resource, found["name"], "metadata.uid", wanted["uid"])
    if wanted.get("deletionTimestamp") and "deletionTimestamp" not in found:
        field = "metadata.deletionTimestamp"
        raise refusals.immutable(kind.resource, found["name"], field, wanted["deletionTimestamp"])


def first(kind: Kind, body: Body) -> Body:
    """A new object's body: no status yet, nothing that only the server sets."""
    fresh = {field: value for field, value in body.items() if not (kind.has_status and field == "status")}
    fresh["metadata"] = {field: value for field, value in body["metadata"].items() if field not in metadata.SERVERS_OWN}
    return fresh


def combined(kind: Kind, old: Body, new: Body, *, of_status: bool) -> Body:
    """What a request may change: `/status` that alone, the main verbs all else but what only the server sets."""
    if of_status:
        return _with_status_of(new, old)
    kept = {field: value for field, value in old["metadata"].items() if field in metadata.SERVERS_OWN}
    asked = {field: value for field, value in new["metadata"].items() if field not in metadata.SERVERS_OWN}
    result = _with_status_of(old, new) if kind.has_status else dict(new)
    result["metadata"] = asked | kept
    return result


def _with_status_of(source: Body, body: Body) -> Body:
    result = {field: value for field, value in body.items() if field != "status"}
    if "status" in source:
        result["status"] = source["status"]
    return result


def prepared(kind: Kind, body: Body, *, old: Body | None = None) -> Body:
    """As it is stored: without unknown and empty fields, with defaults. The metadata is a copy.

    A part that is the very one of `old` is taken as it is: it was prepared and judged before, and most writes leave
    the larger part of an object alone.
    """
    body = {**body, "metadata": metadata.cleaned(body["metadata"])}
    if kind.schema is None:
        return body
    kept = _same_parts(body, old)
    return schema.prepared({field: body[field] for field in body if field not in kept}, kind.schema) | kept


def refuse_faults(kind: Kind, body: Body, *, old: Body | None = None) -> None:
    """Raises Invalid with every fault of metadata and schema, in those parts that are not the very ones of `old`."""
    faults = list(metadata.faults(body["metadata"]))
    if kind.schema is not None:
        own = {field: value for field, value in body.items() if field not in schema.ROOT_FIELDS}
        judged: dict[str, schema.Schema] = {field: {} for field in _same_parts(body, old)}
        properties = {**kind.schema.get("properties", {}), **judged}
        faults += schema.faults(own, {**kind.schema, "properties": properties})
        faults += schema.frozen_faults(own, old, kind.schema)
    if faults:
        raise refusals.invalid(kind.resource, body["metadata"]["name"], faults)


def _same_parts(body: Body, old: Body | None) -> Body:
    if old is None:
        return {}
    return {field: value for field, value in body.items() if field != "metadata" and old.get(field) is value}


def is_other_generation(kind: Kind, old: Body, new: Body) -> bool:
    """Whether anything differs besides metadata and status."""
    ignored = ("metadata", "status") if kind.has_status else ("metadata",)
    names = (old.keys() | new.keys()) - set(ignored)
    return any(old.get(name) != new.get(name) for name in names)
