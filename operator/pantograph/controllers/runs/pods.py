"""What a run's Pod tells: why it does not begin, how it ended, and the result that it left.

Events (`FailedAttachVolume`, `FailedMount`) would tell more, but the right to list them is one to read what concerns
everybody's Pods; the message names the command by which a person sees those of this one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from pantograph.api.conditions import name_some
from pantograph.api.meta import Body
from pantograph.api.run import RunResult
from pantograph.controllers.runs.manifest import CONTAINER

_BEGINNING: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons to wait that are no fault, unless they last."""
_BEGINNING_S: Final = 60.0


def why_waiting(pod: Body, *, now: datetime) -> str:
    """Why the Pod is not at work; empty: it is, or it is about to be. Stable text: no ages."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return (
                f"{condition.get('reason') or 'Unschedulable'}: {condition.get('message') or 'no node takes the Pod'}"
            )
    waiting = (_container(status).get("state") or {}).get("waiting")
    if waiting and waiting.get("reason") not in _BEGINNING:
        return f"{waiting.get('reason')}: {waiting.get('message') or 'the container does not start'}"
    return _why_beginning(pod, now) if is_waiting(pod) else ""


def _why_beginning(pod: Body, now: datetime) -> str:
    """What the kubelet is about, if it takes long: volumes first, then the network, then the image."""
    meta, status = pod["metadata"], pod.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    since = (conditions.get("PodScheduled") or {}).get("lastTransitionTime") or meta.get("creationTimestamp")
    if since is None or (now - datetime.fromisoformat(since)).total_seconds() < _BEGINNING_S:
        return ""
    has_volumes = (conditions.get("PodReadyToStartContainers") or {}).get("status") == "True"
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    claims = [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]
    what = "its image" if has_volumes else f"its volumes (PersistentVolumeClaim {name_some(claims)})"
    command = f"kubectl describe pod {meta['name']} -n {meta['namespace']}"
    return f"ContainerCreating: waits for {what} since {since}; what hinders it says {command}"


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
