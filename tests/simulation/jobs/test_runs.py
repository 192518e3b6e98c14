"""When runs begin, whose turn it is, and what their end means."""

from __future__ import annotations

from pantograph.api.run import RunProgress
from pantograph.engine.errors import Terminal
from pantograph.engine.kube import Forbidden, OutcomeUnknown, Unavailable
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import BLOCKED, GOOD, failed

HOUR_S = 3600.0
ALERTS = {"alerts": [{"name": "hook", "webhook": {"url": "http://hook.test/x"}}]}


async def test_a_job_runs_when_it_is_made_and_again_when_its_spec_changes() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job())
        await lab.until_ready("strmsyncjob/films")
        assert lab.begun() == ["manual"]
        assert lab.last()["result"] == "Succeeded"
        assert lab.last()["created"] == 3
        assert lab.status("strmsyncjob/films")["inventory"]["strm"] == 3
        await lab.apply(lab.job(link={"publicBase": "http://other.lan:5244"}))
        await lab.until(lambda: len(lab.begun()) == 2)
        assert not lab.is_ready("strmsyncjob/films")
        await lab.until_ready("strmsyncjob/films")
        await lab.quiet()
        assert len(lab.begun()) == 2


async def test_a_change_that_decides_about_no_file_begins_no_run() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job())
        await lab.until_ready("strmsyncjob/films")
        await lab.apply(lab.job(interval="1h", deletionPolicy="Delete", schedule={"deadline": "6h"}))
        await lab.until_ready("strmsyncjob/films")
        await lab.quiet(for_s=60)
        assert len(lab.begun()) == 1


async def test_a_converged_job_writes_nothing_not_even_when_the_operator_begins_anew() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(schedule={"cron": "0 3 * * *"}))
        await lab.until_ready("strmsyncjob/films")
        await lab.quiet(for_s=120)
        writes = len(lab.server.writes)
        await lab.quiet()
        await lab.restart()
        await lab.quiet()
        assert lab.server.writes[writes:] == []


async def test_cron_runs_at_its_time_and_says_the_next_one() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(schedule={"cron": "0 3 * * *", "timeZone": "Asia/Shanghai"}))
        await lab.until_ready("strmsyncjob/films")
        assert lab.status("strmsyncjob/films")["nextRunTime"] == "2026-11-26T19:00:00Z"
        await lab.until(lambda: lab.begun() == ["manual", "cron"], within_s=20 * HOUR_S)
        assert lab.clock.now().isoformat()[:16] == "2026-11-26T19:00"
        assert lab.is_ready("strmsyncjob/films")  # a run at its time takes nothing from what the last one reached
        await lab.until(lambda: not lab.run())
        assert lab.status("strmsyncjob/films")["nextRunTime"] == "2026-11-27T19:00:00Z"


async def test_missed_times_are_made_up_for_once_and_only_while_it_is_not_too_late() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(schedule={"cron": "0 * * * *", "startingDeadline": "20m"}))
        await lab.until_ready("strmsyncjob/films")
        await lab.kill()
        await lab.clock.sleep(5 * HOUR_S + 600)  # 05:10
        await lab.start()
        await lab.until(lambda: lab.begun() == ["manual", "cron"], within_s=60)
        await lab.quiet(for_s=600)
        assert len(lab.begun()) == 2
        await lab.kill()
        await lab.clock.sleep(2 * HOUR_S + 1800)  # 07:50
        await lab.start()
        await lab.quiet(for_s=120)
        assert len(lab.begun()) == 2
        assert "the run of 2026-11-26T07:00:00Z could not begin" in lab.events("RunMissed")[0]
        assert lab.status("strmsyncjob/films")["nextRunTime"] == "2026-11-26T08:00:00Z"


