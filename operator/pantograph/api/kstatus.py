"""The verdict that Flux and Helm reach about an object of ours: kstatus, computed as they do.

After `pkg/kstatus/status/generic.go` of kubernetes-sigs/cli-utils, for kinds that it has no rules of its own for.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pantograph.api.conditions import READY, RECONCILING, STALLED


class Verdict(StrEnum):
    IN_PROGRESS = "InProgress"
    CURRENT = "Current"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    NOT_FOUND = "NotFound"


def verdict(body: Mapping[str, Any] | None) -> Verdict:
    """What kstatus says of an object (None: it does not exist).

    An object without conditions is Current for it, which is why our kinds start with `observedGeneration: -1`.
    """
    if body is None:
        return Verdict.NOT_FOUND
    metadata, status = body.get("metadata", {}), body.get("status", {})
    if metadata.get("deletionTimestamp"):
        return Verdict.TERMINATING
    if "generation" in metadata and status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return Verdict.IN_PROGRESS
    conditions = status.get("conditions", ())
    for condition in conditions:  # the first of the two in the list's order wins
        if condition["type"] == RECONCILING and condition["status"] == "True":
            return Verdict.IN_PROGRESS
        if condition["type"] == STALLED and condition["status"] == "True":
            return Verdict.FAILED
    ready = next((condition for condition in conditions if condition["type"] == READY), None)
    return Verdict.CURRENT if ready is None or ready["status"] == "True" else Verdict.IN_PROGRESS
