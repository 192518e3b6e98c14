"""An approval holds until a run that has it comes to an end; once it is used up, nobody is told to give it again."""

from __future__ import annotations

from typing import Any

import pytest

from pantograph.api.meta import Body
from pantograph.api.run import RunResult
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import BLOCKED, GOOD, failed

FILMS = "strmsyncjob/films"
HOUR_S = 3600.0
REWRITE = GOOD.model_copy(update={"result": "Blocked", "reason": "RewriteLimit", "message": "40 of 40"})
LISTED = BLOCKED.model_copy(update={"result": "Succeeded", "reason": "", "prune_blocked": "", "message": ""})
AGAIN = 'pantograph.dev/reconcile-at="$(date)"'


async def asked(lab: MediaLab, **spec: Any) -> str:
    """A job whose first run asks; its id."""
    await lab.apply(lab.job(**spec))
    await lab.until(lambda: lab.status(FILMS).get("blocked") and not lab.run())
    return str(lab.last()["id"])


async def ended(lab: MediaLab, runs: int) -> None:
    """So many runs of the job have begun, and all have ended."""
    await lab.until(lambda: len(lab.begun()) == runs and not lab.run(), within_s=4 * HOUR_S)


def approvals(lab: MediaLab) -> list[str | None]:
    """What each run of the job was given: the run whose candidates, or whose rewrites, are approved."""
    orders = [run.order for run in lab.runners.of("films")]
    return [each.approve_prune[0] if each.approve_prune else each.approve_rewrite for each in orders]


def handled(lab: MediaLab) -> Body:
    found: Body = lab.status(FILMS).get("lastHandled", {})
    return found


@pytest.mark.parametrize(("blocked", "key"), [(BLOCKED, "approve_prune"), (REWRITE, "approve_rewrite")])
async def test_the_retry_of_a_failed_run_has_its_approval_and_no_run_begins_sooner_for_it(
    blocked: RunResult, key: str
) -> None:
    async with MediaLab() as lab:
        lab.runners.results = [blocked, failed("Unreachable"), failed("Unreachable"), GOOD]
        run = await asked(lab)
        await lab.annotate("films", **{key: run})
        await ended(lab, 2)
        await lab.restart()
        await lab.until_ready(FILMS)
        assert approvals(lab) == [None, run, run, run]
        starts = [each.began for each in lab.runners.of("films")]
        assert starts[2] - starts[1] - 20 >= 30
        assert starts[3] - starts[2] - 20 >= 60
        await lab.quiet()
        assert len(lab.begun()) == 4
        assert not lab.events("ApprovalUsedUp")


async def test_an_approval_outlives_what_the_history_forgets_and_every_run_over_the_whole_has_it() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [LISTED, *[failed("Unreachable")] * 13]
        await lab.apply(lab.job())
        await lab.until_ready(FILMS)
        run = lab.last()["id"]
        await lab.annotate("films", approve_prune=run)
        for number in range(12):
            await ended(lab, number + 2)
            await lab.annotate("films", reconcile_at=str(number))
        await lab.until_ready(FILMS, within_s=4 * HOUR_S)
        assert run not in [each["id"] for each in lab.status(FILMS)["history"]]
        assert approvals(lab) == [None, *[run] * 14]
        assert not lab.events("ApprovalUnknown")


async def test_a_run_that_only_a_person_can_mend_hands_its_approval_on_and_is_not_begun_again_for_it() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, failed("OwnedByAnother")]
        run = await asked(lab)
        await lab.annotate("films", approve_prune=run)
        await lab.until_reason(FILMS, "OwnedByAnother")
        await lab.quiet(for_s=3 * HOUR_S)
        assert len(lab.begun()) == 2
        await lab.apply(lab.job(target={"root": {"name": "media", "subPath": "films"}, "adopt": True}))
        await lab.until_ready(FILMS)
        assert approvals(lab) == [None, run, run]


async def test_an_approved_run_that_nobody_cancelled_and_that_was_stopped_all_the_same_hands_its_approval_on() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, RunResult(result="Cancelled", reason="Cancelled")]  # its node was drained
        run = await asked(lab)
        await lab.annotate("films", approve_prune=run)
        await lab.until_ready(FILMS)
        assert approvals(lab) == [None, run, run]
        assert not lab.events("ApprovalUsedUp")


async def test_an_approval_that_is_taken_back_is_not_handed_on() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, failed("Unreachable")]
        run = await asked(lab)
        await lab.annotate("films", approve_prune=run)
        await lab.until(lambda: lab.last()["result"] == "Failed")
        await lab.annotate("films", approve_prune=None)
        await ended(lab, 3)
        assert approvals(lab) == [None, run, None]


async def test_a_run_that_takes_the_place_of_an_approved_one_has_its_approval() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED]
        run = await asked(lab, schedule={"cron": "0 * * * *", "concurrencyPolicy": "Replace"})
        lab.runners.takes_s = 80 * 60
        await lab.annotate("films", approve_prune=run)
        await lab.until(lambda: len(lab.begun()) == 3, within_s=2 * HOUR_S)
        assert lab.runners.of("films")[1].cancelled
        ready = lab.condition(FILMS)
        assert "approve-prune=" not in ready["message"]
        assert "it is approved" in ready["message"]
        lab.runners.of("films")[2].took_s = 60
        await lab.until(lambda: handled(lab).get("approvePrune") == run, within_s=HOUR_S)
        assert approvals(lab) == [None, run, run]
        assert "blocked" not in lab.status(FILMS)
        assert not lab.events("ApprovalUsedUp")