async def test_a_clock_that_was_ahead_holds_up_nothing_once_it_is_right() -> None:
    async with MediaLab() as lab:
        lab.turn_clock(days=30)
        lab.runners.results = [failed("Unreachable"), failed("TargetFull")]
        await lab.apply(lab.job(schedule={"cron": "0 3 * * *"}, notify=ALERTS))
        await lab.until(lab.last)
        assert lab.status("strmsyncjob/films")["nextRunTime"] == "2026-12-26T03:00:00Z"
        lab.turn_clock(days=-30)
        await lab.until(lambda: len(lab.begun()) == 3, within_s=600)
        await lab.until_ready("strmsyncjob/films")
        assert lab.mailbox.told == [("Failed", "Unreachable"), ("Failed", "TargetFull"), ("Recovered", "")]
        assert lab.status("strmsyncjob/films")["nextRunTime"] == "2026-11-26T03:00:00Z"
        await lab.until(lambda: lab.begun()[-1] == "cron", within_s=4 * HOUR_S)


async def test_while_a_run_is_at_work_forbid_skips_queue_follows_and_replace_stops() -> None:
    for policy, expected in (("Forbid", 2), ("Queue", 3), ("Replace", 3)):
        async with MediaLab() as lab:
            await lab.apply(lab.job(schedule={"cron": "0 * * * *", "concurrencyPolicy": policy}))
            await lab.until_ready("strmsyncjob/films")
            lab.runners.takes_s = 80 * 60  # from 01:00 to 02:20
            await lab.until(lambda: len(lab.begun()) == 2, within_s=2 * HOUR_S)
            lab.runners.takes_s = 60
            await lab.clock.sleep(HOUR_S + 30 * 60)  # 02:30
            assert len(lab.begun()) == expected, policy
            assert lab.runners.of("films")[1].cancelled == (policy == "Replace")
            await lab.quiet(for_s=HOUR_S)  # 03:30
            assert len(lab.begun()) == expected + 1, policy


async def test_suspended_times_are_not_missed_and_a_run_at_work_is_followed_to_its_end() -> None:
    async with MediaLab() as lab:
        lab.runners.takes_s = 300
        await lab.apply(lab.job(schedule={"cron": "0 * * * *"}))
        await lab.until(lab.run)
        await lab.patch("strmsyncjob/films", {"spec": {"suspend": True}})
        await lab.until(lambda: lab.condition("strmsyncjob/films", "Suspended"))
        assert lab.last()["result"] == "Succeeded"
        await lab.quiet(for_s=3 * HOUR_S)
        assert len(lab.begun()) == 1
        await lab.patch("strmsyncjob/films", {"spec": {"suspend": False}})
        await lab.quiet(for_s=600)
        assert len(lab.begun()) == 1
        assert lab.status("strmsyncjob/films")["nextRunTime"] == "2026-11-26T04:00:00Z"


async def test_a_request_runs_once_and_a_path_narrows_it() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job())
        await lab.until_ready("strmsyncjob/films")
        await lab.annotate("films", reconcile_at="1", run_path="/Films/New")
        await lab.until(lambda: len(lab.begun()) == 2)
        assert lab.runners.of("films")[1].order.scope == ("New",)
        assert lab.run()["scope"] == ["New"]
        await lab.quiet()
        await lab.restart()
        await lab.quiet()
        assert len(lab.begun()) == 2
        await lab.annotate("films", reconcile_at="2", run_path="/Shows")
        await lab.until(lambda: lab.events("RunPathInvalid"))
        await lab.quiet(for_s=60)
        assert len(lab.begun()) == 2
        await lab.annotate("films", reconcile_at="3", run_path=None)
        await lab.until(lambda: len(lab.begun()) == 3)
        assert lab.runners.of("films")[2].order.scope == ()


async def test_cancel_stops_the_run_and_acts_once() -> None:
    async with MediaLab() as lab:
        lab.runners.takes_s = HOUR_S
        await lab.apply(lab.job())
        await lab.until(lambda: lab.status("strmsyncjob/films").get("operation", {}).get("handle"))
        await lab.annotate("films", cancel="stop")
        await lab.until(lab.last, within_s=30)
        assert lab.last()["result"] == "Cancelled"
        assert lab.condition("strmsyncjob/films")["reason"] == "Cancelled"
        assert lab.runners.at_work() == []
        await lab.quiet()
        assert len(lab.begun()) == 1
        await lab.annotate("films", reconcile_at="again")
        await lab.until(lambda: len(lab.begun()) == 2)
        await lab.quiet(for_s=60)
        assert len(lab.runners.at_work()) == 1


