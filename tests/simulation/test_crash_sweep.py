"""The operator may die at any moment: whatever the moment, the world ends as if it had not.

For every effect k of the job and of its deletion: killed before it, killed after it, its answer lost. What is compared,
and how, stands in `crashpoints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from tests.simulation.crashpoints import MODES, Failure, Mode
from tests.simulation.sweep import HARDWARE, LOCAL, SHARED, Scenario, live, sweep


def told(failures: Sequence[Failure]) -> str:
    return f"{len(failures)} crash points end differently:\n" + "\n".join(map(str, failures))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scenario", [LOCAL, SHARED, HARDWARE], ids=["local", "shared", "hardware"])
def test_every_crash_point_leads_to_the_undisturbed_end(scenario: Scenario, mode: Mode) -> None:
    effects = len(live(scenario).tap.effects)
    assert effects > 40, "a sweep over nothing proves nothing"
    failures = sweep(scenario, ({number: mode} for number in range(1, effects + 1)))
    assert not failures, told(failures)


def test_two_crashes_lead_to_the_undisturbed_end() -> None:
    random = Random(20261126)
    effects = len(live(LOCAL).tap.effects)
    pairs = [sorted(random.sample(range(1, effects + 1), 2)) for _ in range(100)]
    failures = sweep(LOCAL, ({number: random.choice(MODES) for number in pair} for pair in pairs))
    assert not failures, told(failures)
