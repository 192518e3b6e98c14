"""The operator may die at any moment: whatever the moment, the world ends as if it had not.

For every effect k of the job and of its deletion: killed before it, killed after it, its answer lost. What is compared,
and how, stands in `crashpoints`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from random import Random

import pytest

from tests.simulation.crashpoints import MODES, Failure, Mode
from tests.simulation.sweep import HARDWARE, LOCAL, SHARED, Scenario, live, sweep


def told(failures: Sequence[Failure]) -> str:
    return f"{len(failures)} crash points end differently:\n" + "\n".join(map(str, failures))


@functools.cache
def effects_of(scenario: Scenario) -> range:
    """The numbers of all effects of the undisturbed job and its deletion."""
    count = len(live(scenario).tap.effects)
    assert count > 40, "a sweep over nothing proves nothing"
    return range(1, count + 1)


@pytest.mark.parametrize("mode", MODES)
def test_every_crash_point_leads_to_the_undisturbed_end(mode: Mode) -> None:
    failures = sweep(LOCAL, ({number: mode} for number in effects_of(LOCAL)))
    assert not failures, told(failures)


@pytest.mark.parametrize("scenario", [SHARED, HARDWARE], ids=["shared-storage", "resized-ovmf-tpm"])
def test_every_crash_point_of_other_machines_does_too(scenario: Scenario) -> None:
    """Each effect of these meets one of the modes, in turn."""
    modes = itertools.cycle(MODES)
    failures = sweep(scenario, ({number: next(modes)} for number in effects_of(scenario)))
    assert not failures, told(failures)


def test_two_crashes_in_one_job_lead_to_the_undisturbed_end() -> None:
    random = Random(20261126)
    pairs = [sorted(random.sample(effects_of(SHARED), 2)) for _ in range(100)]
    failures = sweep(SHARED, ({number: random.choice(MODES) for number in pair} for pair in pairs))
    assert not failures, told(failures)
