"""Creating and reading one object."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any

import pytest

from pantograph.engine.kube import Conflict, Forbidden, Invalid, KubeApi, KubeError, NotFound
from tests.contract.apiserver.conftest import Subject
from tests.contract.apiserver.waiting import until
from tests.contract.apiserver.widget import UNSERVED, WIDGETS, widget


async def test_a_created_object_has_an_identity(api: KubeApi, namespace: str) -> None:
    made = await api.create(WIDGETS, namespace, widget("a", metadata={"labels": {"k": "v"}}))
    metadata = made["metadata"]
    assert (made["apiVersion"], made["kind"]) == ("contract.pantograph.dev/v1", "Widget")
    assert (metadata["name"], metadata["namespace"], metadata["labels"]) == ("a", namespace, {"k": "v"})
    assert metadata["uid"]
    assert int(metadata["resourceVersion"]) > 0
    assert metadata["generation"] == 1
    assert datetime.strptime(metadata["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")
    assert "managedFields" not in metadata
    assert made == await api.get(WIDGETS, namespace, "a")


async def test_what_the_caller_sent_is_not_touched(api: KubeApi, namespace: str) -> None:
    sent = widget("a", marks={"x": "1"})
    made = await api.create(WIDGETS, namespace, sent)
    made["spec"]["marks"]["x"] = "changed"
    assert sent == widget("a", marks={"x": "1"})
    assert (await api.get(WIDGETS, namespace, "a"))["spec"]["marks"] == {"x": "1"}


async def test_what_only_the_server_sets_is_ignored_on_create(api: KubeApi, namespace: str) -> None:
    own = {"uid": "mine", "generation": 7, "creationTimestamp": "2001-01-01T00:00:00Z"}
    made = await api.create(WIDGETS, namespace, widget("a", metadata=own))
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["generation"] == 1
    assert not made["metadata"]["creationTimestamp"].startswith("2001")


async def test_a_new_object_has_the_default_status_whatever_was_sent(api: KubeApi, namespace: str) -> None:
    made = await api.create(WIDGETS, namespace, {**widget("a"), "status": {"phase": "Done", "observedGeneration": 5}})
    assert made["status"] == {"observedGeneration": -1}
    assert (await api.get(WIDGETS, namespace, "a"))["status"] == {"observedGeneration": -1}


async def test_defaults_are_filled_where_their_parent_is(api: KubeApi, namespace: str) -> None:
    plain = await api.create(WIDGETS, namespace, widget("a"))
    assert plain["spec"] == {"size": 1, "mode": "Fast"}
    nested = await api.create(WIDGETS, namespace, widget("b", nested={"a": "x"}))
    assert nested["spec"]["nested"] == {"a": "x", "depth": 3}


async def test_unknown_fields_are_pruned_and_free_ones_kept(api: KubeApi, namespace: str) -> None:
    made = await api.create(
        WIDGETS,
        namespace,
        widget("a", unknown=1, nested={"c": 1}, parts=[{"name": "x", "d": 1}], free={"any": {"k": 1}}),
    )
    assert made["spec"] == {
        "size": 1,
        "mode": "Fast",
        "nested": {"depth": 3},
        "parts": [{"name": "x"}],
        "free": {"any": {"k": 1}},
    }


async def test_null_goes_unless_the_field_may_be_null(api: KubeApi, namespace: str) -> None:
    made = await api.create(WIDGETS, namespace, widget("a", code=None, mode=None, note=None))
    assert made["spec"] == {"size": 1, "mode": "Fast", "note": None}


async def test_empty_metadata_is_not_kept(api: KubeApi, namespace: str) -> None:
    empty: dict[str, Any] = {"labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": []}
    made = await api.create(WIDGETS, namespace, widget("a", metadata=empty))
    assert made["metadata"].keys().isdisjoint(empty)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"size": None}, "spec.size"),
        ({"size": "1"}, "spec.size"),
        ({"size": 1.5}, "spec.size"),
        ({"size": True}, "spec.size"),
        ({"size": 0}, "spec.size"),
        ({"size": 101}, "spec.size"),
        ({"mode": "Odd"}, "spec.mode"),
        ({"code": "UPPER"}, "spec.code"),
        ({"code": "x"}, "spec.code"),
        ({"code": "muchtoolong"}, "spec.code"),
        ({"nested": "text"}, "spec.nested"),
        ({"nested": {"a": "muchtoolong"}}, "spec.nested.a"),
        ({"marks": {"x": 1}}, "spec.marks.x"),
        ({"marks": {str(index): "x" for index in range(5)}}, "spec.marks"),
        ({"steps": ["x"] * 5}, "spec.steps"),
        ({"steps": ["x", 1]}, "spec.steps[1]"),
        ({"members": ["x", "x"]}, "spec.members[1]"),
        ({"parts": [{"colour": "red"}]}, "spec.parts[0].name"),
        ({"parts": [{"name": "x"}, {"name": "x"}]}, "spec.parts[1]"),
        ({"port": 1.5}, "spec.port"),
        ({"left": {}, "right": {}}, '"spec" must not validate the schema (not)'),
    ],
)
async def test_a_body_that_breaks_the_schema_is_refused_by_field(
    api: KubeApi, namespace: str, spec: dict[str, Any], told: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await api.create(WIDGETS, namespace, widget("a", **spec))
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    assert f"{told}: " in f"{refused.value}: "
    with pytest.raises(NotFound):
        await api.get(WIDGETS, namespace, "a")


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"name": "Upper"}, "metadata.name"),
        ({"name": "a" * 254}, "metadata.name"),
        ({"labels": {"k": "a" * 64}}, "metadata.labels"),
        ({"labels": {"k": "with space"}}, "metadata.labels"),
        ({"labels": {"-k": "v"}}, "metadata.labels"),
        ({"labels": {"a/b/c": "v"}}, "metadata.labels"),
        ({"annotations": {"with space": "v"}}, "metadata.annotations"),
        ({"annotations": {"k": "v" * 262_144}}, "metadata.annotations"),
        ({"finalizers": ["-"]}, "metadata.finalizers"),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": ""}]},
            "metadata.ownerReferences",
        ),
    ],
)
async def test_malformed_metadata_is_refused_by_field(
    api: KubeApi, namespace: str, metadata: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await api.create(WIDGETS, namespace, widget("a", metadata=metadata))
    assert refused.value.code == 422
    assert field in str(refused.value)


async def test_an_existing_name_cannot_be_created_again(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a"))
    with pytest.raises(Conflict) as refused:
        await api.create(WIDGETS, namespace, widget("a"))
    assert (refused.value.code, refused.value.reason) == (409, "AlreadyExists")


async def test_a_generated_name_is_its_own(api: KubeApi, namespace: str) -> None:
    body = {**widget(), "metadata": {"generateName": "a-"}}
    names = {(await api.create(WIDGETS, namespace, body))["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("a-") and len(name) == 7 for name in names)


async def test_an_object_needs_a_name(api: KubeApi, namespace: str) -> None:
    with pytest.raises(Invalid, match=r"metadata\.name"):
        await api.create(WIDGETS, namespace, {**widget(), "metadata": {}})


async def test_a_resource_version_cannot_be_chosen(api: KubeApi, namespace: str) -> None:
    with pytest.raises(KubeError, match="resourceVersion should not be set"):
        await api.create(WIDGETS, namespace, widget("a", metadata={"resourceVersion": "1"}))


async def test_a_body_of_another_namespace_or_kind_is_refused(api: KubeApi, namespace: str) -> None:
    for other, code in (
        (widget("a", metadata={"namespace": "elsewhere"}), 400),
        ({**widget("a"), "apiVersion": "other.pantograph.dev/v1"}, 400),
        ({**widget("a"), "kind": "Gadget"}, 422),
    ):
        with pytest.raises(Invalid) as refused:
            await api.create(WIDGETS, namespace, other)
        assert refused.value.code == code


async def test_a_namespace_that_is_being_deleted_takes_nothing_new_and_says_so_in_words(
    subject: Subject, namespace: str
) -> None:
    held = widget("held", metadata={"finalizers": ["contract.pantograph.dev/f"]})
    await subject.api.create(WIDGETS, namespace, held)
    await subject.end_namespace(namespace)
    words, numbers = [], count(1)

    async def refused() -> bool:
        try:
            await subject.api.create(WIDGETS, namespace, widget(f"late-{next(numbers)}"))
        except Forbidden as error:
            words.append((str(error), error.code, error.reason))
        return bool(words)

    await until(refused)
    (said, *rest) = words[0]
    assert f"unable to create new content in namespace {namespace} because it is being terminated" in said
    assert rest == [403, "Forbidden"]


async def test_what_is_not_there_is_not_found(api: KubeApi, namespace: str) -> None:
    with pytest.raises(NotFound) as missing:
        await api.get(WIDGETS, namespace, "absent")
    assert (missing.value.code, missing.value.reason) == (404, "NotFound")
    with pytest.raises(NotFound):
        await api.create(UNSERVED, namespace, {"metadata": {"name": "a"}})
    with pytest.raises(NotFound):
        await api.list(UNSERVED)


async def test_the_server_says_which_kinds_it_serves(api: KubeApi) -> None:
    assert await api.served(WIDGETS)
    assert not await api.served(UNSERVED)
