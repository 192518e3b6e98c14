"""The operator may die at every effect of a job's life: each run is begun once, each request obeyed once."""

from __future__ import annotations

from functools import cache

import pytest

from tests.fakes.virtualtime import run as on_virtual_time
from tests.simulation.crashpoints import MODES, Mode, Tap, spread
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import GOOD, failed

FILMS = "strmsyncjob/films"
ALERTS = {"alerts": [{"name": "hook", "webhook": {"url": "http://hook.test/x"}}]}


async def revived(lab: MediaLab) -> None:
    """Let ten virtual minutes pass; a dead operator is started again."""
    for _ in range(600):
        await lab.clock.sleep(1)
        await lab.revive()


async def life(tap: Tap, *, children: bool) -> MediaLab:
    """A job is made, runs at its time, fails once, is asked for, cancelled, and deleted with its files."""
    lab = MediaLab(tap=tap)
    lab.runners.children = children
    async with lab:
        await lab.apply(lab.job(schedule={"cron": "0 1 * * *"}, deletionPolicy="Delete", notify=ALERTS))
        await revived(lab)
        lab.runners.results = [failed("Unreachable"), GOOD]
        await lab.annotate("films", reconcile_at="one")
        await revived(lab)
        lab.runners.takes_s = 10_000
        await lab.annotate("films", rebuild_manifest="one")
        await revived(lab)
        await lab.annotate("films", cancel="one")
        await revived(lab)
        lab.runners.takes_s = 20
        await lab.clock.sleep(2400)
        await revived(lab)
        assert lab.last()["trigger"] == "cron", lab.picture()
        await lab.delete(FILMS)
        await revived(lab)
        assert lab.get(FILMS) is None, lab.picture()
        assert lab.runners.at_work() == []
    return lab


def story(lab: MediaLab) -> list[tuple[str, bool, bool, str]]:
    """What was done, without runs whose process died under them: another one went on there."""
    return [
        (
            run.order.trigger,
            run.order.rebuild_manifest,
            run.order.purge,
            "Cancelled" if run.cancelled else run.result.result,
        )
        for run in lab.runners.order
        if not run.gone
    ]


EXPECTED = [
    ("manual", False, False, "Succeeded"),
    ("manual", False, False, "Failed"),
    ("manual", False, False, "Succeeded"),
    ("manual", True, False, "Cancelled"),
    ("cron", False, False, "Succeeded"),
    ("manual", False, True, "Succeeded"),
]


@cache
def effects_of_an_undisturbed_life() -> tuple[str, ...]:
    tap = Tap()
    lab = on_virtual_time(life(tap, children=False))
    assert story(lab) == EXPECTED
    assert lab.mailbox.told == [("Failed", "Unreachable"), ("Recovered", "")]
    return tuple(tap.effects)


def survives(at: int, mode: Mode, *, children: bool) -> None:
    """Strike at effect `at`; AssertionError if anything was done twice, or not at all."""
    tap = Tap(strikes={at: mode})
    lab = on_virtual_time(life(tap, children=children))
    assert tap.struck, at
    done = story(lab)
    if any(run.gone and run.order.rebuild_manifest for run in lab.runners.order):
        done = [*done[:3], EXPECTED[3], *done[3:]] if EXPECTED[3] not in done else done  # it died while it was to stop
    assert done == EXPECTED, (at, tap.effects[at - 1])
    told = [result for result, _ in lab.mailbox.told]
    assert told in (["Failed", "Recovered"], ["Failed", "Failed", "Recovered"], ["Failed", "Recovered", "Recovered"])


def points(count: int) -> list[tuple[int, Mode]]:
    """Crash points spread over the life. Calls in the operator's own process lose no answers."""
    effects = effects_of_an_undisturbed_life()
    local = {at for at, effect in enumerate(effects, 1) if effect.startswith(("start", "cancel", "forget"))}
    return [(at, mode) for at, mode in spread(len(effects), count) if mode != "answer lost" or at not in local]


def all_points() -> list[tuple[int, Mode]]:
    """Every effect in every mode: for a run of its own, it takes a quarter of an hour."""
    effects = effects_of_an_undisturbed_life()
    return [
        (at, mode)
        for at, effect in enumerate(effects, 1)
        for mode in MODES
        if mode != "answer lost" or not effect.startswith(("start", "cancel", "forget"))
    ]


@pytest.mark.parametrize("children", [False, True], ids=["as Jobs", "as children"])
def test_every_run_is_begun_once_and_every_request_obeyed_once_wherever_the_operator_dies(children: bool) -> None:
    for at, mode in points(16):
        survives(at, mode, children=children)
