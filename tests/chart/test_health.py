"""The Argo CD health script says what kstatus says, so that an object has one state whoever asks."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pantograph.api.kstatus import Verdict, verdict
from tests.chart.argocd import ARGO_OF, CHECKOUT, SCRIPT, Body, health, run_lua


def condition(kind: str, status: str, **more: Any) -> Body:
    return {"type": kind, "status": status, "reason": "Because", "message": f"{kind} is {status}", **more}


def an_object(*conditions: Body, observed: int | None = 3, generation: int = 3, **spec: Any) -> Body:
    status: Body = {"observedGeneration": observed} if observed is not None else {}
    if conditions:
        status["conditions"] = list(conditions)
    return {"metadata": {"name": "debian", "generation": generation}, "spec": spec, "status": status}


READY = condition("Ready", "True")
NOT_READY = condition("Ready", "False")
UNKNOWN = condition("Ready", "Unknown")
RECONCILING = condition("Reconciling", "True")
STALLED = condition("Stalled", "True")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(an_object(READY), "Healthy", id="converged"),
        pytest.param(
            an_object(READY, condition("Degraded", "True")), "Healthy", id="a place that was ready is unreachable"
        ),
        pytest.param(an_object(UNKNOWN, RECONCILING), "Progressing", id="working"),
        pytest.param(an_object(NOT_READY, RECONCILING), "Progressing", id="waits for a dependency"),
        pytest.param(an_object(NOT_READY, STALLED), "Degraded", id="stalled"),
        pytest.param(an_object(NOT_READY), "Progressing", id="not ready, no more said"),
        pytest.param(an_object(READY, observed=2), "Progressing", id="an old Ready of an older generation"),
        pytest.param(
            an_object(NOT_READY, STALLED, observed=2), "Progressing", id="an old Stalled of an older generation"
        ),
        pytest.param(an_object(observed=-1), "Progressing", id="new, the controller is down"),
        pytest.param(
            an_object(READY, condition("Stalled", "False")), "Healthy", id="an abnormal condition that is False"
        ),
    ],
)
def test_argo_cd_and_kstatus_agree(body: Body, expected: str) -> None:
    assert health(body) == expected
    assert ARGO_OF[verdict(body)] == expected


def test_a_suspended_object_is_suspended_whatever_its_status() -> None:
    assert health(an_object(NOT_READY, STALLED, suspend=True)) == "Suspended"
    assert health(an_object(observed=-1, suspend=True)) == "Suspended"
    assert health(an_object(READY, suspend=False)) == "Healthy"


def test_an_object_under_deletion_is_never_healthy() -> None:
    body = an_object(READY)
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert health(body) == "Progressing"
    assert verdict(body) is Verdict.TERMINATING


def test_the_message_shown_is_the_one_of_the_condition_that_decided() -> None:
    assert run_lua(an_object(NOT_READY, STALLED))["message"] == "Stalled is True"
    assert run_lua(an_object(NOT_READY, RECONCILING))["message"] == "Reconciling is True"
    assert run_lua(an_object(READY))["message"] == "Ready is True"


def test_an_object_without_status_is_in_progress_though_the_default_makes_that_impossible() -> None:
    body = an_object(READY)
    del body["status"]
    assert health(body) == "Progressing"


_STATUS = st.sampled_from(["True", "False", "Unknown"])
_OTHERS = st.lists(
    st.tuples(st.sampled_from(["Reconciling", "Stalled", "Degraded", "Suspended", "Reachable"]), _STATUS),
    unique_by=lambda pair: pair[0],
)


@st.composite
def objects(draw: st.DrawFn) -> Body:
    """Objects as the API server can hold them: observedGeneration by default, Ready once a generation was observed."""
    generation = draw(st.integers(1, 4))
    observed = draw(st.sampled_from([-1, 1, 2, 3, 4]))
    conditions = [condition("Ready", draw(_STATUS)), *(condition(kind, status) for kind, status in draw(_OTHERS))]
    shown = draw(st.permutations(conditions)) if observed != -1 else []
    return an_object(*shown, observed=observed, generation=generation)


@given(objects())
def test_they_agree_on_every_status(body: Body) -> None:
    assert health(body) == ARGO_OF[verdict(body)]


def test_the_documentation_pastes_this_very_script() -> None:
    text = (CHECKOUT / "docs/gitops.md").read_text()
    block = next(part for part in text.split("```yaml\n")[1:] if "argocd-cm" in part).split("```")[0]
    customizations = yaml.safe_load(yaml.safe_load(block)["data"]["resource.customizations"])
    assert customizations == {"pantograph.dev/*": {"health.lua": SCRIPT}}
