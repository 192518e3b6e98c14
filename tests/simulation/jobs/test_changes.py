"""What a job makes of the changes that it hears of: none is lost, and none is asked for too often."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pantograph.providers.errors import Unreachable
from pantograph.providers.media.port import HintKind
from tests.fakes.apiserver.faults import Call
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import GOOD, failed

HOUR_S = 3600.0
SERVER = "dataserver/openlist"
FILMS = "strmsyncjob/films"


async def following(lab: MediaLab) -> int:
    """A job that follows changes and has nothing to do; how many runs that took."""
    await lab.apply(lab.job(watch={}))
    await lab.quiet(for_s=120)
    assert lab.condition(FILMS, "WatchConnected")["status"] == "True"
    return len(lab.begun())


async def following_in_vain(lab: MediaLab, reason: str) -> int:
    """The same; then it hears of a change, and the run over that fails."""
    began = await following(lab)
    lab.runners.results = [failed(reason)]
    lab.openlist.tell("/Films/A/a.mkv")
    await lab.until(lambda: lab.last().get("result") == "Failed")
    return began


def tell_during_announcement(lab: MediaLab, path: str, kind: HintKind) -> None:
    """The server says it while the next run's announcement is on its way."""

    def hook(when: Literal["before", "after"], call: Call) -> None:
        if when == "before" and (call.verb, call.kind, call.subresource) == ("merge_patch", "StrmSyncJob", "status"):
            lab.server.hook = None
            lab.openlist.tell(path, kind)

    lab.server.latency_s = 0.2
    lab.server.hook = hook


async def test_a_change_that_is_heard_while_a_run_is_announced_is_looked_at_by_the_next_one() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        tell_during_announcement(lab, "/Films/B/b.mkv", HintKind.CHANGED)
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.quiet(for_s=300)
        assert lab.server.hook is None
        assert [run.order.scope for run in lab.runners.of("films")[began:]] == [("A",), ("B",)]


async def test_a_stream_that_begins_anew_while_a_run_is_announced_is_followed_by_a_run_over_everything() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        tell_during_announcement(lab, "/", HintKind.RESCAN)
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.quiet(for_s=300)
        assert [run.order.scope for run in lab.runners.of("films")[began:]] == [("A",), ()]


def looks(lab: MediaLab) -> float:
    """How often a job was looked at, by this life of the operator."""
    return lab.metrics[-1].registry.get_sample_value("pantograph_queue_adds_total", {"kind": "StrmSyncJob"}) or 0.0


async def test_a_change_that_failed_and_is_heard_no_more_is_not_asked_for_all_the_time_and_not_lost() -> None:
    """Watching is switched off after the failure: what was heard is gone, and stands in no status."""
    async with MediaLab() as lab:
        began = await following_in_vain(lab, "UpstreamFailed")
        await lab.apply(lab.job(watch={"enabled": False}))
        before = looks(lab)
        await lab.quiet(for_s=600)
        assert looks(lab) - before < 40
        assert [run.order.scope for run in lab.runners.of("films")[began:]] == [("A",), ()]
        assert lab.is_ready(FILMS)


async def test_an_operator_that_begins_anew_while_the_server_is_down_waits_and_looks_at_everything_then() -> None:
    async with MediaLab() as lab:
        began = await following_in_vain(lab, "Unreachable")
        await lab.kill()
        lab.openlist.fault = Unreachable("nobody answers")
        await lab.start()
        await lab.annotate_server(reconcile_at="1")
        await lab.until_reason(SERVER, "Unreachable")
        await lab.quiet(for_s=HOUR_S)
        assert looks(lab) < 200
        assert len(lab.begun()) == began + 1
        lab.openlist.fault = None
        await lab.until(lambda: len(lab.begun()) > began + 1)
        assert lab.runners.of("films")[-1].order.scope == ()


async def test_a_change_that_a_refused_login_kept_from_being_looked_at_is_not_lost() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.results = [failed("CredentialsRefused")]
        lab.openlist.password = "changed"
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.until_reason(SERVER, "CredentialsRefused")
        before = looks(lab)
        await lab.quiet(for_s=HOUR_S)
        assert looks(lab) - before < 100
        assert len(lab.begun()) == began + 1
        await lab.apply(lab.login(password="changed"))
        await lab.until(lambda: len(lab.begun()) > began + 1)
        assert lab.runners.of("films")[-1].order.scope == ()


