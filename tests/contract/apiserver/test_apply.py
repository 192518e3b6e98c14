"""Server-side apply: what is sent is set, what was sent and no longer is goes, what is others' stays."""

from __future__ import annotations

from typing import Any

import pytest

from pantograph.api.meta import Body
from pantograph.engine.kube import Conflict, Invalid, KubeApi, KubeError
from tests.contract.apiserver.widget import WIDGETS, settled, widget

OURS = "contract.pantograph.dev/ours"
THEIRS = "contract.pantograph.dev/theirs"


def config(metadata: dict[str, Any] | None = None, **spec: Any) -> Body:
    """What an applier sends: a Widget named `a` with only what it wants to own."""
    return {
        "apiVersion": WIDGETS.api_version,
        "kind": WIDGETS.kind,
        "metadata": {"name": "a", **(metadata or {})},
        "spec": spec,
    }


async def test_apply_creates_what_is_absent(api: KubeApi, namespace: str) -> None:
    made = await api.apply(WIDGETS, namespace, "a", {**config(size=1), "status": {"phase": "Done"}})
    assert made["metadata"]["generation"] == 1
    assert (made["spec"], made["status"]) == ({"size": 1, "mode": "Fast"}, {"observedGeneration": -1})
    assert "managedFields" not in made["metadata"]


async def test_applying_the_same_again_keeps_the_version(api: KubeApi, namespace: str) -> None:
    await settled(api, namespace, widget("a"))
    made = await api.apply(WIDGETS, namespace, "a", config({"labels": {"k": "v"}}, size=1, parts=[{"name": "p"}]))
    again = await api.apply(WIDGETS, namespace, "a", config({"labels": {"k": "v"}}, size=1, parts=[{"name": "p"}]))
    assert again == made


async def test_what_is_no_longer_sent_goes_and_what_others_wrote_stays(api: KubeApi, namespace: str) -> None:
    await api.apply(
        WIDGETS, namespace, "a", config({"labels": {"k": "v", "l": "v"}}, size=1, code="ab", marks={"x": "1"})
    )
    theirs = {"metadata": {"labels": {"theirs": "1"}}, "spec": {"marks": {"y": "2"}}}
    await api.merge_patch(WIDGETS, namespace, "a", theirs)
    changed = await api.apply(WIDGETS, namespace, "a", config({"labels": {"l": "v"}}, size=2))
    assert changed["metadata"]["labels"] == {"l": "v", "theirs": "1"}
    assert changed["spec"] == {"size": 2, "mode": "Fast", "marks": {"y": "2"}}
    assert changed["metadata"]["generation"] == 3


async def test_a_dropped_field_with_a_default_takes_the_default(api: KubeApi, namespace: str) -> None:
    await api.apply(WIDGETS, namespace, "a", config(size=1, mode="Slow"))
    assert (await api.apply(WIDGETS, namespace, "a", config(size=1)))["spec"]["mode"] == "Fast"


async def test_a_required_field_cannot_be_dropped(api: KubeApi, namespace: str) -> None:
    made = await api.apply(WIDGETS, namespace, "a", config(size=1))
    with pytest.raises(Invalid, match=r"spec\.size: Required"):
        await api.apply(WIDGETS, namespace, "a", config())
    assert await api.get(WIDGETS, namespace, "a") == made


async def test_a_map_that_only_we_filled_goes_with_its_last_field(api: KubeApi, namespace: str) -> None:
    await api.apply(WIDGETS, namespace, "a", config(size=1, bare={"a": "x"}, marks={"x": "1"}))
    assert (await api.apply(WIDGETS, namespace, "a", config(size=1)))["spec"] == {"size": 1, "mode": "Fast"}


async def test_apply_takes_over_what_others_wrote(api: KubeApi, namespace: str) -> None:
    await api.create(WIDGETS, namespace, widget("a", size=1, code="ab"))
    await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": 5}})
    assert (await api.apply(WIDGETS, namespace, "a", config(size=2)))["spec"]["size"] == 2


