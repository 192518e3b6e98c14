"""The job goes: its run ends first, and its files go only if that was declared."""

from __future__ import annotations

import pytest

from pantograph.api.meta import ResourceType
from pantograph.api.run import RunInventory, RunResult
from pantograph.engine.errors import Terminal
from pantograph.engine.kube import Unavailable, WatchEvent
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import failed
from tests.simulation.lab import NAMESPACE

FILMS = "strmsyncjob/films"
HOUR_S = 3600.0


async def test_a_deleted_job_is_gone_when_its_run_is_and_no_run_purges_anything() -> None:
    async with MediaLab() as lab:
        lab.runners.takes_s, lab.runners.deaf = HOUR_S, True
        await lab.apply(lab.job())
        await lab.until(lab.runners.at_work)
        await lab.delete(FILMS)
        await lab.until(lambda: lab.runners.of("films")[0].cancelled)
        await lab.quiet(for_s=120)
        assert lab.get(FILMS) is not None
        lab.runners.deaf = False
        await lab.until(lambda: lab.get(FILMS) is None, within_s=60)
        assert len(lab.begun()) == 1


async def test_with_deletion_policy_delete_a_run_removes_what_the_job_made() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        await lab.delete(FILMS)
        await lab.until(lambda: len(lab.begun()) == 2)
        assert lab.runners.of("films")[1].order.purge
        assert lab.get(FILMS) is not None
        await lab.until(lambda: lab.get(FILMS) is None)
        assert len(lab.begun()) == 2


async def test_a_purge_that_went_without_a_word_is_begun_once_more_with_the_same_expectations() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        await lab.delete(FILMS)
        await lab.until(lambda: len(lab.begun()) == 2)
        lab.runners.of("films")[1].gone = True
        await lab.until(lambda: lab.get(FILMS) is None)
        orders = [run.order for run in lab.runners.of("films")]
        assert [(order.purge, order.expect_records) for order in orders] == [(False, False), (True, True), (True, True)]


@pytest.mark.parametrize("owned", [0, 3])
async def test_a_job_that_owns_files_expects_their_records_in_its_target(owned: int) -> None:
    async with MediaLab() as lab:
        lab.runners.results = [RunResult(result="Succeeded", inventory=RunInventory(strm=owned))]
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        await lab.delete(FILMS)
        await lab.until(lambda: lab.get(FILMS) is None)
        assert [run.order.expect_records for run in lab.runners.of("films")] == [False, owned > 0]


async def test_a_job_is_purged_although_its_server_is_gone_and_its_suspension_holds() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        await lab.patch(FILMS, {"spec": {"suspend": True}})
        await lab.delete("dataserver/openlist")
        await lab.delete(FILMS)
        await lab.until(lambda: lab.get(FILMS) is None)
        order = lab.runners.of("films")[-1].order
        assert order.purge
        assert order.server.spec.local is not None


async def test_a_purge_that_fails_is_tried_again_and_one_that_cannot_begin_names_the_way_out() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        lab.runners.results = [failed("TargetBusy", "another run is at work on it")]
        lab.runners.refuse = Terminal("RootNotFound", "root media is not mounted", remedy="mount it")
        await lab.delete(FILMS)
        await lab.until_reason(FILMS, "RootNotFound")
        release = "kubectl annotate strmsyncjob films -n lab pantograph.dev/force-release=true"
        assert release in lab.condition(FILMS)["message"]
        lab.runners.refuse = None
        await lab.until_reason(FILMS, "TargetBusy")
        await lab.until(lambda: lab.get(FILMS) is None)
        assert [run.order.purge for run in lab.runners.of("films")] == [False, True, True]


async def test_a_job_that_never_ran_has_nothing_to_purge() -> None:
    async with MediaLab(server=False) as lab:
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_reason(FILMS, "ServerNotFound")
        await lab.delete(FILMS)
        await lab.until(lambda: lab.get(FILMS) is None, within_s=60)
        assert lab.begun() == []


