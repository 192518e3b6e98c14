"""What Flux and Helm (kstatus) and Argo CD (the health script) make of jobs and servers in every state."""

from __future__ import annotations

from pantograph.api.kstatus import Verdict, verdict
from pantograph.api.meta import Body
from pantograph.providers.errors import Busy
from tests.chart.argocd import ARGO_OF, health
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import GOOD

FILMS, SERVER = "strmsyncjob/films", "dataserver/openlist"


def said(lab: MediaLab, what: str) -> tuple[Verdict, str]:
    """The verdicts of both, of which Argo CD's follows from kstatus'."""
    body: Body | None = lab.get(what)
    assert body is not None
    found = verdict(body), health(body)
    assert ARGO_OF[found[0]] == found[1], lab.picture()
    return found


async def test_a_job_is_in_progress_while_it_runs_and_current_when_it_has() -> None:
    async with MediaLab() as lab:
        await lab.until_ready(SERVER)
        assert said(lab, SERVER) == (Verdict.CURRENT, "Healthy")
        await lab.apply(lab.job())
        await lab.until(lambda: lab.status(FILMS).get("operation", {}).get("handle"))
        assert said(lab, FILMS) == (Verdict.IN_PROGRESS, "Progressing")
        await lab.until_ready(FILMS)
        assert said(lab, FILMS) == (Verdict.CURRENT, "Healthy")
        await lab.annotate("films", reconcile_at="1")
        await lab.until(lab.run)
        assert said(lab, FILMS) == (Verdict.IN_PROGRESS, "Progressing")


async def test_a_stalled_job_has_failed_whether_a_run_could_begin_or_not() -> None:
    blocked = {"result": "Blocked", "reason": "PruneBlocked", "prune_blocked": "too many", "message": "too many"}
    async with MediaLab() as lab:
        lab.runners.results = [GOOD.model_copy(update=blocked)]
        await lab.apply(lab.job())
        await lab.until_reason(FILMS, "PruneBlocked")
        assert said(lab, FILMS) == (Verdict.FAILED, "Degraded")
        await lab.apply(lab.job("lost", target={"root": {"name": "unknown"}}))
        await lab.until_reason("strmsyncjob/lost", "RootNotFound")
        assert said(lab, "strmsyncjob/lost") == (Verdict.FAILED, "Degraded")


async def test_a_server_in_cooldown_is_in_progress_and_so_is_a_job_that_waits_for_it() -> None:
    async with MediaLab() as lab:
        await lab.until_ready(SERVER)
        lab.openlist.fault = Busy("the server answers with a ban page", retry_after_s=1000.0)
        await lab.annotate_server(reconcile_at="1")
        await lab.until_reason(SERVER, "CoolingDown")
        assert said(lab, SERVER) == (Verdict.IN_PROGRESS, "Progressing")
        await lab.apply(lab.job())
        await lab.until(lambda: lab.condition(FILMS, "RateLimited"))
        assert said(lab, FILMS) == (Verdict.IN_PROGRESS, "Progressing")
