"""Patching and replacing: what changes, what does not, and who may."""

from __future__ import annotations

from typing import Any

import pytest

from pantograph.api.meta import Body
from pantograph.engine.kube import Conflict, Invalid, KubeApi, NotFound
from tests.contract.apiserver.widget import WIDGETS, settled, widget


def version(body: Body) -> int:
    return int(body["metadata"]["resourceVersion"])


async def test_versions_rise_and_generations_count_changes_of_spec_only(api: KubeApi, namespace: str) -> None:
    bodies = [
        await api.create(WIDGETS, namespace, widget("a")),
        await api.merge_patch(WIDGETS, namespace, "a", {"metadata": {"labels": {"k": "v"}}}),
        await api.merge_patch(WIDGETS, namespace, "a", {"metadata": {"annotations": {"k": "v"}}}),
        await api.merge_patch(WIDGETS, namespace, "a", {"metadata": {"finalizers": ["contract.pantograph.dev/f"]}}),
        await api.merge_patch(WIDGETS, namespace, "a", {"status": {"phase": "Done"}}, subresource="status"),
        await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": 2}}),
    ]
    assert [body["metadata"]["generation"] for body in bodies] == [1, 1, 1, 1, 1, 2]
    versions = [version(body) for body in bodies]
    assert versions == sorted(set(versions))
    assert len({body["metadata"]["uid"] for body in bodies}) == 1


async def test_a_field_that_a_rule_freezes_can_be_set_and_taken_away_but_not_changed(
    api: KubeApi, namespace: str
) -> None:
    await api.create(WIDGETS, namespace, widget("a"))
    for born in ({"place": "x"}, {"place": "x", "weight": "1"}):
        await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"born": born}})
    with pytest.raises(Invalid, match="place is immutable"):
        await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"born": {"place": "y"}}})
    await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"born": None}})
    changed = await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"born": {"place": "y"}}})
    assert changed["spec"]["born"] == {"place": "y"}


