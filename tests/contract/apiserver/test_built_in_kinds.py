"""The kinds of Kubernetes itself that the engine uses."""

from __future__ import annotations

import pytest

from pantograph.api.meta import CONFIG_MAPS, EVENTS, LEASES, SECRETS
from pantograph.engine.kube import Conflict, Invalid, KubeApi

EMPTY = {"data": {"k": "dmFsdWU="}}


async def test_secrets_and_config_maps_count_no_generations(api: KubeApi, namespace: str) -> None:
    for resource in (SECRETS, CONFIG_MAPS):
        made = await api.create(resource, namespace, {"metadata": {"name": "a"}, **EMPTY})
        assert (made["apiVersion"], made["kind"], made["data"]) == ("v1", resource.kind, EMPTY["data"])
        assert "generation" not in made["metadata"]
        changed = await api.merge_patch(resource, namespace, "a", {"data": {"l": "dmFsdWU="}})
        assert changed["data"] == {"k": "dmFsdWU=", "l": "dmFsdWU="}
        assert await api.merge_patch(resource, namespace, "a", {"data": {"k": "dmFsdWU="}}) == changed
        await api.delete(resource, namespace, "a", uid=made["metadata"]["uid"])


async def test_a_config_map_can_be_applied_and_replaced_without_a_version(api: KubeApi, namespace: str) -> None:
    await api.apply(CONFIG_MAPS, namespace, "a", {"metadata": {"name": "a"}, "data": {"k": "1", "l": "1"}})
    applied = await api.apply(CONFIG_MAPS, namespace, "a", {"metadata": {"name": "a"}, "data": {"l": "2"}})
    assert applied["data"] == {"l": "2"}
    put = await api.replace(CONFIG_MAPS, namespace, "a", {"metadata": {"name": "a"}, "data": {"m": "3"}})
    assert put["data"] == {"m": "3"}
    with pytest.raises(Conflict):
        await api.replace(CONFIG_MAPS, namespace, "a", applied)


async def test_of_two_who_replace_a_lease_one_wins(api: KubeApi, namespace: str) -> None:
    def lease(holder: str, version: str | None = None) -> dict[str, object]:
        metadata = {"name": "leader"} | ({"resourceVersion": version} if version else {})
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": 15,
                "renewTime": "2026-01-01T00:00:00.000000Z",
                "leaseTransitions": 1,
            },
        }

    made = await api.create(LEASES, namespace, lease("first"))
    seen = made["metadata"]["resourceVersion"]
    won = await api.replace(LEASES, namespace, "leader", lease("second", seen))
    assert won["spec"]["holderIdentity"] == "second"
    with pytest.raises(Conflict):
        await api.replace(LEASES, namespace, "leader", lease("third", seen))
    with pytest.raises(Invalid, match="resourceVersion"):
        await api.replace(LEASES, namespace, "leader", lease("fourth"))
    assert (await api.get(LEASES, namespace, "leader"))["spec"] == won["spec"]


async def test_an_event_can_be_created_and_counted_up(api: KubeApi, namespace: str) -> None:
    moment = "2026-01-01T00:00:00Z"
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "a.1"},
        "involvedObject": {"apiVersion": "v1", "kind": "Secret", "name": "a", "namespace": namespace},
        "reason": "Checked",
        "message": "it is there",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": "contract"},
    }
    made = await api.create(EVENTS, namespace, event)
    assert (made["reason"], made["count"]) == ("Checked", 1)
    assert (await api.merge_patch(EVENTS, namespace, "a.1", {"count": 2}))["count"] == 2
