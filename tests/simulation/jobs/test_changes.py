"""What a job makes of the changes that it hears of: none is lost, and none is asked for too often."""

from __future__ import annotations

from typing import Literal

from pantograph.providers.errors import Unreachable
from pantograph.providers.media.port import HintKind
from tests.fakes.apiserver.faults import Call
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import failed

HOUR_S = 3600.0
SERVER = "dataserver/openlist"
FILMS = "strmsyncjob/films"


async def following(lab: MediaLab) -> int:
    """A job that follows changes and has nothing to do; how many runs that took."""
    await lab.apply(lab.job(watch={}))
    await lab.quiet(for_s=120)
    assert lab.condition(FILMS, "WatchConnected")["status"] == "True"
    return len(lab.begun())


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
    samples = lab.metrics[-1].queue_adds.labels("StrmSyncJob").collect()[0].samples
    return next(each.value for each in samples if each.name.endswith("_total"))


async def test_a_change_that_failed_and_is_heard_no_more_is_not_asked_for_all_the_time_and_not_lost() -> None:
    """Watching is switched off after the failure: what was heard is gone, and stands in no status."""
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.results = [failed("UpstreamFailed")]
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.until(lambda: lab.last().get("result") == "Failed")
        await lab.apply(lab.job(watch={"enabled": False}))
        before = looks(lab)
        await lab.quiet(for_s=600)
        assert looks(lab) - before < 40
        assert [run.order.scope for run in lab.runners.of("films")[began:]] == [("A",), ()]
        assert lab.is_ready(FILMS)


async def test_an_operator_that_begins_anew_while_the_server_is_down_waits_and_looks_at_everything_then() -> None:
    async with MediaLab() as lab:
        began = await following(lab)
        lab.runners.results = [failed("Unreachable")]
        lab.openlist.tell("/Films/A/a.mkv")
        await lab.until(lambda: lab.last().get("result") == "Failed")
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
