"""Conditions: transition times, the summaries of the contract of status, and bounded messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pantograph.api import conditions as c
from pantograph.api.conditions import Condition, ConditionStatus
from pantograph.api.meta import to_body

NOON = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)


def observed(type: str, status: str, *, reason: str = "Seen", message: str = "", now: datetime = NOON) -> Condition:
    return c.condition(type, ConditionStatus(status), reason=reason, message=message, generation=1, now=now)


def test_a_condition_whose_status_stays_keeps_its_transition_time_and_takes_the_new_reason_and_message() -> None:
    before = [observed("Ready", "False", reason="NodeOffline", message="pve1 is offline")]
    after = c.put(before, observed("Ready", "False", reason="StorageFull", message="local is full", now=LATER))
    assert [(each.reason, each.message, each.last_transition_time) for each in after] == [
        ("StorageFull", "local is full", NOON)
    ]


def test_a_condition_whose_status_changes_takes_the_new_transition_time() -> None:
    after = c.put([observed("Ready", "False")], observed("Ready", "True", now=LATER))
    assert after[0].last_transition_time == LATER


def test_putting_the_same_observation_again_later_changes_nothing() -> None:
    before = c.put([], observed("Ready", "True"), observed("Degraded", "False"))
    again = c.put(before, observed("Degraded", "False", now=LATER), observed("Ready", "True", now=LATER))
    assert again == before


def test_the_order_does_not_depend_on_the_order_of_observation() -> None:
    types = ["Stalled", "Authorized", "Ready", "Reachable", "Reconciling"]
    forward = c.put([], *(observed(type, "True") for type in types))
    backward = c.put([], *(observed(type, "True") for type in reversed(types)))
    assert [each.type for each in forward] == ["Ready", "Reconciling", "Stalled", "Authorized", "Reachable"]
    assert forward == backward


def test_putting_and_dropping_leave_the_given_list_alone() -> None:
    before = [observed("Ready", "True"), observed("Degraded", "True")]
    c.put(before, observed("Ready", "False"))
    c.drop(before, "Degraded")
    assert [(each.type, each.status) for each in before] == [("Ready", "True"), ("Degraded", "True")]


def test_find_and_is_true_tell_absent_from_false() -> None:
    conditions = [observed("Degraded", "False")]
    assert c.find(conditions, "Ready") is None
    assert not c.is_true(conditions, "Ready")
    assert not c.is_true(conditions, "Degraded")
    assert c.is_true([observed("Degraded", "True")], "Degraded")
    assert not c.is_true([observed("Degraded", "Unknown")], "Degraded")


SUMMARIES = [
    pytest.param(c.ready(generation=3, now=NOON), [("Ready", "True", "Succeeded")], id="ready"),
    pytest.param(
        c.progressing("importing", generation=3, now=NOON),
        [("Ready", "Unknown", "Progressing"), ("Reconciling", "True", "Progressing")],
        id="progressing",
    ),
    pytest.param(
        c.waiting("NodeOffline", "pve1 is offline", generation=3, now=NOON),
        [("Ready", "False", "NodeOffline"), ("Reconciling", "True", "NodeOffline")],
        id="waiting",
    ),
    pytest.param(
        c.transient("Unreachable", "no answer", generation=3, now=NOON),
        [("Ready", "False", "Unreachable"), ("Reconciling", "True", "ProgressingWithRetry")],
        id="transient",
    ),
    pytest.param(
        c.terminal("ChecksumMismatch", "not the bytes", generation=3, now=NOON),
        [("Ready", "False", "ChecksumMismatch"), ("Stalled", "True", "ChecksumMismatch")],
        id="terminal",
    ),
]


@pytest.mark.parametrize(("summary", "expected"), SUMMARIES)
def test_a_summary_says_ready_and_at_most_one_abnormal_condition(
    summary: list[Condition], expected: list[tuple[str, str, str]]
) -> None:
    assert [(each.type, each.status, each.reason) for each in summary] == expected
    assert {each.observed_generation for each in summary} == {3}


@pytest.mark.parametrize(("before", "_"), SUMMARIES)
@pytest.mark.parametrize(("after", "expected"), SUMMARIES)
def test_a_new_summary_replaces_any_other_and_keeps_the_kinds_own_conditions(
    before: list[Condition], _: object, after: list[Condition], expected: list[tuple[str, str, str]]
) -> None:
    own = observed("Degraded", "True")
    result = c.summarize(c.put(before, own), after)
    assert [(each.type, each.status, each.reason) for each in result] == [*expected, ("Degraded", "True", "Seen")]


def test_a_condition_on_the_wire_is_a_metav1_condition_with_whole_seconds() -> None:
    moment = datetime(2026, 11, 26, 13, 0, 0, 987654, tzinfo=UTC)
    assert to_body(c.ready("3 of 3", generation=2, now=moment)[0]) == {
        "type": "Ready",
        "status": "True",
        "reason": "Succeeded",
        "message": "3 of 3",
        "lastTransitionTime": "2026-11-26T13:00:00Z",
        "observedGeneration": 2,
    }


def test_a_condition_read_back_from_the_wire_equals_the_one_that_was_written() -> None:
    written = observed("Ready", "False", now=datetime(2026, 11, 26, 13, 0, 0, 987654, tzinfo=UTC))
    assert Condition.model_validate(to_body(written)) == written


@pytest.mark.parametrize("letter", ["a", "é", "→", "🂡"])
def test_a_long_message_is_cut_to_one_kibibyte_of_whole_characters(letter: str) -> None:
    message = observed("Ready", "False", message=letter * 2000).message
    assert 1024 - 4 <= len(message.encode()) <= 1024
    assert message == letter * (len(message) - 1) + "…"


def test_a_message_of_exactly_one_kibibyte_is_left_alone() -> None:
    assert c.truncate("x" * 1024) == "x" * 1024


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, ""),
        (1, "pve1"),
        (2, "pve1 and pve2"),
        (5, "pve1, pve2, pve3, pve4 and pve5"),
        (6, "pve1, pve2, pve3, pve4, pve5 and 1 more"),
        (300, "pve1, pve2, pve3, pve4, pve5 and 295 more"),
    ],
)
def test_names_are_listed_up_to_five(count: int, expected: str) -> None:
    assert c.name_some(f"pve{number}" for number in range(1, count + 1)) == expected
