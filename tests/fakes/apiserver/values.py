"""JSON values as the server handles them: copied at its door, patched without touching what is stored.

Stored bodies are never changed in place, so a patch may share every part that it leaves alone.
"""

from __future__ import annotations

import json
from typing import Any

import jsonpatch
import jsonpointer

from pantograph.api.meta import Body
from pantograph.engine.kube import Invalid

_CONTAINERS = (dict, list)


def copied(value: Any) -> Any:
    """A deep copy of a JSON value; several times quicker than `copy.deepcopy`."""
    if type(value) is dict:
        return {key: copied(item) if type(item) in _CONTAINERS else item for key, item in value.items()}
    if type(value) is list:
        return [copied(item) if type(item) in _CONTAINERS else item for item in value]
    return value


def received(value: Any) -> Any:
    """What arrives of `value` at the other end of a wire: tuples become lists; what is not JSON is a TypeError."""
    return json.loads(json.dumps(value))


def merged(target: Any, patch: Any) -> Any:
    """The JSON merge patch (RFC 7386) of `target`, which stays as it is; the result may share parts of both."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def patched(target: Body, patch: Any) -> Any:
    """The JSON patch (RFC 6902) of `target`, which stays as it is.

    Raises Invalid if a `test` fails, a path is missing, or it is no JSON patch.
    """
    try:
        return jsonpatch.apply_patch(target, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise Invalid(message, code=422, reason="Invalid") from error
