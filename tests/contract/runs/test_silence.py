"""A run from which nothing is heard any more: its node is lost, or it hangs. It is told, and no other begins."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest

from pantograph.api.meta import JOBS, PODS, Body
from pantograph.api.run import RunProgress, RunReport
from pantograph.api.units import format_timestamp
from pantograph.controllers.runs.manifest import job_name
from pantograph.controllers.runs.port import RunState
from tests.contract.runs.lab import KEY, NAMESPACE, RUN, Lab, claimed, job, remote, slow_server
from tests.fakes.library import Library
from tests.fakes.openlist import FakeOpenList, serving

WORKING = RunReport(progress=RunProgress(phase="List", dirs_done=2))
JOB = job_name(KEY, RUN)
POD = f"{JOB}-x"
TAINTED = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletionByTaintManager",
    "message": "Taint manager: deleting due to NoExecute taint",
}


@pytest.fixture
async def handle(lab: Lab) -> str:
    """A run as a Job, whose Pod is at work on node n1 with the token `pod`."""
    await lab.declare(remote(), claimed())
    await lab.put_secret("openlist")
    await lab.operate(RUN)
    handle: str = await lab.runs.start(lab.order())
    await lab.pod_of(JOB, token="pod")
    hold = {"metadata": {"finalizers": ["example.org/node"]}, "spec": {"nodeName": "n1"}}
    await lab.api.merge_patch(PODS, NAMESPACE, POD, hold)
    await pod_says(lab, phase="Running")
    return handle


async def pod_says(lab: Lab, **status: Any) -> None:
    await lab.api.merge_patch(PODS, NAMESPACE, POD, {"status": status}, subresource="status")


async def job_says(lab: Lab, condition: Body) -> None:
    patch = {"status": {"conditions": [{"status": "True", **condition}]}}
    lab.services.learn(await lab.api.merge_patch(JOBS, NAMESPACE, JOB, patch, subresource="status"))


async def look(lab: Lab, handle: str) -> RunState:
    state: RunState | None = await lab.runs.look(KEY, RUN, handle)
    assert state is not None
    return state


async def jobs(lab: Lab) -> list[str]:
    return [each["metadata"]["name"] for each in (await lab.api.list(JOBS)).items]


async def test_a_run_whose_node_is_lost_is_said_to_be_silent_and_its_job_stays(lab: Lab, handle: str) -> None:
    await lab.post(RUN, WORKING, token="pod")
    heard = format_timestamp(datetime.now(UTC))
    await lab.api.delete(PODS, NAMESPACE, POD)
    await pod_says(lab, phase="Running", conditions=[TAINTED])
    await job_says(lab, {"type": "FailureTarget", "reason": "BackoffLimitExceeded"})
    lab.clock.ahead_s += 540
    assert await look(lab, handle) == RunState(True, WORKING.progress)
    lab.clock.ahead_s += 120
    state = await look(lab, handle)
    assert state.running
    assert state.progress == WORKING.progress
    assert state.silence is not None
    assert state.fault == state.silence.fault
    assert format_timestamp(state.silence.since)[:-3] == heard[:-3]
    assert state.fault == (
        f"the run has said nothing since {format_timestamp(state.silence.since)}: its Pod {POD} on node n1 is being"
        " deleted and does not end (DeletionByTaintManager: Taint manager: deleting due to NoExecute taint)"
    )
    assert "only if the node is off for good: " in state.silence.remedy
    assert state.silence.remedy.endswith(f"kubectl delete pod {POD} -n {NAMESPACE} --force")
    lab.clock.ahead_s += 7 * 24 * 3600
    assert await look(lab, handle) == state
    assert await jobs(lab) == [JOB]


async def test_a_run_that_hangs_is_said_to_be_silent_until_it_says_something(lab: Lab, handle: str) -> None:
    await lab.post(RUN, WORKING, token="pod")
    lab.clock.ahead_s += 660
    state = await look(lab, handle)
    assert f"its Pod {POD} on node n1 hangs or cannot reach the operator" in state.fault
    assert state.silence is not None
    assert f"kubectl logs {POD} -n {NAMESPACE}" in state.silence.remedy
    assert f"kubectl annotate strmsyncjob movies -n {NAMESPACE} --overwrite pantograph.dev/cancel=" in (
        state.silence.remedy
    )
    await lab.post(RUN, WORKING, token="pod")
    assert await look(lab, handle) == RunState(True, WORKING.progress)


async def test_after_a_restart_the_silence_counts_from_then(lab: Lab, handle: str) -> None:
    await lab.post(RUN, WORKING, token="pod")
    lab.clock.ahead_s += 3600
    await lab.restart()
    assert await look(lab, handle) == RunState(True)
    lab.clock.ahead_s += 660
    state = await look(lab, handle)
    assert "has said nothing since" in state.fault
    assert state.silence is not None
    assert (lab.clock.now() - state.silence.since).total_seconds() == pytest.approx(660, abs=30)


async def test_a_run_that_has_not_begun_cannot_be_silent(lab: Lab, handle: str) -> None:
    await pod_says(lab, phase="Pending")
    lab.clock.ahead_s += 1200
    assert (await look(lab, handle)).silence is None
    await pod_says(lab, phase="Running")
    lab.clock.ahead_s += 300
    assert await look(lab, handle) == RunState(True), "it may have begun just now"
    lab.clock.ahead_s += 360
    assert (await look(lab, handle)).silence is not None


async def test_a_job_that_is_being_deleted_and_does_not_go_is_said_to_be_silent(lab: Lab, handle: str) -> None:
    await lab.post(RUN, WORKING, token="pod")
    await job_says(lab, {"type": "Failed", "reason": "DeadlineExceeded"})
    body = await lab.api.get(JOBS, NAMESPACE, JOB)
    hold = {"finalizers": ["foregroundDeletion"], "resourceVersion": "999999"}
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", **hold}
    lab.services.cache.absorb(body)
    await lab.api.delete(PODS, NAMESPACE, POD)
    assert (await look(lab, handle)).fault == "its Job is being deleted; it ends when its Pod has ended"
    lab.clock.ahead_s += 660
    state = await look(lab, handle)
    assert state.silence is not None
    assert f"its Pod {POD} on node n1 is being deleted and does not end" in state.fault


async def test_a_child_that_hangs_is_said_to_be_silent_until_it_goes_on(lab: Lab) -> None:
    library = Library()
    for number in range(300):
        library.put(f"/films/{number}/film.mkv")
    async with serving(FakeOpenList(library)) as openlist:
        await lab.put_secret("openlist", token=openlist.accounts.admin_token)
        await lab.declare(slow_server(openlist.base_url), job())
        await lab.operate(RUN)
        handle = await lab.runs.start(lab.order())
        await lab.news()
        (process,) = (each for each in psutil.Process().children() if "pantograph.cli.main" in each.cmdline())
        process.suspend()
        lab.clock.ahead_s += 660
        state = await look(lab, handle)
        while state.silence is None:  # what it had said before was heard only now
            lab.clock.ahead_s += 660
            state = await look(lab, handle)
        assert state.running
        assert f": its process {process.pid} in the operator's pod hangs" in state.fault
        process.resume()
        async with asyncio.timeout(30):
            while (await look(lab, handle)).silence is not None:
                await lab.news()
