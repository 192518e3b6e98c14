"""Listing: complete, at one version, filtered by labels."""

from __future__ import annotations

import pytest

from pantograph.api.meta import SECRETS, ResourceType
from pantograph.engine.kube import Invalid, KubeApi, NotFound
from tests.contract.apiserver.widget import UNSERVED, WIDGETS, widget


async def names(api: KubeApi, namespace: str, labels: str | None = None, resource: ResourceType = WIDGETS) -> list[str]:
    listing = await api.list(resource, namespace=namespace, labels=labels)
    return [item["metadata"]["name"] for item in listing.items]


async def test_a_list_has_every_object_in_the_order_of_names(api: KubeApi, namespace: str) -> None:
    made = {name: await api.create(WIDGETS, namespace, widget(name)) for name in ("c", "a", "b")}
    await api.delete(WIDGETS, namespace, "b")
    listing = await api.list(WIDGETS, namespace=namespace)
    assert list(listing.items) == [made["a"], made["c"]]
    assert int(listing.resource_version) > int(made["b"]["metadata"]["resourceVersion"])


async def test_a_list_longer_than_a_page_is_complete(api: KubeApi, namespace: str) -> None:
    expected = sorted(f"w{index}" for index in range(520))
    for name in expected:
        await api.create(WIDGETS, namespace, widget(name))
    assert await names(api, namespace) == expected


@pytest.mark.parametrize("metadata_only", [False, True])
async def test_a_list_of_nothing_is_empty(api: KubeApi, namespace: str, metadata_only: bool) -> None:
    listing = await api.list(WIDGETS, namespace=namespace, metadata_only=metadata_only)
    assert list(listing.items) == []
    assert int(listing.resource_version) > 0


async def test_a_list_without_a_namespace_has_all_namespaces(
    api: KubeApi, namespace: str, other_namespace: str
) -> None:
    await api.create(WIDGETS, namespace, widget("a"))
    await api.create(WIDGETS, other_namespace, widget("a"))
    places = {item["metadata"]["namespace"] for item in (await api.list(WIDGETS)).items}
    assert {namespace, other_namespace} <= places
    assert len((await api.list(WIDGETS, namespace=namespace)).items) == 1


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("tier=web", ["a", "b"]),
        ("tier==web,size=s", ["a"]),
        ("tier!=web", ["c", "d"]),
        ("tier", ["a", "b", "c"]),
        ("!tier", ["d"]),
        ("tier in (web,db),size notin (s)", ["b", "c"]),
        ("a.b/c-d=x_y.z", ["d"]),
        ("tier=none", []),
    ],
)
async def test_labels_select(api: KubeApi, namespace: str, labels: str, expected: list[str]) -> None:
    for name, own in {
        "a": {"tier": "web", "size": "s"},
        "b": {"tier": "web"},
        "c": {"tier": "db", "size": "m"},
        "d": {"a.b/c-d": "x_y.z"},
    }.items():
        await api.create(WIDGETS, namespace, widget(name, metadata={"labels": own}))
    assert await names(api, namespace, labels) == expected


async def test_a_malformed_selector_is_refused(api: KubeApi, namespace: str) -> None:
    with pytest.raises(Invalid):
        await api.list(WIDGETS, namespace=namespace, labels="a in b")


async def test_a_metadata_only_list_has_metadata_only(api: KubeApi, namespace: str) -> None:
    made = await api.create(WIDGETS, namespace, widget("a", metadata={"labels": {"k": "v"}}))
    listing = await api.list(WIDGETS, namespace=namespace, metadata_only=True)
    assert [item["metadata"] for item in listing.items] == [made["metadata"]]
    assert all(item.keys() <= {"apiVersion", "kind", "metadata"} for item in listing.items)


async def test_items_name_their_kind(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a"))
    await api.create(SECRETS, namespace, {"metadata": {"name": "a"}})
    for resource in (WIDGETS, SECRETS):
        item = (await api.list(resource, namespace=namespace)).items[0]
        assert (item["apiVersion"], item["kind"]) == (resource.api_version, resource.kind)


async def test_a_kind_that_is_not_served_cannot_be_listed(api: KubeApi, namespace: str) -> None:
    with pytest.raises(NotFound):
        await api.list(UNSERVED, namespace=namespace)