async def test_a_run_that_does_not_listen_is_told_again_by_the_next_process() -> None:
    async with MediaLab() as lab:
        lab.runners.takes_s, lab.runners.deaf = HOUR_S, True
        await lab.apply(lab.job())
        await lab.until(lambda: lab.status("strmsyncjob/films").get("operation", {}).get("handle"))
        await lab.annotate("films", cancel="stop")
        await lab.until(lambda: lab.run().get("stopping") == "Requested")
        await lab.kill()
        lab.runners.of("films")[0].cancelled = False
        await lab.start()
        await lab.until(lambda: lab.runners.of("films")[0].cancelled, within_s=30)
        lab.runners.deaf = False
        await lab.until(lab.last)


async def test_a_failed_run_is_tried_again_later_each_time_and_the_count_begins_anew_after_success() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [failed("Unreachable", "nobody answers")] * 3
        await lab.apply(lab.job())
        await lab.until(lambda: lab.status("strmsyncjob/films").get("consecutiveFailures") == 3)
        ready = lab.condition("strmsyncjob/films")
        assert (ready["status"], ready["reason"], ready["message"]) == ("False", "Unreachable", "nobody answers")
        assert lab.condition("strmsyncjob/films", "SourceReachable")["status"] == "False"
        assert lab.condition("strmsyncjob/films", "Reconciling")["status"] == "True"
        starts = [run.began for run in lab.runners.of("films")]
        assert 30 <= starts[1] - starts[0] - 20 < 50
        assert 60 <= starts[2] - starts[1] - 20 < 85
        await lab.until_ready("strmsyncjob/films")
        assert lab.status("strmsyncjob/films")["consecutiveFailures"] == 0
        assert lab.condition("strmsyncjob/films", "SourceReachable")["status"] == "True"


async def test_a_mistake_in_the_job_stalls_it_until_it_is_corrected() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [failed("OwnedByAnother", "the target belongs to another job")]
        await lab.apply(lab.job())
        await lab.until_reason("strmsyncjob/films", "OwnedByAnother")
        assert lab.condition("strmsyncjob/films", "Stalled")["status"] == "True"
        await lab.quiet(for_s=3 * HOUR_S)
        assert len(lab.begun()) == 1
        target = {"root": {"name": "media", "subPath": "films"}, "adopt": True}
        await lab.apply(lab.job(target=target))
        await lab.until_ready("strmsyncjob/films")


async def test_a_run_that_cannot_be_begun_is_no_run_and_begins_when_it_can() -> None:
    async with MediaLab() as lab:
        lab.runners.refuse = Terminal("ClaimNotFound", "claim strm does not exist", remedy="make it")
        await lab.apply(lab.job())
        await lab.until_reason("strmsyncjob/films", "ClaimNotFound")
        await lab.quiet()
        assert lab.begun() == []
        assert not lab.last()
        assert "operation" not in lab.status("strmsyncjob/films")
        lab.runners.refuse = None
        await lab.until_ready("strmsyncjob/films")
        assert lab.begun() == ["manual"]


async def test_a_run_of_which_nobody_knows_whether_it_was_begun_stays_the_same_run() -> None:
    async with MediaLab() as lab:
        lab.runners.refuse = OutcomeUnknown("etcdserver: request timed out")
        lab.server.fail_next("merge_patch", Unavailable("etcdserver: leader changed"), kind="StrmSyncJob", times=8)
        await lab.apply(lab.job())
        await lab.until(lambda: lab.status("strmsyncjob/films").get("operation"))
        announced = lab.status("strmsyncjob/films")["operation"]["token"]
        await lab.clock.sleep(300)
        assert lab.status("strmsyncjob/films")["operation"]["token"] == announced
        lab.runners.refuse = None
        await lab.until_ready("strmsyncjob/films")
        assert lab.begun() == ["manual"]


