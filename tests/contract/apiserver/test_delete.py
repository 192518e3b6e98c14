"""Deletion: finalizers and preconditions."""

from __future__ import annotations

import pytest

from pantograph.engine.kube import Conflict, Invalid, KubeApi, NotFound
from tests.contract.apiserver.waiting import gone
from tests.contract.apiserver.widget import WIDGETS, widget

OURS = "contract.pantograph.dev/ours"
THEIRS = "contract.pantograph.dev/theirs"


async def test_without_finalizers_it_is_gone_at_once_and_its_successor_is_another(api: KubeApi, namespace: str) -> None:
    first = await api.create(WIDGETS, namespace, widget("a"))
    await api.delete(WIDGETS, namespace, "a")
    with pytest.raises(NotFound):
        await api.get(WIDGETS, namespace, "a")
    with pytest.raises(NotFound):
        await api.delete(WIDGETS, namespace, "a")
    second = await api.create(WIDGETS, namespace, widget("a"))
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_finalizers_hold_it_until_the_last_is_removed(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a", metadata={"finalizers": [OURS, THEIRS]}))
    await api.delete(WIDGETS, namespace, "a")
    marked = await api.get(WIDGETS, namespace, "a")
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert marked["metadata"]["generation"] == 2
    await api.delete(WIDGETS, namespace, "a")
    assert await api.get(WIDGETS, namespace, "a") == marked
    held = await api.merge_patch(WIDGETS, namespace, "a", {"metadata": {"finalizers": [OURS]}})
    assert held["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    last = await api.json_patch(
        WIDGETS,
        namespace,
        "a",
        [
            {"op": "test", "path": "/metadata/finalizers/0", "value": OURS},
            {"op": "remove", "path": "/metadata/finalizers/0"},
        ],
    )
    assert "finalizers" not in last["metadata"]
    assert last["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
    with pytest.raises(NotFound):
        await api.get(WIDGETS, namespace, "a")


async def test_no_finalizer_can_be_added_once_deletion_began_but_the_rest_can_change(
    api: KubeApi, namespace: str
) -> None:
    await api.create(WIDGETS, namespace, widget("a", metadata={"finalizers": [THEIRS]}))
    await api.delete(WIDGETS, namespace, "a")
    with pytest.raises(Invalid, match=r"metadata\.finalizers: Forbidden") as refused:
        await api.merge_patch(WIDGETS, namespace, "a", {"metadata": {"finalizers": [THEIRS, OURS]}})
    assert refused.value.code == 422
    changed = await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": 2}})
    assert (changed["spec"]["size"], changed["metadata"]["generation"]) == (2, 3)
    told = await api.merge_patch(WIDGETS, namespace, "a", {"status": {"phase": "Done"}}, subresource="status")
    assert told["status"]["phase"] == "Done"


async def test_deletion_cannot_be_undone_or_begun_by_a_patch(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a", metadata={"finalizers": [OURS]}))
    await api.delete(WIDGETS, namespace, "a")
    marked = await api.get(WIDGETS, namespace, "a")
    assert await api.merge_patch(WIDGETS, namespace, "a", {"metadata": {"deletionTimestamp": None}}) == marked


async def test_a_failed_precondition_deletes_nothing(api: KubeApi, namespace: str) -> None:
    made = await api.create(WIDGETS, namespace, widget("a"))
    newer = await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": 2}})
    with pytest.raises(Conflict) as refused:
        await api.delete(WIDGETS, namespace, "a", uid="00000000-0000-4000-8000-000000000000")
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    with pytest.raises(Conflict):
        await api.delete(WIDGETS, namespace, "a", resource_version=made["metadata"]["resourceVersion"])
    assert await api.get(WIDGETS, namespace, "a") == newer
    metadata = newer["metadata"]
    await api.delete(WIDGETS, namespace, "a", uid=metadata["uid"], resource_version=metadata["resourceVersion"])
    assert await gone(api, WIDGETS, namespace, "a")