async def test_a_merge_patch_removes_by_null_and_replaces_lists_whole(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a", marks={"x": "1", "y": "2"}, parts=[{"name": "p"}, {"name": "q"}]))
    patch = {"spec": {"marks": {"x": None}, "parts": [{"name": "r"}]}}
    changed = await api.merge_patch(WIDGETS, namespace, "a", patch)
    assert changed["spec"] == {"size": 1, "mode": "Fast", "marks": {"y": "2"}, "parts": [{"name": "r"}]}
    assert changed == await api.get(WIDGETS, namespace, "a")


@pytest.mark.parametrize(
    "patch", [{}, {"spec": {"size": 1}}, {"spec": {"unknown": 1}}, {"metadata": {"generation": 9}}]
)
async def test_a_patch_that_changes_nothing_keeps_the_version(
    api: KubeApi, namespace: str, patch: dict[str, Any]
) -> None:
    made = await settled(api, namespace, widget("a"))
    assert await api.merge_patch(WIDGETS, namespace, "a", patch) == made
    assert await api.get(WIDGETS, namespace, "a") == made


async def test_the_first_write_after_the_creation_stores_the_default_status(api: KubeApi, namespace: str) -> None:
    made = await api.create(WIDGETS, namespace, widget("a"))
    first = await api.merge_patch(WIDGETS, namespace, "a", {})
    assert version(first) > version(made)
    first["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    assert first == made


async def test_the_main_verbs_ignore_status(api: KubeApi, namespace: str) -> None:
    made = await settled(api, namespace, widget("a"))
    assert await api.merge_patch(WIDGETS, namespace, "a", {"status": {"phase": "Done"}}) == made
    assert await api.json_patch(WIDGETS, namespace, "a", [{"op": "remove", "path": "/status"}]) == made
    assert await api.replace(WIDGETS, namespace, "a", {**made, "status": {"phase": "Done"}}) == made


async def test_the_status_subresource_ignores_everything_else(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a"))
    patch = {
        "metadata": {"labels": {"k": "v"}, "annotations": {"k": "v"}, "finalizers": ["contract.pantograph.dev/f"]},
        "spec": {"size": 9},
        "status": {"phase": "Done"},
    }
    changed = await api.merge_patch(WIDGETS, namespace, "a", patch, subresource="status")
    assert changed["status"] == {"phase": "Done", "observedGeneration": -1}
    assert changed["spec"] == {"size": 1, "mode": "Fast"}
    assert changed["metadata"].keys().isdisjoint({"labels", "annotations", "finalizers"})


async def test_conditions_are_replaced_whole_and_a_removed_status_gets_its_default(
    api: KubeApi, namespace: str
) -> None:
    await api.create(WIDGETS, namespace, widget("a"))
    status: dict[str, Any] = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}
    await api.merge_patch(WIDGETS, namespace, "a", {"status": status}, subresource="status")
    patch = {"status": {"conditions": [{"type": "Stalled", "status": "True"}]}}
    changed = await api.merge_patch(WIDGETS, namespace, "a", patch, subresource="status")
    assert changed["status"] == {"observedGeneration": 1, "conditions": [{"type": "Stalled", "status": "True"}]}
    cleared = await api.merge_patch(WIDGETS, namespace, "a", {"status": None}, subresource="status")
    assert cleared["status"] == {"observedGeneration": -1}


async def test_a_status_that_breaks_the_schema_is_refused(api: KubeApi, namespace: str) -> None:
    made = await settled(api, namespace, widget("a"))
    with pytest.raises(Invalid, match=r"status\.phase"):
        await api.merge_patch(WIDGETS, namespace, "a", {"status": {"phase": "Odd"}}, subresource="status")
    pruned = await api.merge_patch(WIDGETS, namespace, "a", {"status": {"unknown": 1}}, subresource="status")
    assert pruned == made


@pytest.mark.parametrize("subresource", [None, "status"])
@pytest.mark.parametrize("status", [{"phase": "Done"}, {}])
async def test_a_stale_version_is_a_conflict_even_if_nothing_would_change(
    api: KubeApi, namespace: str, subresource: Any, status: dict[str, Any]
) -> None:
    stale = await api.create(WIDGETS, namespace, widget("a"))
    newer = await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": 2}})
    patch = {"metadata": {"resourceVersion": stale["metadata"]["resourceVersion"]}, "status": status}
    with pytest.raises(Conflict) as refused:
        await api.merge_patch(WIDGETS, namespace, "a", patch, subresource=subresource)
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    assert await api.get(WIDGETS, namespace, "a") == newer
    patch["metadata"]["resourceVersion"] = newer["metadata"]["resourceVersion"]
    await api.merge_patch(WIDGETS, namespace, "a", patch, subresource=subresource)


async def test_a_json_patch_is_done_whole_or_not_at_all(api: KubeApi, namespace: str) -> None:
    made = await api.create(WIDGETS, namespace, widget("a", steps=["x", "y"]))
    for failing in (
        {"op": "test", "path": "/spec/size", "value": 7},
        {"op": "test", "path": "/status/phase", "value": "Done"},
        {"op": "remove", "path": "/spec/code"},
        {"op": "add", "path": "/spec/nested/a", "value": "x"},
    ):
        with pytest.raises(Invalid) as refused:
            await api.json_patch(
                WIDGETS, namespace, "a", [{"op": "replace", "path": "/spec/size", "value": 2}, failing]
            )
        assert refused.value.code == 422
    assert await api.get(WIDGETS, namespace, "a") == made
    changed = await api.json_patch(
        WIDGETS,
        namespace,
        "a",
        [
            {"op": "test", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/spec/size", "value": 2},
            {"op": "add", "path": "/spec/steps/-", "value": "z"},
            {"op": "add", "path": "/metadata/labels", "value": {"a/b": "1"}},
        ],
    )
    assert (changed["spec"]["size"], changed["spec"]["steps"]) == (2, ["x", "y", "z"])
    gone = await api.json_patch(WIDGETS, namespace, "a", [{"op": "remove", "path": "/metadata/labels/a~1b"}])
    assert "labels" not in gone["metadata"]


async def test_a_json_patch_of_status_can_test_what_it_replaces(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a"))
    await api.merge_patch(WIDGETS, namespace, "a", {"status": {"phase": "Begun"}}, subresource="status")
    steps = [
        {"op": "test", "path": "/status/phase", "value": "Begun"},
        {"op": "replace", "path": "/status/phase", "value": "Done"},
    ]
    changed = await api.json_patch(WIDGETS, namespace, "a", steps, subresource="status")
    assert changed["status"]["phase"] == "Done"
    with pytest.raises(Invalid):
        await api.json_patch(WIDGETS, namespace, "a", steps, subresource="status")


async def test_a_malformed_json_patch_is_refused(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a"))
    with pytest.raises(Invalid):
        await api.json_patch(WIDGETS, namespace, "a", [{"op": "invent", "path": "/spec/size", "value": 1}])


async def test_identity_cannot_be_patched(api: KubeApi, namespace: str) -> None:
    made = await settled(api, namespace, widget("a"))
    for metadata, code in (
        ({"uid": "another"}, 422),
        ({"deletionTimestamp": "2001-01-01T00:00:00Z"}, 422),
        ({"name": "b"}, 400),
        ({"namespace": "elsewhere"}, 400),
    ):
        with pytest.raises(Invalid) as refused:
            await api.merge_patch(WIDGETS, namespace, "a", {"metadata": metadata})
        assert refused.value.code == code
    then = {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}}
    assert await api.merge_patch(WIDGETS, namespace, "a", then) == made


async def test_a_missing_object_cannot_be_changed(api: KubeApi, namespace: str) -> None:
    with pytest.raises(NotFound):
        await api.merge_patch(WIDGETS, namespace, "absent", {"spec": {"size": 2}})
    with pytest.raises(NotFound):
        await api.json_patch(WIDGETS, namespace, "absent", [{"op": "remove", "path": "/spec/size"}])
    with pytest.raises(NotFound):
        await api.merge_patch(WIDGETS, namespace, "absent", {"status": {"phase": "Done"}}, subresource="status")
    with pytest.raises(NotFound):
        await api.replace(WIDGETS, namespace, "absent", widget("absent", metadata={"resourceVersion": "1"}))


async def test_a_patch_that_breaks_the_schema_changes_nothing(api: KubeApi, namespace: str) -> None:
    made = await api.create(WIDGETS, namespace, widget("a"))
    with pytest.raises(Invalid, match=r"spec\.size"):
        await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": None}})
    assert await api.get(WIDGETS, namespace, "a") == made


async def test_a_replacement_needs_the_present_version_and_leaves_nothing_of_the_old(
    api: KubeApi, namespace: str
) -> None:
    made = await api.create(WIDGETS, namespace, widget("a", code="ab", metadata={"labels": {"k": "v"}}))
    with pytest.raises(Invalid, match=r"metadata\.resourceVersion"):
        await api.replace(WIDGETS, namespace, "a", widget("a", size=2))
    present = {"resourceVersion": made["metadata"]["resourceVersion"]}
    put = await api.replace(WIDGETS, namespace, "a", widget("a", size=2, metadata=present))
    assert put["spec"] == {"size": 2, "mode": "Fast"}
    assert "labels" not in put["metadata"]
    assert put["metadata"]["uid"] == made["metadata"]["uid"]
    assert put["metadata"]["generation"] == 2
    with pytest.raises(Conflict):
        await api.replace(WIDGETS, namespace, "a", widget("a", size=3, metadata=present))
    assert await api.replace(WIDGETS, namespace, "a", put) == put
    with pytest.raises(Conflict):
        await api.replace(WIDGETS, namespace, "a", {**put, "metadata": {**put["metadata"], "uid": "another"}})
