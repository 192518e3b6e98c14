"""Our finalizer on an object: put there before anything is begun outside, taken away when nothing is left outside.

The list is changed by a JSON patch that first tests the resourceVersion, so another controller's finalizer is never
lost. The API server allows no new finalizer once deletion began.
"""

from __future__ import annotations

from pantograph.api.meta import FINALIZER, Body, ResourceType

from .kube import Conflict, Invalid, KubeApi


def held(body: Body) -> bool:
    return FINALIZER in (body["metadata"].get("finalizers") or ())


async def add(kube: KubeApi, resource: ResourceType, body: Body) -> Body:
    """The object with our finalizer. Raises Conflict if it is newer than `body`, or KubeError."""
    if body["metadata"].get("finalizers"):
        change: Body = {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}
    else:
        change = {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}
    return await _patch(kube, resource, body, change)


async def drop(kube: KubeApi, resource: ResourceType, body: Body) -> Body:
    """The object without our finalizer; of one under deletion this is the last that is seen of it."""
    at = body["metadata"]["finalizers"].index(FINALIZER)
    return await _patch(kube, resource, body, {"op": "remove", "path": f"/metadata/finalizers/{at}"})


async def _patch(kube: KubeApi, resource: ResourceType, body: Body, change: Body) -> Body:
    meta = body["metadata"]
    patch = [{"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}, change]
    try:
        return await kube.json_patch(resource, meta["namespace"], meta["name"], patch)
    except Invalid as refused:  # a failed test, or a refusal: only reading again tells
        fresh = await kube.get(resource, meta["namespace"], meta["name"])
        if fresh["metadata"]["resourceVersion"] == meta["resourceVersion"]:
            raise
        raise Conflict(f"{resource.kind} {meta['name']} is newer than what was read") from refused
