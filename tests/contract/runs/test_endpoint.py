"""Who is heard for which run, and what is answered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from pantograph.api.meta import JOBS, PODS, Key
from pantograph.api.run import MAX_REPORT_BYTES, RunCooldown, RunProgress, RunReport, RunResult
from pantograph.controllers.runs.manifest import job_name
from pantograph.engine.kube import NotFound, Unavailable
from tests.contract.runs.lab import KEY, NAMESPACE, RUN, Lab, claimed, job, remote

DONE = RunReport(result=RunResult(result="Succeeded", created=3))
WORKING = RunReport(progress=RunProgress(phase="List", dirs_done=2, dirs_known=9, percent=22))
OTHER = "fedcba9876543210"


@pytest.fixture
async def handle(lab: Lab) -> str:
    """A run as a Job, whose pod has the token `pod`."""
    await lab.declare(remote(requestsPerMinute=60), claimed())
    await lab.put_secret("openlist")
    await lab.operate(RUN)
    handle: str = await lab.runs.start(lab.order())
    await lab.pod_of(job_name(KEY, RUN), token="pod")
    return handle


async def test_the_runs_own_pod_is_heard_and_told_its_share(lab: Lab, handle: str) -> None:
    status, answer = await lab.post(RUN, WORKING, token="pod")
    assert (status, answer) == (
        200,
        {"action": "Continue", "requestsPerMinute": 60.0, "cooldown": None, "recorded": False, "stored": False},
    )
    assert await lab.news() == KEY
    state = await lab.runs.look(KEY, RUN, handle)
    assert state.running
    assert state.progress == WORKING.progress


async def test_the_servers_rate_is_shared_by_the_runs_at_work_on_it_and_its_cooldown_by_all(
    lab: Lab, handle: str
) -> None:
    await lab.declare(claimed("shows"))
    key = Key("StrmSyncJob", NAMESPACE, "shows")
    await lab.operate(OTHER, key)
    await lab.runs.start(lab.order(key, id=OTHER))
    await lab.pod_of(job_name(key, OTHER), token="other pod")
    report = RunReport(cooldown=RunCooldown(seconds=90, why="too many requests"))
    _, answer = await lab.post(OTHER, report, token="other pod")
    assert answer["requestsPerMinute"] == 30.0
    _, answer = await lab.post(RUN, WORKING, token="pod")
    assert answer["requestsPerMinute"] == 30.0
    assert answer["cooldown"]["why"] == "too many requests"
    assert 80 < answer["cooldown"]["seconds"] <= 90
    await lab.runs.forget(key, OTHER, "Job/x")
    _, answer = await lab.post(RUN, WORKING, token="pod")
    assert answer["requestsPerMinute"] == 60.0


CASES = ("no token", "unknown token", "foreign run's pod", "other namespace", "no pod", "later pod", "forged owner")


@pytest.mark.parametrize("case", CASES)
async def test_whoever_is_not_that_run_is_refused_and_changes_nothing(lab: Lab, handle: str, case: str) -> None:
    token, tokens, own = "stranger" if case != "no token" else None, lab.kube.tokens, lab.kube.tokens["pod"]
    match case:
        case "foreign run's pod":
            await lab.declare(claimed("shows"))
            key = Key("StrmSyncJob", NAMESPACE, "shows")
            await lab.runs.start(lab.order(key, id=OTHER))
            await lab.pod_of(job_name(key, OTHER), token="stranger")
        case "other namespace":
            tokens["stranger"] = ("elsewhere", *own[1:])
        case "no pod":
            tokens["stranger"] = (NAMESPACE, "gone", "uid-gone")
        case "later pod":
            tokens["stranger"] = (NAMESPACE, own[1], "another uid")
        case "forged owner":
            await lab.pod_of(job_name(KEY, RUN), token="stranger", name="forged", owner_uid="of another Job")
    status, text = await lab.post(RUN, DONE, token=token)
    assert status == (401 if token is None else 403)
    assert "movies" not in text
    assert NAMESPACE not in text
    assert (await lab.runs.look(KEY, RUN, handle)).result is None


async def forged_job(lab: Lab, namespace: str, run: str) -> None:
    """Somebody who may create Jobs makes one that says it was this run, with a pod whose token is `stranger`."""
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "forged", "namespace": namespace, "labels": {"pantograph.dev/run": run}},
    }
    made = await lab.api.create(JOBS, namespace, body)
    lab.services.learn(made)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "forged", "uid": made["metadata"]["uid"]}
    metadata = {"name": "forged-x", "namespace": namespace, "ownerReferences": [owner | {"controller": True}]}
    pod = await lab.api.create(PODS, namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    lab.kube.tokens["stranger"] = (namespace, "forged-x", pod["metadata"]["uid"])


@pytest.mark.parametrize("namespace", [NAMESPACE, "elsewhere"])
async def test_a_job_that_only_says_it_is_the_run_is_refused_and_does_not_silence_the_run(
    lab: Lab, handle: str, namespace: str
) -> None:
    await forged_job(lab, namespace, RUN)
    assert (await lab.post(RUN, DONE, token="stranger"))[0] == 403
    assert (await lab.post(RUN, WORKING, token="pod"))[0] == 200
    await lab.restart()
    assert (await lab.post(RUN, DONE, token="stranger"))[0] == 403
    assert (await lab.post(RUN, WORKING, token="pod"))[0] == 200
    assert (await lab.runs.look(KEY, RUN, handle)).result is None


async def test_no_pod_reports_for_a_run_that_is_a_child(lab: Lab) -> None:
    await lab.declare(remote(), job())
    await lab.operate(RUN)
    lab.service.registry.enter(RUN, key=KEY, server=Key("DataServer", NAMESPACE, "nas"), secret="of the child")
    await forged_job(lab, NAMESPACE, RUN)
    assert (await lab.post(RUN, DONE, token="stranger"))[0] == 403
    lab.service.registry.forget(RUN)
    assert (await lab.post(RUN, DONE, token="stranger"))[0] == 403
    assert (await lab.post(RUN, DONE, token="of the child"))[0] == 200


async def test_a_run_that_nobody_knows_is_refused_without_asking_the_api_server(lab: Lab, handle: str) -> None:
    assert (await lab.post(OTHER, WORKING, token="pod"))[0] == 403
    assert (await lab.post("..%2f..", WORKING, token="pod"))[0] == 403
    assert lab.kube.reviews == 0


async def test_a_token_is_reviewed_once_a_minute_not_at_every_report(lab: Lab, handle: str) -> None:
    for _ in range(5):
        assert (await lab.post(RUN, WORKING, token="pod"))[0] == 200
    assert lab.kube.reviews == 1


async def test_what_is_no_report_is_refused_and_named(lab: Lab, handle: str) -> None:
    status, text = await lab.post(RUN, b'{"progress": {"phase": "Dance"}}', token="pod")
    assert (status, "progress.phase" in text) == (422, True)
    assert (await lab.post(RUN, b"\xff", token="pod"))[0] == 422
    assert (await lab.post(RUN, b" " * (MAX_REPORT_BYTES + 1), token="pod"))[0] == 413


async def test_a_result_is_recorded_once_the_status_has_it_and_not_before(lab: Lab, handle: str) -> None:
    _, answer = await lab.post(RUN, DONE, token="pod")
    assert answer["recorded"] is False
    assert (await lab.runs.look(KEY, RUN, handle)).result == DONE.result
    waiting = asyncio.create_task(lab.post(RUN, DONE, token="pod"))
    await lab.news()
    await lab.operate(None)
    await lab.runs.forget(KEY, RUN, handle)
    for answer in ((await waiting)[1], (await lab.post(RUN, DONE, token="pod"))[1]):
        assert (answer["recorded"], answer["stored"]) == (True, True)


async def test_after_a_restart_the_run_is_heard_as_before_because_the_status_names_it(lab: Lab, handle: str) -> None:
    await lab.post(RUN, WORKING, token="pod")
    await lab.restart()
    status, answer = await lab.post(RUN, DONE, token="pod")
    assert (status, answer["recorded"]) == (200, False)
    assert (await lab.runs.look(KEY, RUN, handle)).result == DONE.result


async def test_a_run_that_no_status_names_any_more_is_told_to_end(lab: Lab, handle: str) -> None:
    await lab.operate(None)
    await lab.restart()
    _, answer = await lab.post(RUN, WORKING, token="pod")
    assert (answer["action"], answer["recorded"], answer["stored"]) == ("Cancel", True, False)


async def test_a_standby_names_the_leader_and_hears_nobody(lab: Lab, handle: str) -> None:
    lab.ready, lab.leader = False, "10.1.2.3:8443"
    assert (await lab.post(RUN, DONE, token="pod"))[0] == 503
    assert lab.headers["Pantograph-Leader"] == "10.1.2.3:8443"
    assert (await lab.runs.look(KEY, RUN, handle)).result is None


async def test_while_the_api_server_cannot_be_asked_a_report_is_put_off_not_refused(lab: Lab, handle: str) -> None:
    lab.api.fail_next("get", Unavailable("down"), kind="Pod")
    assert (await lab.post(RUN, WORKING, token="pod"))[0] == 503
    assert (await lab.post(RUN, WORKING, token="pod"))[0] == 200


async def test_a_cancelled_run_is_told_so_and_its_job_is_deleted_if_it_never_began(lab: Lab, handle: str) -> None:
    await lab.post(RUN, WORKING, token="pod")
    await lab.runs.cancel(KEY, RUN, handle)
    assert (await lab.post(RUN, WORKING, token="pod"))[1]["action"] == "Cancel"
    assert await lab.api.get(JOBS, NAMESPACE, job_name(KEY, RUN))
    await lab.runs.forget(KEY, RUN, handle)

    handle = await lab.runs.start(lab.order(id=OTHER))
    await lab.operate(OTHER)
    await lab.pod_of(job_name(KEY, OTHER), token="late")
    await lab.runs.cancel(KEY, OTHER, handle)
    assert [each["metadata"]["name"] for each in (await lab.api.list(JOBS)).items] == [job_name(KEY, RUN)]


async def test_a_run_whose_job_is_let_go_by_force_is_told_to_end_whether_or_not_its_job_can_be_deleted(
    lab: Lab, handle: str
) -> None:
    await lab.post(RUN, WORKING, token="pod")
    lab.api.fail_next("delete", Unavailable("down"), kind="Job")
    with pytest.raises(Unavailable):
        await lab.runs.end(KEY)
    assert (await lab.post(RUN, WORKING, token="pod"))[1]["action"] == "Cancel"
    await lab.runs.end(KEY)
    assert (await lab.api.list(JOBS)).items == []
    assert lab.service.registry.get(RUN) is None


async def test_a_run_whose_pod_does_not_begin_is_given_up_with_what_is_known_and_its_job_removed(
    lab: Lab, handle: str
) -> None:
    name = job_name(KEY, RUN)
    body = await lab.api.get(JOBS, NAMESPACE, name)
    pods = list((await lab.kube.list(PODS, namespace=NAMESPACE)).items)
    begins = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}
    await lab.api.merge_patch(
        PODS, NAMESPACE, pods[0]["metadata"]["name"], {"status": begins}, subresource="status"
    )  # fmt: skip
    state = await lab.runs.look(KEY, RUN, handle)
    assert (state.running, state.fault) == (True, "Unschedulable: 0/3 nodes")
    created = datetime.now(UTC) - timedelta(minutes=31)
    body["metadata"] |= {"creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "resourceVersion": "999999"}
    lab.services.cache.absorb(body)
    state = await lab.runs.look(KEY, RUN, handle)
    assert not state.running
    assert (state.result.result, state.result.reason) == ("Failed", "PodNotStarted")
    assert state.result.message == "its Pod has not begun within 30m: Unschedulable: 0/3 nodes"
    with pytest.raises(NotFound):
        await lab.api.get(JOBS, NAMESPACE, name)


async def test_a_run_that_reports_is_never_given_up_for_its_pod(lab: Lab, handle: str) -> None:
    await lab.post(RUN, WORKING, token="pod")
    body = await lab.api.get(JOBS, NAMESPACE, job_name(KEY, RUN))
    body["metadata"] |= {"creationTimestamp": "2020-01-01T00:00:00Z", "resourceVersion": "999999"}
    lab.services.cache.absorb(body)
    assert (await lab.runs.look(KEY, RUN, handle)).running