async def test_what_others_changed_since_is_theirs(api: KubeApi, namespace: str) -> None:
    await api.apply(WIDGETS, namespace, "a", config(size=1, code="ab"))
    await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"code": "cd"}})
    assert (await api.apply(WIDGETS, namespace, "a", config(size=1)))["spec"]["code"] == "cd"


async def test_lists_merge_by_their_list_type(api: KubeApi, namespace: str) -> None:
    await api.apply(
        WIDGETS,
        namespace,
        "a",
        config(
            {"finalizers": [OURS]},
            size=1,
            steps=["x", "y"],
            members=["x", "y"],
            parts=[{"name": "p", "colour": "red"}, {"name": "q", "colour": "red"}],
        ),
    )
    await api.json_patch(
        WIDGETS,
        namespace,
        "a",
        [
            {"op": "add", "path": "/metadata/finalizers/-", "value": THEIRS},
            {"op": "add", "path": "/spec/members/-", "value": "theirs"},
            {"op": "add", "path": "/spec/parts/-", "value": {"name": "theirs"}},
        ],
    )
    changed = await api.apply(
        WIDGETS,
        namespace,
        "a",
        config({"finalizers": [OURS]}, size=1, steps=["z"], members=["y"], parts=[{"name": "q", "colour": "blue"}]),
    )
    assert sorted(changed["metadata"]["finalizers"]) == [OURS, THEIRS]
    assert changed["spec"]["steps"] == ["z"]
    assert sorted(changed["spec"]["members"]) == ["theirs", "y"]
    assert sorted(changed["spec"]["parts"], key=lambda part: str(part["name"])) == [
        {"name": "q", "colour": "blue"},
        {"name": "theirs"},
    ]


async def test_a_stale_version_in_an_apply_is_a_conflict(api: KubeApi, namespace: str) -> None:
    made = await api.apply(WIDGETS, namespace, "a", config(size=1))
    newer = await api.merge_patch(WIDGETS, namespace, "a", {"spec": {"size": 2}})
    stale = {"resourceVersion": made["metadata"]["resourceVersion"]}
    with pytest.raises(Conflict):
        await api.apply(WIDGETS, namespace, "a", config(stale, size=2))
    assert await api.get(WIDGETS, namespace, "a") == newer


async def test_an_apply_that_names_a_uid_does_not_make_or_meet_another_object(api: KubeApi, namespace: str) -> None:
    other = config({"uid": "00000000-0000-4000-8000-000000000000"}, size=2)
    with pytest.raises(Conflict):
        await api.apply(WIDGETS, namespace, "a", other)
    made = await api.apply(WIDGETS, namespace, "a", config(size=1))
    with pytest.raises(Invalid, match=r"metadata\.uid"):
        await api.apply(WIDGETS, namespace, "a", other)
    assert await api.get(WIDGETS, namespace, "a") == made


async def test_an_apply_names_its_object(api: KubeApi, namespace: str) -> None:
    with pytest.raises(Invalid, match="name must be provided"):
        await api.apply(WIDGETS, namespace, "a", {"metadata": {}, "spec": {"size": 1}})


async def test_an_apply_that_breaks_the_schema_is_refused(api: KubeApi, namespace: str) -> None:
    with pytest.raises(Invalid, match=r"spec\.size"):
        await api.apply(WIDGETS, namespace, "a", config(size=0))


async def test_an_apply_of_an_undeclared_or_mistyped_field_is_refused(api: KubeApi, namespace: str) -> None:
    with pytest.raises(KubeError, match=r"\.spec\.unknown: field not declared in schema"):
        await api.apply(WIDGETS, namespace, "a", config(size=1, unknown=1))
    with pytest.raises(KubeError, match=r"\.spec\.code: expected string"):
        await api.apply(WIDGETS, namespace, "a", config(size=1, code=1))
