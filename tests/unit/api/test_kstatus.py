"""kstatus: the verdicts of the table in its documentation, and the agreement of our summaries with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pantograph.api import conditions as c
from pantograph.api.kstatus import Verdict, verdict
from pantograph.api.meta import to_body

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)


def an_object(*conditions: str, observed: int | None = 2, deleting: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"generation": 2}
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-26T12:00:00Z"
    pairs = [each.split("=") for each in conditions]
    status: dict[str, Any] = {"conditions": [{"type": type, "status": status} for type, status in pairs]}
    if observed is not None:
        status["observedGeneration"] = observed
    return {"metadata": metadata, "status": status}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, Verdict.NOT_FOUND),
        ({"metadata": {"generation": 1}}, Verdict.CURRENT),
        ({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}, Verdict.IN_PROGRESS),
        (an_object("Ready=True", deleting=True), Verdict.TERMINATING),
        (an_object("Ready=True"), Verdict.CURRENT),
        (an_object("Ready=True", observed=None), Verdict.CURRENT),
        (an_object("Ready=True", observed=1), Verdict.IN_PROGRESS),
        (an_object("Stalled=True", observed=1), Verdict.IN_PROGRESS),
        (an_object("Ready=False"), Verdict.IN_PROGRESS),
        (an_object("Ready=Unknown"), Verdict.IN_PROGRESS),
        (an_object("Ready=False", "Stalled=True"), Verdict.FAILED),
        (an_object("Ready=True", "Stalled=True"), Verdict.FAILED),
        (an_object("Ready=True", "Stalled=False"), Verdict.CURRENT),
        (an_object("Ready=True", "Reconciling=True"), Verdict.IN_PROGRESS),
        (an_object("Reconciling=True", "Stalled=True"), Verdict.IN_PROGRESS),
        (an_object("Stalled=True", "Reconciling=True"), Verdict.FAILED),
        (an_object("Degraded=True"), Verdict.CURRENT),
    ],
)
def test_the_verdict_is_the_one_of_kstatus(body: dict[str, Any] | None, expected: Verdict) -> None:
    assert verdict(body) is expected


SUMMARIES = {
    "ready": (c.ready(generation=2, now=NOW), Verdict.CURRENT),
    "progressing": (c.progressing("copying", generation=2, now=NOW), Verdict.IN_PROGRESS),
    "waiting": (c.waiting("NodeOffline", "pve1 is offline", generation=2, now=NOW), Verdict.IN_PROGRESS),
    "transient": (c.transient("Unreachable", "no answer", generation=2, now=NOW), Verdict.IN_PROGRESS),
    "terminal": (c.terminal("ChecksumMismatch", "not the bytes", generation=2, now=NOW), Verdict.FAILED),
}
names = st.sampled_from(sorted(SUMMARIES))


@given(history=st.lists(names, min_size=1, max_size=8), degraded=st.booleans(), observed=st.integers(-1, 3))
def test_whatever_happened_before_kstatus_agrees_with_the_last_summary(
    history: list[str], degraded: bool, observed: int
) -> None:
    conditions: list[c.Condition] = []
    for name in history:
        conditions = c.summarize(conditions, SUMMARIES[name][0])
        if degraded:
            own = c.condition(
                "Degraded", c.ConditionStatus.TRUE, reason="NodeOffline", message="", generation=2, now=NOW
            )
            conditions = c.put(conditions, own)
    body = {
        "metadata": {"generation": 2},
        "status": {"observedGeneration": observed, "conditions": [to_body(each) for each in conditions]},
    }
    expected = SUMMARIES[history[-1]][1] if observed == 2 else Verdict.IN_PROGRESS
    assert verdict(body) is expected


@given(
    conditions=st.dictionaries(
        st.sampled_from(["Ready", "Reconciling", "Stalled", "Degraded"]), st.sampled_from(["True", "False", "Unknown"])
    )
)
def test_an_object_is_current_only_if_nothing_says_otherwise(conditions: dict[str, str]) -> None:
    body = an_object(*(f"{type}={status}" for type, status in conditions.items()))
    abnormal = "True" in (conditions.get("Reconciling"), conditions.get("Stalled"))
    is_current = not abnormal and conditions.get("Ready", "True") == "True"
    assert (verdict(body) is Verdict.CURRENT) == is_current