PARTIAL = GOOD.model_copy(
    update={
        "result": "Degraded",
        "reason": "Incomplete",
        "message": "1 directories incomplete, 0 files failed",
        "incomplete_dirs": 1,
        "created": 0,
    }
)


async def test_what_a_run_could_not_list_is_listed_again_and_said_until_it_is_and_holds_up_nothing_else() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.results = [PARTIAL.model_copy(update={"unfinished": ["A"]}), GOOD]
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.until(lambda: lab.last().get("result") == "Degraded")
        lab.openlist.tell("/Films/B/b.mkv")
        await lab.until(lambda: lab.last().get("result") == "Succeeded")
        ready = lab.condition(FILMS)
        assert (ready["status"], ready["reason"]) == ("True", "Incomplete")
        assert ready["message"] == "not mirrored as a whole yet, and tried again: /A"
        await lab.until(lambda: lab.condition(FILMS)["reason"] == "Succeeded", within_s=120)
        runs = lab.runners.of("films")[began:]
        assert [run.order.scope for run in runs] == [("A",), ("B",), ("A",)]
        assert runs[2].began >= runs[0].began + runs[0].took_s + 30
        await lab.quiet(for_s=HOUR_S)
        assert len(lab.begun()) == began + 3


async def test_a_directory_that_stays_broken_is_looked_at_less_and_less_often_and_others_as_soon_as_ever() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.results = [PARTIAL.model_copy(update={"unfinished": ["A"]})] * 100
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.quiet(for_s=6 * HOUR_S)
        starts = [run.began for run in lab.runners.of("films")[began:]]
        pauses = [later - start - 20 for start, later in pairwise(starts)]
        assert [round(pause, -1) for pause in pauses[:7]] == [30, 60, 120, 240, 480, 960, 1920]
        assert all(3600 <= pause < 3610 for pause in pauses[7:])
        assert lab.condition(FILMS)["reason"] == "Incomplete"
        lab.runners.results = [GOOD]
        told = lab.clock.monotonic()
        lab.openlist.tell("/Films/B/b.mkv")
        await lab.until(lambda: lab.runners.of("films")[-1].order.scope == ("B",))
        assert lab.runners.of("films")[-1].began - told < 5
        assert [run["trigger"] for run in lab.status(FILMS)["history"]] == ["manual"], "it crowds out no other run"


async def test_a_run_over_everything_is_followed_by_one_over_what_it_says_was_left() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.results = [PARTIAL.model_copy(update={"unfinished": ["X/Y"]})]
        lab.openlist.cut()
        await lab.quiet(for_s=300)
        orders = [run.order for run in lab.runners.of("films")[began:]]
        assert [(order.scope, order.shallow) for order in orders] == [((), False), (("X/Y",), False)]


async def test_a_run_that_does_not_say_what_was_left_is_repeated_but_never_sooner_than_it_took() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.takes_s = 3 * HOUR_S
        lab.runners.results = [PARTIAL.model_copy(update={"duration": 3 * HOUR_S, "remote_requests": 9}), GOOD]
        lab.openlist.cut()
        await lab.quiet(for_s=10 * HOUR_S)
        runs = lab.runners.of("films")[began:]
        assert [run.order.scope for run in runs] == [(), ()]
        assert runs[1].began >= runs[0].began + 6 * HOUR_S


async def test_a_run_that_met_a_fault_for_a_person_is_not_repeated_every_few_seconds() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.results = [failed("MissingPrivilege")] * 100
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.quiet(for_s=HOUR_S)
        assert 2 <= len(lab.begun()) - began < 10
        assert lab.condition(FILMS, "Stalled")["status"] == "True"
        lab.runners.results = []
        await lab.until_ready(FILMS, within_s=2 * HOUR_S)


async def test_a_run_that_is_cancelled_leaves_nothing_to_be_tried_again() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.takes_s = HOUR_S
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.until(lab.runners.at_work)
        await lab.annotate("films", cancel="stop")
        await lab.quiet(for_s=2 * HOUR_S)
        assert len(lab.begun()) == began + 1