async def test_a_run_that_ends_by_itself_while_its_job_is_deleted_is_enough() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [RunResult(result="Degraded", reason="Incomplete")]
        await lab.apply(lab.job())
        await lab.until(lab.runners.at_work)
        await lab.kill()
        await lab.delete(FILMS)
        await lab.clock.sleep(60)
        await lab.start()
        await lab.until(lambda: lab.get(FILMS) is None, within_s=60)


async def test_a_purge_asks_a_server_for_nothing_that_is_there_wherever_it_is() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        await lab.delete(FILMS)
        await lab.until(lambda: lab.get(FILMS) is None)
        order = lab.runners.of("films")[-1].order
        assert (order.purge, order.server.spec.driver, order.server.spec.credentials_ref) == (True, "Local", None)


async def test_a_job_that_was_moved_into_an_older_ones_target_goes_without_a_purge_and_says_that_files_stay() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job("shows", target={"root": {"name": "media", "subPath": "library"}}))
        await lab.until_ready("strmsyncjob/shows")
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        moved = {"root": {"name": "media", "subPath": "library/films"}}
        await lab.patch(FILMS, {"spec": {"target": moved}})
        await lab.until_reason(FILMS, "TargetOverlaps")
        await lab.delete(FILMS)
        await lab.until(lambda: lab.get(FILMS) is None, within_s=60)
        assert [run.order.purge for run in lab.runners.of("films")] == [False]
        assert "lab/shows is older" in lab.events("FilesKept")[0]


def at_work_when_gone(lab: MediaLab) -> list[int]:
    """How many runs were at work in the moment in which a job went."""
    seen: list[int] = []

    def look(resource: ResourceType, event: WatchEvent) -> None:
        if resource.kind == "StrmSyncJob" and event.type == "DELETED":
            seen.append(len(lab.runners.at_work()))

    lab.kubectl.store.listeners.append(look)
    return seen


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
async def test_a_forced_release_stops_the_run_at_work_before_the_job_goes(policy: str) -> None:
    async with MediaLab() as lab:
        at_work = at_work_when_gone(lab)
        await lab.apply(lab.job(deletionPolicy=policy))
        await lab.until_ready(FILMS)
        lab.runners.takes_s, lab.runners.deaf = HOUR_S, True
        if policy == "Retain":
            await lab.annotate("films", reconcile_at="again")
            await lab.until(lab.runners.at_work)
        await lab.delete(FILMS)
        await lab.until(lab.runners.at_work)
        await lab.annotate("films", force_release="true")
        await lab.until(lambda: lab.get(FILMS) is None, within_s=60)
        assert at_work == [0]
        assert [run.order.purge for run in lab.runners.of("films")] == [False, policy == "Delete"]


async def test_a_forced_release_waits_for_nobody_who_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        lab.runners.takes_s, lab.runners.cannot_end = HOUR_S, Unavailable("the API server sleeps")
        await lab.delete(FILMS)
        await lab.until(lab.runners.at_work)
        await lab.annotate("films", force_release="true")
        await lab.until(lambda: lab.get(FILMS) is None, within_s=60)
        assert "could not be stopped" in caplog.text
        assert "the API server sleeps" in caplog.text


async def test_a_job_on_a_claim_goes_with_its_namespace_without_a_purge_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(deletionPolicy="Delete", target={"persistentVolumeClaim": {"claimName": "strm"}}))
        await lab.until_ready(FILMS)
        lab.kubectl.terminate_namespace(NAMESPACE)
        await lab.until(lambda: lab.get(FILMS) is None, within_s=120)
        assert len(lab.begun()) == 1
        assert "PersistentVolumeClaim strm" in caplog.text


async def test_a_job_on_a_root_is_purged_although_its_namespace_goes() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(deletionPolicy="Delete"))
        await lab.until_ready(FILMS)
        lab.kubectl.terminate_namespace(NAMESPACE)
        await lab.until(lambda: lab.get(FILMS) is None, within_s=120)
        assert [run.order.purge for run in lab.runners.of("films")] == [False, True]
