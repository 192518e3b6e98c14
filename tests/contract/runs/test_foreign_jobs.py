"""Jobs that have the name or the labels of ours, and are not: nothing is read from them, and they stay."""

from __future__ import annotations

import pytest

from pantograph.api.meta import JOBS, PODS, Body, Key
from pantograph.controllers.runs.manifest import job_name
from pantograph.engine.errors import Terminal
from tests.contract.runs.lab import KEY, NAMESPACE, RUN, Lab, claimed, remote

NAME = job_name(KEY, RUN)


@pytest.fixture(autouse=True)
async def declared(lab: Lab) -> None:
    await lab.declare(remote(), claimed(), claimed("other"))
    await lab.put_secret("openlist")
    await lab.operate(RUN)


def other_uid(lab: Lab) -> str:
    body = lab.services.cache.get(Key("StrmSyncJob", NAMESPACE, "other"))
    assert body is not None
    return str(body["metadata"]["uid"])


def foreign(lab: Lab, name: str = NAME) -> Body:
    marks = {"pantograph.dev/run": RUN, "pantograph.dev/strmsyncjob": "movies"}
    owner = {"apiVersion": "pantograph.dev/v1alpha1", "kind": "StrmSyncJob", "name": "other", "controller": True}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": marks,
            "ownerReferences": [owner | {"uid": other_uid(lab)}],
        },
    }


async def ended(lab: Lab, body: Body) -> None:
    made = await lab.api.create(JOBS, NAMESPACE, body)
    status = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    lab.services.learn(
        await lab.api.merge_patch(JOBS, NAMESPACE, made["metadata"]["name"], status, subresource="status")
    )


async def names(lab: Lab) -> list[str]:
    return sorted(each["metadata"]["name"] for each in (await lab.api.list(JOBS)).items)


async def test_a_job_of_the_runs_name_is_neither_found_nor_followed_nor_deleted_and_its_remedy_is_told(
    lab: Lab,
) -> None:
    await ended(lab, foreign(lab))
    assert await lab.runs.find(KEY, RUN) is None
    assert await lab.runs.look(KEY, RUN, f"Job/{NAME}") is None
    await lab.runs.cancel(KEY, RUN, f"Job/{NAME}")
    assert await names(lab) == [NAME]
    with pytest.raises(Terminal) as refused:
        await lab.runs.start(lab.order())
    assert refused.value.reason == "JobNameTaken"
    assert f"kubectl delete job {NAME} -n {NAMESPACE}" in refused.value.text


async def test_a_job_that_took_the_place_of_the_runs_own_is_not_deleted_in_its_stead(lab: Lab) -> None:
    handle = await lab.runs.start(lab.order())
    await lab.runs.forget(KEY, RUN, handle)
    await lab.operate(None)  # nobody follows it: it is ended by force
    await lab.api.delete(JOBS, NAMESPACE, NAME)
    await lab.api.create(JOBS, NAMESPACE, foreign(lab))
    await lab.runs.cancel(KEY, RUN, handle)
    assert await names(lab) == [NAME]


async def test_a_finished_job_of_another_owner_is_not_tidied_away_whatever_its_labels_say(lab: Lab) -> None:
    for number in range(5):
        await ended(lab, foreign(lab, f"old-{number}"))
    await lab.runs.forget(KEY, RUN, f"Job/{NAME}")
    assert len(await names(lab)) == 5


async def test_a_forced_release_ends_the_jobs_own_runs_and_no_others(lab: Lab) -> None:
    await lab.runs.start(lab.order())
    lab.services.learn(await lab.api.create(JOBS, NAMESPACE, foreign(lab, "others")))
    await lab.runs.end(KEY)
    assert await names(lab) == ["others"]


async def test_only_the_pod_of_the_runs_own_job_tells_how_it_stands(lab: Lab) -> None:
    handle = await lab.runs.start(lab.order())
    forged = {"name": "forged", "namespace": NAMESPACE, "labels": {"pantograph.dev/run": RUN}}
    await lab.api.create(PODS, NAMESPACE, {"apiVersion": "v1", "kind": "Pod", "metadata": forged})
    own = (await lab.pod_of(NAME, token="pod"))["metadata"]["name"]
    waiting = {"name": "run", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    for pod, fault in (("forged", ""), (own, "ErrImagePull: no such image")):
        status = {"status": {"phase": "Pending", "containerStatuses": [waiting]}}
        await lab.api.merge_patch(PODS, NAMESPACE, pod, status, subresource="status")
        assert (await lab.runs.look(KEY, RUN, handle)).fault == fault
