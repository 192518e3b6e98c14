"""Whose turn it is when many jobs have something to run, and two jobs that want the same place."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pantograph.api.run import RunUntold
from pantograph.controllers.strmsyncjob import alerting
from pantograph.engine.kube import Unavailable
from pantograph.providers.errors import Unreachable
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import GOOD, failed

HOUR_S = 3600.0


async def test_a_server_has_no_more_runs_than_it_may_and_every_job_gets_its_turn() -> None:
    async with MediaLab(maxRuns=2) as lab:
        names = [f"job-{number}" for number in range(7)]
        most = 0
        for name in names:
            await lab.apply(lab.job(name, path=f"/{name}"))
        while not all(lab.is_ready(f"strmsyncjob/{name}") for name in names):
            await lab.clock.sleep(1)
            most = max(most, len(lab.runners.at_work()))
            assert lab.clock.monotonic() < 300, lab.picture()
        assert most == 2
        assert all(lab.begun(name) == ["manual"] for name in names)
        await lab.until(lambda: lab.status("dataserver/openlist").get("activeRuns") == 0)


async def test_the_operator_has_no_more_runs_than_it_may_and_no_server_starves_another() -> None:
    async with MediaLab(max_runs=3, maxRuns=2) as lab:
        await lab.apply(lab.data_server("other"))
        most = 0
        for number in range(4):
            await lab.apply(lab.job(f"a-{number}", path=f"/a{number}"))
            await lab.apply(lab.job(f"b-{number}", path=f"/b{number}", serverRef={"name": "other"}))
        while not all(lab.is_ready(f"strmsyncjob/{name}-{number}") for name in "ab" for number in range(4)):
            await lab.clock.sleep(1)
            most = max(most, len(lab.runners.at_work()))
            assert lab.clock.monotonic() < 300, lab.picture()
        assert most == 3


async def test_a_request_by_hand_overtakes_what_the_clock_asks_for() -> None:
    async with MediaLab(maxRuns=1) as lab:
        names = [f"job-{number}" for number in range(5)]
        for name in names:
            await lab.apply(lab.job(name, path=f"/{name}", schedule={"cron": "0 1 * * *"}))
        await lab.until(lambda: all(lab.is_ready(f"strmsyncjob/{name}") for name in names))
        lab.runners.takes_s = 300
        await lab.until(lambda: len(lab.runners.order) == 6, within_s=2 * HOUR_S)  # 01:00
        await lab.quiet(for_s=10)
        last_in_line = [name for name in names if len(lab.begun(name)) == 1][-1]
        assert lab.condition(f"strmsyncjob/{last_in_line}", "Reconciling")["message"].startswith("waits for its turn")
        assert lab.is_ready(f"strmsyncjob/{last_in_line}")
        await lab.annotate(last_in_line, reconcile_at="now")
        await lab.until(lambda: len(lab.runners.order) == 7)
        assert lab.runners.order[-1].order.job.metadata.name == last_in_line
        assert lab.begun(last_in_line) == ["manual", "manual"]
        await lab.quiet(for_s=2 * HOUR_S)
        assert len(lab.runners.order) == 10  # the clock's wish was taken in by the request


async def test_a_process_that_begins_counts_the_runs_that_are_at_work() -> None:
    async with MediaLab(maxRuns=1) as lab:
        lab.runners.takes_s = 600
        await lab.apply(lab.job("a", path="/a"))
        await lab.until(lab.runners.at_work)
        await lab.apply(lab.job("b", path="/b"))
        for _ in range(5):
            await lab.quiet(for_s=20)
            await lab.restart()
            assert len(lab.runners.at_work()) == 1
        await lab.until_ready("strmsyncjob/b")


async def test_a_job_that_leaves_the_line_holds_up_nobody() -> None:
    async with MediaLab(maxRuns=1) as lab:
        lab.runners.takes_s = 600
        await lab.apply(lab.job("a", path="/a"))
        await lab.until(lab.runners.at_work)
        await lab.apply(lab.job("b", path="/b"))
        await lab.until_reason("strmsyncjob/b", "NotSynced")
        await lab.apply(lab.job("c", path="/c"))
        await lab.until_reason("strmsyncjob/c", "NotSynced")
        await lab.delete("strmsyncjob/b")
        await lab.until(lambda: lab.begun("c"), within_s=700)
        assert lab.begun("b") == []


async def test_of_two_jobs_with_overlapping_targets_the_younger_is_stalled_and_names_the_older() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job("films", target={"root": {"name": "media", "subPath": "library"}}))
        await lab.until_ready("strmsyncjob/films")
        await lab.apply(lab.job("shows", target={"root": {"name": "media", "subPath": "library/shows"}}))
        await lab.apply(lab.job("twin", target={"root": {"name": "media", "subPath": "library-2"}}))
        await lab.until_reason("strmsyncjob/shows", "TargetOverlaps")
        assert "StrmSyncJob lab/films is older" in lab.condition("strmsyncjob/shows")["message"]
        await lab.until_ready("strmsyncjob/twin")
        assert lab.is_ready("strmsyncjob/films")
        assert lab.begun("shows") == []
        await lab.delete("strmsyncjob/films")
        await lab.until_ready("strmsyncjob/shows", within_s=60)


async def test_the_younger_goes_on_when_the_older_moves_away() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job("films", target={"root": {"name": "media", "subPath": "library"}}))
        await lab.until_ready("strmsyncjob/films")
        await lab.apply(lab.job("shows", target={"root": {"name": "media"}}))
        await lab.until_reason("strmsyncjob/shows", "TargetOverlaps")
        await lab.apply(lab.job("films", target={"persistentVolumeClaim": {"claimName": "strm"}}))
        await lab.until_ready("strmsyncjob/shows", within_s=60)


async def test_a_target_in_a_local_source_is_refused_in_either_order() -> None:
    async with MediaLab(server=False) as lab:
        local = {"persistentVolumeClaim": {"claimName": "nas"}}
        await lab.apply(lab.data_server(driver="Local", endpoint=None, credentialsRef=None, local=local))
        nas = {"claimName": "nas"}
        own = {"persistentVolumeClaim": {**nas, "subPath": "Films/strm"}}
        await lab.apply(lab.job("own", target=own))
        await lab.until_reason("strmsyncjob/own", "SourceOverlaps")
        await lab.apply(lab.job("films", target={"persistentVolumeClaim": {**nas, "subPath": "strm"}}))
        await lab.until_ready("strmsyncjob/films")
        await lab.apply(lab.job("late", path="/strm", target={"persistentVolumeClaim": {"claimName": "else"}}))
        await lab.until_reason("strmsyncjob/late", "SourceOverlaps")
        assert "StrmSyncJob lab/films is older" in lab.condition("strmsyncjob/late")["message"]


ALERTS = {"alerts": [{"name": "hook", "webhook": {"url": "http://hook.test/x"}}]}


async def test_people_hear_of_a_fault_once_and_once_that_it_is_over() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [failed("Unreachable")] * 4
        await lab.apply(lab.job(notify=ALERTS))
        await lab.until(lambda: lab.status("strmsyncjob/films").get("consecutiveFailures") == 2)
        await lab.restart()
        await lab.until_ready("strmsyncjob/films")
        await lab.quiet()
        assert lab.mailbox.told == [("Failed", "Unreachable"), ("Recovered", "")]
        assert "alerted" not in lab.status("strmsyncjob/films")


async def test_another_fault_is_told_and_an_alert_that_did_not_arrive_is_sent_again() -> None:
    async with MediaLab() as lab:
        lab.mailbox.fault = Unreachable("hook.test does not answer")
        lab.runners.results = [failed("Unreachable"), failed("TargetFull"), failed("TargetFull")]
        await lab.apply(lab.job(notify=ALERTS))
        await lab.until(lambda: lab.condition("strmsyncjob/films", "AlertNotDelivered"))
        assert "hook: hook.test does not answer" in lab.condition("strmsyncjob/films", "AlertNotDelivered")["message"]
        lab.mailbox.fault = None
        await lab.until_ready("strmsyncjob/films")
        await lab.quiet()
        assert lab.mailbox.told[-2:] == [("Failed", "TargetFull"), ("Recovered", "")]
        assert not lab.condition("strmsyncjob/films", "AlertNotDelivered")


async def test_who_has_heard_is_not_told_again_because_another_cannot_be_reached() -> None:
    async with MediaLab() as lab:
        lab.mailbox.closed = {"phone"}
        lab.runners.results = [failed("Unreachable")] * 50
        hook = ALERTS["alerts"][0]
        await lab.apply(lab.job(notify={"alerts": [hook, {**hook, "name": "phone"}]}))
        await lab.until(lambda: lab.status("strmsyncjob/films").get("consecutiveFailures", 0) >= 5)
        began = lab.clock.now()
        before = lab.mailbox.attempts["phone"]
        await lab.until(lambda: lab.clock.now() - began > timedelta(minutes=20))
        assert lab.mailbox.attempts["hook"] == 1
        assert before <= lab.mailbox.attempts["phone"] <= before + 11
        lab.mailbox.closed = set()
        await lab.until(lambda: len(lab.mailbox.told) == 2)
        assert lab.mailbox.told == [("Failed", "Unreachable")] * 2


TELEGRAM = {"name": "phone", "telegram": {"chatId": "1", "secretRef": {"name": "bot"}}}


async def test_a_receiver_whose_secret_cannot_be_read_holds_up_neither_the_status_nor_the_others() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.secret("bot", token="123:abc"))
        lab.runners.results = [failed("OwnedByAnother")]
        await lab.apply(lab.job(notify={"alerts": [*ALERTS["alerts"], TELEGRAM]}))
        await lab.until(lab.runners.at_work)
        lab.server.fail_next("get", Unavailable("too many requests"), kind="Secret", times=6)
        await lab.until(lambda: lab.condition("strmsyncjob/films", "AlertNotDelivered"), within_s=60)
        said = lab.condition("strmsyncjob/films", "AlertNotDelivered")["message"]
        assert said == "phone: its Secret could not be read: too many requests"
        assert lab.condition("strmsyncjob/films", "Stalled")["reason"] == "OwnedByAnother"
        await lab.until(lambda: not lab.condition("strmsyncjob/films", "AlertNotDelivered"), within_s=1800)
        assert lab.mailbox.told == [("Failed", "OwnedByAnother")] * 2
        assert lab.mailbox.attempts == {"hook": 1, "phone": 1}


async def test_a_defect_in_telling_one_receiver_is_logged_and_keeps_nothing_else_back() -> None:
    async with MediaLab() as lab:
        lab.mailbox.broken = {"phone"}
        lab.runners.results = [failed("OwnedByAnother")]
        hook = ALERTS["alerts"][0]
        await lab.apply(lab.job(notify={"alerts": [hook, {**hook, "name": "phone"}]}))
        await lab.until_reason("strmsyncjob/films", "OwnedByAnother")
        await lab.quiet()
        assert lab.mailbox.attempts["hook"] == 1
        said = lab.condition("strmsyncjob/films", "AlertNotDelivered")["message"]
        assert said == "phone: unforeseen ZeroDivisionError; its trace is in the operator's log"
        assert unforeseen(lab, "ZeroDivisionError") >= 1


async def test_a_defect_in_finding_what_is_news_does_not_keep_the_status_from_being_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def news_of(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(alerting, "news_of", news_of)
    async with MediaLab() as lab:
        await lab.apply(lab.job(notify=ALERTS, target={"root": {"name": "unknown", "subPath": "films"}}))
        await lab.until_reason("strmsyncjob/films", "RootNotFound")
        assert unforeseen(lab, "ZeroDivisionError") >= 1


def unforeseen(lab: MediaLab, error: str) -> float:
    """How many defects of that type were counted."""
    labels = {"kind": "StrmSyncJob", "type": error}
    return lab.metrics[-1].registry.get_sample_value("pantograph_unforeseen_errors_total", labels) or 0.0


async def test_media_servers_that_could_not_be_told_are_named_and_told_by_a_run_that_does_nothing_else() -> None:
    async with MediaLab() as lab:
        due = lab.clock.now() + timedelta(minutes=5)
        untold = RunUntold(server="jellyfin", reason="Unreachable", message="jellyfin:8096 does not answer")
        lab.runners.results = [GOOD.model_copy(update={"notify_due": due, "notify_failed": [untold]})]
        await lab.apply(lab.job(notify=ALERTS))
        await lab.until_ready("strmsyncjob/films")
        message = lab.condition("strmsyncjob/films", "NotifyFailed")["message"]
        assert message == "jellyfin (jellyfin:8096 does not answer)"
        await lab.quiet(for_s=240)
        assert len(lab.begun()) == 1
        await lab.until(lambda: len(lab.begun()) == 2, within_s=60)
        assert lab.runners.order[-1].order.notify_only
        await lab.until(lambda: not lab.run())
        assert not lab.condition("strmsyncjob/films", "NotifyFailed")
        assert lab.last()["created"] == 3
        await lab.quiet()
        assert len(lab.begun()) == 2


CRON = {"cron": "0 3 * * *"}


async def test_people_hear_once_that_a_server_was_away_when_a_run_was_due_and_once_that_it_ran() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(notify=ALERTS, schedule=CRON))
        await lab.until_ready("strmsyncjob/films")
        lab.openlist.fault = Unreachable("openlist does not answer")
        await lab.clock.sleep(600)
        await lab.clock.sleep(3.5 * HOUR_S)
        assert lab.mailbox.told == [], "a server may be restarted at that time"
        await lab.clock.sleep(HOUR_S)
        assert lab.mailbox.told == [("Failed", "ServerNotReady")]
        await lab.restart()
        await lab.quiet(for_s=50 * HOUR_S)
        lab.openlist.fault = None
        await lab.until(lambda: lab.begun() == ["manual", "cron"], within_s=900)
        await lab.quiet()
        assert lab.mailbox.told == [("Failed", "ServerNotReady"), ("Recovered", "")]


async def test_a_run_that_was_missed_for_want_of_the_server_is_told_before_it_may_begin_no_more() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(notify=ALERTS, schedule={**CRON, "startingDeadline": "20m"}))
        await lab.until_ready("strmsyncjob/films")
        lab.openlist.fault = Unreachable("openlist does not answer")
        await lab.clock.sleep(60 * HOUR_S)
        assert lab.mailbox.told == [("Failed", "ServerNotReady")]
        lab.openlist.fault = None
        await lab.quiet(for_s=6 * HOUR_S)
        assert lab.mailbox.told == [("Failed", "ServerNotReady")], "it has not run yet"
        await lab.clock.sleep(24 * HOUR_S)
        assert lab.mailbox.told == [("Failed", "ServerNotReady"), ("Recovered", "")]


async def test_people_hear_once_that_a_job_is_stalled_before_any_run_and_once_that_it_is_not() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job("older", target={"root": {"name": "media", "subPath": "library"}}))
        await lab.until_ready("strmsyncjob/older")
        await lab.apply(lab.job(notify=ALERTS))
        await lab.until_ready("strmsyncjob/films")
        elsewhere = {"root": {"name": "unknown", "subPath": "films"}}
        await lab.apply(lab.job(notify=ALERTS, target=elsewhere))
        await lab.until_reason("strmsyncjob/films", "RootNotFound")
        await lab.quiet(for_s=3 * HOUR_S)
        await lab.restart()
        await lab.quiet(for_s=HOUR_S)
        assert lab.mailbox.told == [("Failed", "RootNotFound")]
        await lab.apply(lab.job(notify=ALERTS))
        await lab.until_ready("strmsyncjob/films")
        await lab.quiet()
        assert lab.mailbox.told == [("Failed", "RootNotFound"), ("Recovered", "")]