async def test_a_blocked_run_names_the_command_and_an_approval_approves_what_that_run_listed() -> None:
    async with MediaLab() as lab:
        blocked = {"result": "Blocked", "reason": "PruneBlocked", "prune_blocked": "too many", "message": "too many"}
        listed = {"prune_candidates": 9, "candidates_digest": "ab" * 32}
        lab.runners.results = [GOOD.model_copy(update={**blocked, **listed})]
        await lab.apply(lab.job())
        await lab.until_reason("strmsyncjob/films", "PruneBlocked")
        run = lab.last()["id"]
        command = f"kubectl annotate strmsyncjob films -n lab --overwrite pantograph.dev/approve-prune={run}"
        assert command in lab.condition("strmsyncjob/films")["message"]
        assert lab.condition("strmsyncjob/films", "PruneBlocked")["message"] == "too many"
        await lab.annotate("films", approve_prune="nonsense")
        await lab.until(lambda: lab.events("ApprovalUnknown"))
        await lab.annotate("films", approve_prune=run)
        await lab.until_ready("strmsyncjob/films")
        order = lab.runners.of("films")[1].order
        assert order.approve_prune == (run, "ab" * 32)
        assert not lab.condition("strmsyncjob/films", "PruneBlocked")
        await lab.quiet()
        assert len(lab.begun()) == 2


async def test_an_approval_to_rewrite_names_the_run_that_asked_and_anything_else_approves_nothing() -> None:
    async with MediaLab() as lab:
        asks = {"result": "Blocked", "reason": "RewriteLimit", "message": "40 of 40 files would be written anew"}
        lab.runners.results = [GOOD.model_copy(update=asks)]
        await lab.apply(lab.job())
        await lab.until_reason("strmsyncjob/films", "RewriteLimit")
        run = lab.last()["id"]
        assert f"pantograph.dev/approve-rewrite={run}" in lab.condition("strmsyncjob/films")["message"]
        await lab.annotate("films", approve_rewrite="yes")
        await lab.until(lambda: lab.events("ApprovalUnknown"))
        await lab.quiet(for_s=60)
        assert len(lab.begun()) == 1
        await lab.annotate("films", approve_rewrite=run)
        await lab.until_ready("strmsyncjob/films")
        assert lab.runners.of("films")[1].order.approve_rewrite == run
        await lab.annotate("films", approve_rewrite=lab.last()["id"])
        await lab.until(lambda: len(lab.events("ApprovalUnknown")) == 2)
        assert len(lab.begun()) == 2


async def test_every_other_request_reaches_its_run_and_is_obeyed_once() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job())
        await lab.until_ready("strmsyncjob/films")
        await lab.annotate("films", rebuild_manifest="yes")
        await lab.until(lambda: len(lab.begun()) == 2)
        order = lab.runners.of("films")[1].order
        assert (order.approve_rewrite, order.rebuild_manifest, order.dry_run) == (None, True, False)
        await lab.quiet()
        assert len(lab.begun()) == 2
        await lab.apply(lab.job(dryRun=True))
        await lab.until(lambda: len(lab.begun()) == 3)
        assert lab.runners.of("films")[2].order.dry_run
        await lab.until(lambda: lab.last().get("dryRun"))
        ready = lab.condition("strmsyncjob/films")
        assert (ready["reason"], ready["message"]) == (
            "DryRun",
            "nothing was written: 3 would be made, 0 written anew, 0 removed",
        )


async def test_a_dry_run_calls_removed_only_what_a_run_would_remove() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [GOOD.model_copy(update={"prune_candidates": 9, "pruned": 2})]
        await lab.apply(lab.job(dryRun=True))
        await lab.until(lambda: lab.last().get("dryRun"))
        assert lab.condition("strmsyncjob/films")["message"] == (
            "nothing was written: 3 would be made, 0 written anew, 2 removed; 7 more have no source any more and would"
            " stay for now"
        )


async def test_an_invalid_schedule_stalls_the_job_and_names_the_field() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(schedule={"cron": "0 3 * * *", "timeZone": "Europe/Berlyn"}))
        await lab.until_reason("strmsyncjob/films", "InvalidSchedule")
        message = lab.condition("strmsyncjob/films")["message"]
        assert (
            message
            == "schedule.timeZone 'Europe/Berlyn' is no time zone of the tz database; to mend it: correct spec.schedule"
        )
        await lab.apply(lab.job(schedule={"cron": "0 3 * * *", "timeZone": "Europe/Berlin"}))
        await lab.until_ready("strmsyncjob/films")


