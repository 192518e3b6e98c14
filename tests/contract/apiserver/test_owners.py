"""Owners: what becomes of children when the object that made them is gone."""

from __future__ import annotations

from pantograph.engine.kube import KubeApi
from tests.contract.apiserver.waiting import gone, until
from tests.contract.apiserver.widget import WIDGETS, owned_by, widget

OURS = "contract.pantograph.dev/ours"


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
