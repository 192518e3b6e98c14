"""Conditions: what was observed, in the form that kubectl, Flux and Argo CD read; derived, never a state machine.

`Ready` is always there; `Reconciling` and `Stalled` are abnormal-true: there only while they are true, and never both
(kstatus lets Reconciling win). The functions are pure: they return new lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field

from pantograph.api.meta import Model
from pantograph.api.units import Timestamp

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
SUSPENDED: Final = "Suspended"
"""There only while `spec.suspend` is true: nothing is begun then, and nothing is judged."""

MESSAGE_BYTES: Final = 1024
"""The longest message that we write: an object's status stays small however much goes wrong."""


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One thing that was observed about the object. Bounds are those of `metav1.Condition`."""

    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
    ]
    """What the condition is about."""
    status: ConditionStatus
    """Whether it holds: True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, in one word for programs."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, for people: the thing, what is wrong with it, and what mends it."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The `metadata.generation` that this was observed for."""


def condition(
    type: str, status: ConditionStatus, *, reason: str, message: str, generation: int, now: datetime
) -> Condition:
    """A condition observed `now`, its message cut to `MESSAGE_BYTES`."""
    return Condition(
        type=type,
        status=status,
        reason=reason,
        message=truncate(message),
        observed_generation=generation,
        last_transition_time=now,
    )


def find(conditions: Iterable[Condition], type: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((each for each in conditions if each.type == type), None)


def is_true(conditions: Iterable[Condition], type: str) -> bool:
    """Whether the condition is there and True."""
    found = find(conditions, type)
    return found is not None and found.status is ConditionStatus.TRUE


def put(conditions: Sequence[Condition], *new: Condition) -> list[Condition]:
    """`conditions` with `new` in place of those of the same types, in the order of their type.

    Where the status is the same as before, so is `lastTransitionTime`: what did not change causes no write.
    """
    by_type = {each.type: each for each in conditions}
    for each in new:
        before = by_type.get(each.type)
        unchanged = before is not None and before.status == each.status
        by_type[each.type] = (
            each.model_copy(update={"last_transition_time": before.last_transition_time})
            if before is not None and unchanged
            else each
        )
    return [by_type[type] for type in sorted(by_type, key=_rank)]


def drop(conditions: Sequence[Condition], *types: str) -> list[Condition]:
    """`conditions` without those of these types."""
    return [each for each in conditions if each.type not in types]


def summarize(conditions: Sequence[Condition], summary: Sequence[Condition]) -> list[Condition]:
    """`conditions` with a new `summary`: what `ready`, `progressing`, `waiting`, `transient` or `terminal` returned."""
    stays = {each.type for each in summary}
    return put(drop(conditions, *({RECONCILING, STALLED} - stays)), *summary)


def ready(message: str = "", *, reason: str = "Succeeded", generation: int, now: datetime) -> list[Condition]:
    """The declared state is reached."""
    return [condition(READY, ConditionStatus.TRUE, reason=reason, message=message, generation=generation, now=now)]


def progressing(message: str, *, reason: str = "Progressing", generation: int, now: datetime) -> list[Condition]:
    """Work goes on and nothing is wrong."""
    return [
        condition(READY, ConditionStatus.UNKNOWN, reason=reason, message=message, generation=generation, now=now),
        condition(RECONCILING, ConditionStatus.TRUE, reason=reason, message=message, generation=generation, now=now),
    ]


def waiting(reason: str, message: str, *, generation: int, now: datetime) -> list[Condition]:
    """Something else has to become ready first."""
    return [
        condition(READY, ConditionStatus.FALSE, reason=reason, message=message, generation=generation, now=now),
        condition(RECONCILING, ConditionStatus.TRUE, reason=reason, message=message, generation=generation, now=now),
    ]


def transient(reason: str, message: str, *, generation: int, now: datetime) -> list[Condition]:
    """It failed and is tried again by itself."""
    retrying = "ProgressingWithRetry"
    return [
        condition(READY, ConditionStatus.FALSE, reason=reason, message=message, generation=generation, now=now),
        condition(RECONCILING, ConditionStatus.TRUE, reason=retrying, message=message, generation=generation, now=now),
    ]


def terminal(reason: str, message: str, *, generation: int, now: datetime) -> list[Condition]:
    """It failed, and trying again changes nothing until somebody acts."""
    return [
        condition(READY, ConditionStatus.FALSE, reason=reason, message=message, generation=generation, now=now),
        condition(STALLED, ConditionStatus.TRUE, reason=reason, message=message, generation=generation, now=now),
    ]


def waits_for_a_person(status: Mapping[str, Any]) -> bool:
    """Whether a status as the API server holds it is stalled, and not suspended by somebody who knows."""
    true = {each["type"] for each in status.get("conditions") or () if each["status"] == ConditionStatus.TRUE}
    return STALLED in true and SUSPENDED not in true


def truncate(message: str, limit: int = MESSAGE_BYTES) -> str:
    """`message` in at most `limit` bytes of UTF-8, with an ellipsis where it was cut."""
    encoded = message.encode()
    if len(encoded) <= limit:
        return message
    ellipsis = "…"
    return encoded[: limit - len(ellipsis.encode())].decode(errors="ignore").rstrip() + ellipsis


def name_some(items: Iterable[object], limit: int = 5) -> str:
    """`a, b, c, d, e and n more`: so many names as a person reads, in the order given."""
    names = [str(item) for item in items]
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    *head, last = names or [""]
    return f"{', '.join(head)} and {last}" if head else last


def _rank(type: str) -> tuple[int, str]:
    leading = (READY, RECONCILING, STALLED)
    return (leading.index(type) if type in leading else len(leading), type)