async def test_progress_is_written_at_most_every_five_seconds() -> None:
    async with MediaLab() as lab:
        lab.runners.takes_s = 120
        await lab.apply(lab.job())
        await lab.until(lambda: lab.run().get("phase"))
        run, writes = lab.runners.of("films")[0], len(lab.server.writes)
        for second in range(60):
            run.progress = RunProgress(phase="List", dirs_done=second, dirs_known=100, percent=second)
            lab.wake("films")
            await lab.clock.sleep(1)
        assert 6 <= len(lab.server.writes) - writes <= 13
        assert lab.run()["percent"] >= 50
        ready = lab.condition("strmsyncjob/films")
        assert (ready["status"], ready["reason"]) == ("Unknown", "NotSynced")
        assert lab.condition("strmsyncjob/films", "Reconciling")["reason"] == "Running"


async def test_a_run_whose_process_dies_again_and_again_fails_at_last() -> None:
    async with MediaLab() as lab:
        lab.runners.takes_s = HOUR_S
        await lab.apply(lab.job())
        for _ in range(5):
            await lab.until(lab.runners.at_work)
            lab.runners.at_work()[0].gone = True
        await lab.until(lab.last)
        assert lab.last()["reason"] == "RunLost"
        assert len(lab.begun()) == 5
        lab.runners.takes_s = 20
        await lab.until_ready("strmsyncjob/films")


async def test_a_run_that_could_not_be_begun_for_a_while_loses_none_of_its_lives() -> None:
    async with MediaLab() as lab:
        lab.runners.takes_s = HOUR_S
        lab.runners.refuse = Forbidden("exceeded quota: count/jobs.batch=10")
        await lab.apply(lab.job())
        await lab.quiet()
        lab.runners.refuse = None
        await lab.until(lab.runners.at_work)
        lab.runners.at_work()[0].gone = True  # its node is drained
        await lab.until(lambda: len(lab.begun()) == 2)
        assert not lab.last()
        assert lab.run()["lives"] == 2


async def test_a_run_is_followed_although_its_server_was_deleted() -> None:
    async with MediaLab() as lab:
        lab.runners.takes_s = 60
        await lab.apply(lab.job())
        await lab.until(lab.runners.at_work)
        await lab.delete("dataserver/openlist")
        await lab.until_reason("strmsyncjob/films", "ServerNotFound")
        await lab.until(lab.last, within_s=90)
        assert lab.last()["result"] == "Succeeded"


async def test_what_waits_for_an_approval_is_said_until_a_run_over_the_whole_has_ended() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, *[GOOD] * 15]
        await lab.apply(lab.job(notify=ALERTS))
        await lab.until_reason("strmsyncjob/films", "PruneBlocked")
        run = lab.last()["id"]
        for number in range(12):  # more than the history keeps
            await lab.annotate("films", reconcile_at=f"part {number}", run_path="New")
            await lab.until(lambda count=number + 2: bool(len(lab.begun()) == count and not lab.run()))  # type: ignore[misc]
        ready = lab.condition("strmsyncjob/films")
        assert (ready["reason"], f"approve-prune={run}" in ready["message"]) == ("PruneBlocked", True)
        assert lab.condition("strmsyncjob/films", "PruneBlocked")
        assert lab.mailbox.told == [("Blocked", "PruneBlocked")]
        await lab.annotate("films", approve_prune=run)
        await lab.until_ready("strmsyncjob/films")
        assert lab.runners.of("films")[-1].order.approve_prune == (run, "ab" * 32)
        assert not lab.condition("strmsyncjob/films", "PruneBlocked")
        assert lab.mailbox.told == [("Blocked", "PruneBlocked"), ("Recovered", "")]


async def test_a_blocked_run_over_a_part_says_so_in_every_condition() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [GOOD, BLOCKED]
        await lab.apply(lab.job())
        await lab.until_ready("strmsyncjob/films")
        await lab.annotate("films", reconcile_at="part", run_path="New")
        await lab.until_reason("strmsyncjob/films", "PruneBlocked")
        assert lab.condition("strmsyncjob/films", "PruneBlocked")["message"] == "too many"
        await lab.annotate("films", reconcile_at="whole", run_path=None)
        await lab.until_ready("strmsyncjob/films")
        assert "blocked" not in lab.status("strmsyncjob/films")
