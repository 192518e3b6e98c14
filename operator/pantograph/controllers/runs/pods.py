"""What a run's Pod tells: why it does not begin, how it ended, and the result that it left."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from pantograph.api.meta import Body
from pantograph.api.run import RunResult
from pantograph.controllers.runs.manifest import CONTAINER

_BEGINNING: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons to wait that are no fault, unless they last."""


def why_waiting(pod: Body) -> str:
    """Why the Pod is not at work; empty: it is, or it is about to be."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return (
                f"{condition.get('reason') or 'Unschedulable'}: {condition.get('message') or 'no node takes the Pod'}"
            )
    waiting = (_container(status).get("state") or {}).get("waiting")
    if waiting and waiting.get("reason") not in _BEGINNING:
        return f"{waiting.get('reason')}: {waiting.get('message') or 'the container does not start'}"
    return ""


def is_waiting(pod: Body) -> bool:
    """Whether its process has not begun yet."""
    return (pod.get("status") or {}).get("phase") in (None, "Pending")


def result_left(pod: Body) -> RunResult | None:
    """The result in its termination message."""
    message = _terminated(pod).get("message")
    if not message:
        return None
    try:
        return RunResult.model_validate_json(message)
    except ValidationError:
        return None  # the end of a log, or of another version


def how_ended(pod: Body) -> str:
    """What ended it; empty: it has not ended, or nobody says how."""
    status, terminated = pod.get("status") or {}, _terminated(pod)
    if status.get("reason"):  # Evicted, NodeLost, DeadlineExceeded
        return f"{status['reason']}: {status.get('message') or 'the Pod was ended'}"
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return f"{condition.get('reason')}: {condition.get('message') or 'the Pod was ended'}"
    if not terminated:
        return ""
    if terminated.get("reason") == "OOMKilled":
        return "OOMKilled: the run needed more memory than its limit; raise execution.resources.limits.memory"
    return f"{terminated.get('reason') or 'Error'}: the container ended with code {terminated.get('exitCode')}"


def _terminated(pod: Body) -> dict[str, Any]:
    return (_container(pod.get("status") or {}).get("state") or {}).get("terminated") or {}


def _container(status: Body) -> dict[str, Any]:
    states = status.get("containerStatuses") or ()
    return next((each for each in states if each["name"] == CONTAINER), {})
