"""What a run's Pod tells, as the scheduler and the kubelet write it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pantograph.api.meta import Body
from pantograph.api.run import RunResult
from pantograph.cli.strm_reporting import message_of, result_of
from pantograph.controllers.runs.pods import how_ended, result_left, why_waiting
from pantograph.strm.report import Issue, Report

NOW = datetime(2026, 11, 26, 3, tzinfo=UTC)


def pod(state: Body | None = None, **status: Any) -> Body:
    containers = [] if state is None else [{"name": "run", "state": state}]
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": containers, **status}}


def creating(*conditions: Body, minutes: int) -> Body:
    """A Pod that has a node for so long."""
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": f"2026-11-26T02:{60 - minutes}:00Z"}
    if minutes == 0:
        scheduled["lastTransitionTime"] = "2026-11-26T02:59:30Z"
    body = pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending", conditions=[scheduled, *conditions])
    body["metadata"]["namespace"] = "films"
    body["spec"] = {"volumes": [{"name": "tmp", "emptyDir": {}}, {"persistentVolumeClaim": {"claimName": "strm"}}]}
    return body


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (pod(conditions=[UNSCHEDULABLE]), "Unschedulable: 0/3 nodes"),
        (
            pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            "ImagePullBackOff: no such image",
        ),
        (pod({"waiting": {"reason": "ContainerCreating"}}), ""),
        (creating(minutes=0), ""),
        (
            creating(minutes=5),
            "ContainerCreating: waits for its volumes (PersistentVolumeClaim strm) since 2026-11-26T02:55:00Z; what"
            " hinders it says kubectl describe pod p -n films",
        ),
        (
            creating({"type": "PodReadyToStartContainers", "status": "True"}, minutes=5),
            "ContainerCreating: waits for its image since 2026-11-26T02:55:00Z; what hinders it says kubectl describe"
            " pod p -n films",
        ),
        (pod({"running": {}}), ""),
    ],
)
def test_a_pod_that_does_not_begin_says_why(body: Body, says: str) -> None:
    assert why_waiting(body, now=NOW) == says


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (pod({"terminated": {"reason": "OOMKilled", "exitCode": 137}}), "limits.memory"),
        (pod({"terminated": {"reason": "Error", "exitCode": 2}}), "ended with code 2"),
        (pod(reason="Evicted", message="the node was low on disk"), "Evicted: the node was low on disk"),
        (pod(conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]), "Taint"),
    ],
)
def test_a_pod_that_ended_without_a_result_says_what_ended_it(body: Body, says: str) -> None:
    assert says in how_ended(body)


def test_a_result_that_nobody_heard_is_found_in_the_termination_message_whatever_it_says() -> None:
    report = Report("r", "cron", "Failed", "SourceUnusable", "界" * 3000, "x" * 3000, created=7)
    for number in range(10):
        report.note(Issue("Refused", f"/{number}" + "界" * 1000, "no"))
        report.note_incomplete(Issue("Incomplete", "/x", "no"), directory=f"{number}" + "界" * 60)
    assert len(report.unfinished) == 10
    message = message_of(result_of(report))
    assert len(message.encode()) <= 4096
    left = result_left(pod({"terminated": {"exitCode": 1, "message": message}}))
    assert left is not None
    assert (left.result, left.reason, left.created) == ("Failed", "SourceUnusable", 7)


def test_the_end_of_a_log_is_no_result() -> None:
    assert result_left(pod({"terminated": {"exitCode": 1, "message": "Traceback (most recent call last)"}})) is None
    assert result_left(pod({"running": {}})) is None


def test_a_result_fits_into_a_report_whatever_names_it_holds() -> None:
    report = Report("r", "cron", "Degraded")
    for number in range(20):
        report.note(Issue("Refused", f"/{number}/" + "\U0001f600" * 5000, "m" * 5000))
        report.note_incomplete(Issue("Incomplete", "/x", "no"), directory=f"{number}" + "\U0001f600" * 25)
    assert len(report.unfinished) == 20
    text = result_of(report).model_dump_json(by_alias=True)
    assert len(text.encode()) < 64 * 1024
    assert len(RunResult.model_validate_json(text).samples) == 10
