"""A run from which nothing is heard any more: its job says so, and people are told, once."""

from __future__ import annotations

from pantograph.controllers.runs.port import Silence
from tests.simulation.jobs.lab import MediaLab

HOUR_S = 3600.0
ALERTS = {"alerts": [{"name": "hook", "webhook": {"url": "http://hook.test/x"}}]}
HOURLY = {"cron": "0 * * * *"}


def fall_silent(lab: MediaLab) -> None:
    """The run at work says nothing from now on, and does not end."""
    (run,) = lab.runners.at_work()
    run.took_s = 1000 * HOUR_S
    run.silence = Silence(lab.clock.now(), "the run has said nothing: its Pod hangs", "look at node n1")


async def test_a_run_that_falls_silent_is_shown_and_told_once_and_no_other_begins() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(schedule=HOURLY, notify=ALERTS))
        await lab.until_ready("strmsyncjob/films")
        await lab.until(lambda: lab.begun() == ["manual", "cron"], within_s=2 * HOUR_S)
        fall_silent(lab)
        await lab.until_reason("strmsyncjob/films", "RunSilent")
        said = "the run has said nothing: its Pod hangs; to mend it: look at node n1"
        assert lab.condition("strmsyncjob/films", "Ready")["status"] == "False"
        assert lab.condition("strmsyncjob/films", "Reconciling")["message"] == said
        assert lab.run()["waitsFor"] == "the run has said nothing: its Pod hangs"
        assert said in lab.events("RunSilent")[0]
        await lab.clock.sleep(0.9 * HOUR_S)
        assert lab.mailbox.told == [], "a node may be started anew"
        await lab.clock.sleep(0.2 * HOUR_S)
        assert lab.mailbox.told == [("Failed", "RunSilent")]
        await lab.quiet(for_s=3 * HOUR_S)
        await lab.restart()
        await lab.quiet(for_s=3 * HOUR_S)
        assert lab.mailbox.told == [("Failed", "RunSilent")]
        assert lab.begun() == ["manual", "cron"]


async def test_when_a_silent_run_is_heard_again_ready_is_what_it_was_and_people_hear_when_it_has_ended() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(schedule=HOURLY, notify=ALERTS))
        await lab.until_ready("strmsyncjob/films")
        await lab.until(lambda: len(lab.begun()) == 2, within_s=2 * HOUR_S)
        fall_silent(lab)
        await lab.until(lambda: lab.mailbox.told, within_s=2 * HOUR_S)
        lab.runners.at_work()[0].silence = None
        await lab.until_ready("strmsyncjob/films")
        assert "waitsFor" not in lab.run()
        assert lab.condition("strmsyncjob/films", "Reconciling")["reason"] == "Running"
        assert lab.mailbox.told == [("Failed", "RunSilent")], "it has not done its work yet"
        lab.runners.at_work()[0].took_s = 0
        await lab.until(lambda: len(lab.mailbox.told) == 2, within_s=60)
        assert lab.mailbox.told[-1] == ("Recovered", "")


async def test_a_silent_run_can_be_cancelled_and_the_next_one_begins_at_its_time() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(schedule=HOURLY))
        await lab.until(lab.runners.at_work)
        fall_silent(lab)
        await lab.until_reason("strmsyncjob/films", "RunSilent")
        await lab.annotate("films", cancel="1")
        await lab.until(lambda: lab.last().get("result") == "Cancelled", within_s=60)
        await lab.until(lambda: lab.begun()[-1] == "cron", within_s=2 * HOUR_S)
