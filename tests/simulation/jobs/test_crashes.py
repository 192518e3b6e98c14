"""The operator may die at every effect of a job's life: each run is begun once, and everything asked for is done once."""

from __future__ import annotations

import pytest

from tests.fakes.apiserver import Crash
from tests.fakes.virtualtime import run as on_virtual_time
from tests.simulation.crashpoints import Mode, Tap
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
        await lab.annotate("films", approve_rewrite="one")
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
            run.order.approve_rewrite,
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


def effects_of_an_undisturbed_life() -> int:
    tap = Tap()
    lab = on_virtual_time(life(tap, children=False))
    assert story(lab) == EXPECTED
    assert lab.mailbox.told == [("Failed", "Unreachable"), ("Recovered", "")]
    return len(tap.effects)


@pytest.mark.parametrize("children", [False, True], ids=["as Jobs", "as children"])
@pytest.mark.parametrize("mode", ["killed before", "killed after", "answer lost"])
def test_every_run_is_begun_once_wherever_the_operator_dies(mode: Mode, children: bool) -> None:
    effects = effects_of_an_undisturbed_life()
    for at in range(1, effects + 1):
        tap = Tap(strikes={at: mode})
        if mode == "answer lost" and _is_local(at):
            continue
        lab = on_virtual_time(life(tap, children=children))
        assert tap.struck, at
        assert story(lab) == EXPECTED, (at, tap.effects[at - 1])
        kinds = [result for result, _ in lab.mailbox.told]
        assert sorted(set(kinds), key=kinds.index) == ["Failed", "Recovered"], at


def _is_local(at: int) -> bool:
    """Calls of a run's keeper in the same process lose no answers."""
    tap = Tap()
    on_virtual_time(life(tap, children=False))
    return tap.effects[at - 1].startswith(("start", "cancel", "forget"))