@pytest.mark.parametrize(("blocked", "key"), [(BLOCKED, "approve_prune"), (REWRITE, "approve_rewrite")])
async def test_a_person_who_cancels_takes_the_approval_back_and_hears_what_begins_another(
    blocked: RunResult, key: str
) -> None:
    async with MediaLab() as lab:
        lab.runners.results = [blocked, GOOD, blocked]
        run = await asked(lab)
        lab.runners.takes_s = HOUR_S
        await lab.annotate("films", **{key: run})
        await lab.until(lambda: lab.status(FILMS).get("operation", {}).get("handle"))
        assert "it is approved" in lab.condition(FILMS)["message"]
        await lab.annotate("films", cancel="stop")
        await ended(lab, 2)
        lab.runners.takes_s = 20
        (said,) = lab.events("ApprovalUsedUp")
        assert f"the approval of run {run} is used up" in said
        message = lab.condition(FILMS)["message"]
        assert lab.condition(FILMS)["reason"] == blocked.reason
        assert f"approve-prune={run}" not in message
        assert f"approve-rewrite={run}" not in message
        assert AGAIN in message
        await lab.annotate("films", **{key: None})
        await lab.annotate("films", **{key: run})
        await lab.quiet()
        assert len(lab.begun()) == 2
        assert len(lab.events("ApprovalUsedUp")) == 1
        await lab.annotate("films", reconcile_at="now")  # as the message says
        await ended(lab, 3)
        asks = lab.last()["id"]
        assert f"{key.replace('_', '-')}={asks}" in lab.condition(FILMS)["message"]
        await lab.annotate("films", **{key: asks})
        await lab.until_ready(FILMS)
        assert approvals(lab) == [None, run, None, asks]


async def test_the_command_after_a_cancel_asks_for_a_run_over_the_whole() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED]
        run = await asked(lab)
        lab.runners.takes_s = HOUR_S
        await lab.annotate("films", approve_prune=run, run_path="New")
        await lab.until(lambda: lab.status(FILMS).get("operation", {}).get("handle"))
        await lab.annotate("films", cancel="stop")
        await ended(lab, 2)
        assert f"pantograph.dev/run-path- {AGAIN}" in lab.condition(FILMS)["message"]


async def test_an_approval_that_waits_for_the_retry_is_dropped_by_a_cancel() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, failed("Unreachable"), failed("TargetOverlaps")]
        run = await asked(lab)
        await lab.annotate("films", approve_prune=run)
        await lab.until(lambda: lab.last()["result"] == "Failed")
        await lab.annotate("films", cancel="stop")
        await lab.until(lambda: lab.events("ApprovalUsedUp"))
        await ended(lab, 3)
        assert approvals(lab) == [None, run, None]


async def test_an_approved_run_that_removes_nothing_and_asks_itself_is_the_one_to_approve() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, REWRITE]
        run = await asked(lab)
        await lab.annotate("films", approve_prune=run)
        await lab.until_reason(FILMS, "RewriteLimit")
        await lab.until(lambda: lab.events("ApprovalUsedUp"))
        await ended(lab, 2)
        assert f"approve-rewrite={lab.last()['id']}" in lab.condition(FILMS)["message"]
        await lab.annotate("films", approve_rewrite=lab.last()["id"])
        await lab.until_ready(FILMS)
        assert len(lab.events("ApprovalUsedUp")) == 1


async def test_a_run_that_asks_and_lists_nothing_is_not_the_one_to_approve() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, BLOCKED.model_copy(update={"candidates_digest": ""})]
        run = await asked(lab)
        await lab.annotate("films", approve_prune=run)
        await ended(lab, 2)
        message = lab.condition(FILMS)["message"]
        assert (f"approve-prune={lab.last()['id']}" in message, AGAIN in message) == (False, True)


async def test_a_dry_run_does_not_use_an_approval_up() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, BLOCKED]
        run = await asked(lab)
        await lab.apply(lab.job(dryRun=True))
        await ended(lab, 2)
        assert "set spec.dryRun to false; the run then asks" in lab.condition(FILMS)["message"]
        await lab.annotate("films", approve_prune=run)
        await lab.annotate("films", reconcile_at="now")
        await ended(lab, 3)
        await lab.quiet(for_s=60)
        assert approvals(lab) == [None, None, None]
        await lab.apply(lab.job())
        await lab.until_ready(FILMS)
        assert approvals(lab) == [None, None, None, run]
        assert not lab.events("ApprovalUsedUp")


async def test_a_run_that_became_a_dry_run_when_its_process_died_leaves_its_approval_to_the_next() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [BLOCKED, GOOD, BLOCKED]
        run = await asked(lab)
        lab.runners.takes_s = HOUR_S
        await lab.annotate("films", approve_prune=run)
        await lab.until(lambda: lab.status(FILMS).get("operation", {}).get("handle"))
        await lab.kill()
        lab.runners.at_work()[0].gone = True
        lab.runners.takes_s = 20
        await lab.apply(lab.job(dryRun=True))
        await lab.start()
        await ended(lab, 3)
        assert lab.runners.of("films")[2].order.dry_run
        assert "set spec.dryRun to false; the run then has the approval" in lab.condition(FILMS)["message"]
        await lab.apply(lab.job())
        await lab.until_ready(FILMS)
        assert approvals(lab) == [None, run, None, run]
