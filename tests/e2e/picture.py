"""What a cluster says of itself, for the reader of a failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import ParamSpec

from hack.controlplane.controlplane import CommandError, ControlPlane
from hack.controlplane.process import ServerError
from hack.stage import SYSTEM, Stage

_LINES = 25
"""Of each log, from its end."""

P = ParamSpec("P")


def picture(stage: Stage) -> Iterator[tuple[str, str]]:
    """Titles and texts: our objects, then the pods, Events and logs of the operator's namespace and the scene's."""
    yield "objects", _said(stage.picture)
    for namespace in (SYSTEM, stage.namespace):
        for title, ask in (("pods", _pods), ("events", _events), ("logs", _logs)):
            yield f"{title} in {namespace}", _said(ask, stage.plane, namespace)


def _pods(plane: ControlPlane, namespace: str) -> str:
    return plane.kubectl("describe", "pods", "-n", namespace)


def _events(plane: ControlPlane, namespace: str) -> str:
    table = plane.kubectl("get", "events", "-n", namespace, "--sort-by=.lastTimestamp")
    return "\n".join(table.splitlines()[-_LINES:])


def _logs(plane: ControlPlane, namespace: str) -> str:
    """Of every container, and of the one before it that ended."""
    lines = []
    for pod in json.loads(plane.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]:
        name, statuses = pod["metadata"]["name"], pod["status"].get("containerStatuses", [])
        restarted = any(each["restartCount"] for each in statuses)
        for flags in (("--previous",), ()) if restarted else ((),):
            lines.append(f"--- {' '.join((name, *flags))}")
            lines.append(_said(plane.kubectl, "logs", name, "-n", namespace, f"--tail={_LINES}", *flags))
    return "\n".join(lines)


def _said(ask: Callable[P, str], *args: P.args, **options: P.kwargs) -> str:
    """What is answered, or why nothing is: a picture must not hide the failure that it explains."""
    try:
        return ask(*args, **options)
    except (CommandError, ServerError) as error:
        return str(error)
