"""Deletion: finalizers, preconditions, and what becomes of children."""

from __future__ import annotations

import pytest

from pantograph.engine.kube import Conflict, Invalid, KubeApi, NotFound
from tests.contract.apiserver.waiting import gone, until
from tests.contract.apiserver.widget import WIDGETS, owned_by, widget

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
    await api.json_patch(
        WIDGETS,
        namespace,
        "a",
        [
            {"op": "test", "path": "/metadata/finalizers/0", "value": OURS},
            {"op": "remove", "path": "/metadata/finalizers/0"},
        ],
    )
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


async def test_children_go_once_their_owner_is_gone(api: KubeApi, namespace: str) -> None:
    owner = await api.create(WIDGETS, namespace, widget("owner", metadata={"finalizers": [OURS]}))
    child = await api.create(WIDGETS, namespace, widget("child", metadata=owned_by(owner)))
    await api.create(WIDGETS, namespace, widget("grandchild", metadata=owned_by(child)))
    await api.delete(WIDGETS, namespace, "owner")
    assert "deletionTimestamp" not in (await api.get(WIDGETS, namespace, "child"))["metadata"]
    await api.merge_patch(WIDGETS, namespace, "owner", {"metadata": {"finalizers": None}})
    await until(lambda: gone(api, WIDGETS, namespace, "child"))
    await until(lambda: gone(api, WIDGETS, namespace, "grandchild"))


async def test_a_finalizer_holds_a_child_that_is_collected(api: KubeApi, namespace: str) -> None:
    owner = await api.create(WIDGETS, namespace, widget("owner"))
    await api.create(WIDGETS, namespace, widget("child", metadata={**owned_by(owner), "finalizers": [OURS]}))
    await api.delete(WIDGETS, namespace, "owner")

    async def marked() -> bool:
        return "deletionTimestamp" in (await api.get(WIDGETS, namespace, "child"))["metadata"]

    await until(marked)
    await api.merge_patch(WIDGETS, namespace, "child", {"metadata": {"finalizers": None}})
    assert await gone(api, WIDGETS, namespace, "child")


async def test_a_child_of_two_owners_outlives_one_of_them(api: KubeApi, namespace: str) -> None:
    first = await api.create(WIDGETS, namespace, widget("first"))
    second = await api.create(WIDGETS, namespace, widget("second"))
    await api.create(WIDGETS, namespace, widget("child", metadata=owned_by(first, second)))
    await api.delete(WIDGETS, namespace, "first")

    async def struck() -> bool:
        child = await api.get(WIDGETS, namespace, "child")
        return bool(child["metadata"]["ownerReferences"] == owned_by(second)["ownerReferences"])

    await until(struck)
    await api.delete(WIDGETS, namespace, "second")
    await until(lambda: gone(api, WIDGETS, namespace, "child"))


async def test_a_child_of_an_owner_that_never_was_is_collected(api: KubeApi, namespace: str) -> None:
    never = widget("never", metadata={"uid": "00000000-0000-4000-8000-000000000000"})
    await api.create(WIDGETS, namespace, widget("child", metadata=owned_by(never)))
    await until(lambda: gone(api, WIDGETS, namespace, "child"))
