"""What the operator knows of a media server, and that it never asks one that wants to be left alone."""

from __future__ import annotations

from pathlib import Path

from pantograph.controllers.runs.roots import Root
from pantograph.providers.errors import Busy, Unreachable
from pantograph.providers.media.port import Capabilities
from tests.simulation.jobs.lab import MediaLab
from tests.simulation.jobs.world import failed
from tests.simulation.lab import NAMESPACE

HOUR_S = 3600.0
SERVER = "dataserver/openlist"
FILMS = "strmsyncjob/films"


async def test_a_server_that_answers_is_ready_and_says_who_it_is() -> None:
    async with MediaLab() as lab:
        await lab.until_ready(SERVER)
        status = lab.status(SERVER)
        assert (status["product"], status["version"], status["reachable"], status["loggedIn"]) == (
            "Fake",
            "1.2",
            True,
            True,
        )
        assert status["capabilities"] == ["watch", "http", "sign", "completeListings"]
        await lab.quiet()
        writes = len(lab.server.writes)
        await lab.quiet(for_s=HOUR_S)
        assert lab.server.writes[writes:] == []
        assert lab.openlist.logins == 1


async def test_refused_credentials_are_never_tried_again_until_the_secret_changes_not_even_by_a_new_process() -> None:
    async with MediaLab() as lab:
        lab.openlist.password = "changed"
        await lab.until_reason(SERVER, "CredentialsRefused")
        await lab.apply(lab.job())
        await lab.until_reason(FILMS, "ServerNotReady")
        for _ in range(3):
            await lab.quiet(for_s=HOUR_S)
            await lab.restart()
        await lab.annotate_server(reconcile_at="1")
        await lab.quiet(for_s=HOUR_S)
        assert lab.openlist.logins == 1
        assert lab.begun() == []
        await lab.apply(lab.login(password="changed"))
        await lab.until_ready(SERVER, within_s=120)
        await lab.until_ready(FILMS, within_s=120)
        assert lab.openlist.logins == 2
        assert "refusedSecretVersion" not in lab.status(SERVER)


async def test_credentials_that_a_run_finds_refused_keep_every_other_run_from_trying() -> None:
    async with MediaLab() as lab:
        await lab.until_ready(SERVER)
        lab.openlist.password = "changed"
        lab.runners.results = [failed("CredentialsRefused", "the server refused the credentials")]
        await lab.apply(lab.job())
        await lab.until(lambda: lab.last().get("result") == "Failed")
        await lab.until_reason(SERVER, "CredentialsRefused")
        await lab.apply(lab.job("shows", path="/Shows"))
        await lab.quiet(for_s=3 * HOUR_S)
        assert len(lab.begun()) == 1
        assert lab.begun("shows") == []
        await lab.apply(lab.login(password="changed"))
        await lab.until_ready("strmsyncjob/shows", within_s=300)
        await lab.until_ready(FILMS, within_s=300)


async def test_a_server_that_a_run_finds_dead_is_left_alone_by_every_other_job_until_it_answers() -> None:
    async with MediaLab() as lab:
        await lab.until_ready(SERVER)
        lab.openlist.fault = Unreachable("nobody answers at openlist:5244")
        lab.runners.results = [failed("Unreachable", "nobody answers at openlist:5244")]
        await lab.apply(lab.job())
        await lab.until(lambda: lab.last().get("result") == "Failed", within_s=30)
        await lab.until(lambda: lab.condition(SERVER)["reason"] == "Unreachable", within_s=10)
        for name in ("shows", "music", "books"):
            await lab.apply(lab.job(name, path=f"/{name}"))
        await lab.quiet(for_s=HOUR_S)
        assert [len(lab.begun(name)) for name in ("films", "shows", "music", "books")] == [1, 0, 0, 0]
        assert lab.condition("strmsyncjob/shows")["reason"] == "ServerNotReady"
        lab.openlist.fault = None
        for name in ("films", "shows", "music", "books"):
            await lab.until_ready(f"strmsyncjob/{name}", within_s=HOUR_S)


async def test_a_late_refusal_of_old_credentials_does_not_speak_of_new_ones() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [failed("CredentialsRefused", "the server refused the credentials")]
        lab.runners.takes_s = HOUR_S
        await lab.apply(lab.job())
        await lab.until(lab.runners.at_work)
        lab.openlist.password = "changed"
        await lab.apply(lab.login(password="changed"))
        await lab.annotate_server(reconcile_at="1")
        await lab.until(lambda: lab.openlist.logins == 2)
        await lab.until(lambda: lab.last().get("result") == "Failed", within_s=2 * HOUR_S)
        await lab.quiet(for_s=10)
        assert lab.condition(SERVER)["status"] == "True"
        assert "refusedSecretVersion" not in lab.status(SERVER)
        await lab.until_ready(FILMS, within_s=2 * HOUR_S)


async def test_a_refusal_of_credentials_that_the_operator_has_not_read_yet_keeps_it_from_trying_them() -> None:
    async with MediaLab() as lab:
        await lab.until_ready(SERVER)
        await lab.apply(lab.login(password="wrong"))
        lab.runners.results = [failed("CredentialsRefused", "the server refused the credentials")]
        await lab.apply(lab.job())
        await lab.until_reason(SERVER, "CredentialsRefused")
        await lab.restart()
        await lab.quiet(for_s=HOUR_S)
        assert lab.openlist.logins == 1
        assert len(lab.begun()) == 1
        await lab.apply(lab.login())
        await lab.until_ready(FILMS, within_s=300)


async def test_a_refusal_at_an_endpoint_does_not_speak_of_another_one() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [failed("CredentialsRefused", "the server refused the credentials")]
        lab.runners.takes_s = HOUR_S
        await lab.apply(lab.job())
        await lab.until(lab.runners.at_work)
        await lab.apply(lab.data_server(endpoint="http://openlist.new:5244"))
        await lab.until(lambda: lab.last().get("result") == "Failed", within_s=2 * HOUR_S)
        await lab.quiet(for_s=10)
        assert lab.condition(SERVER)["status"] == "True"


async def test_a_refusal_by_one_server_does_not_speak_of_the_one_that_the_job_names_by_now() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.data_server("other", endpoint="http://other:5244"))
        lab.runners.results = [failed("CredentialsRefused", "the server refused the credentials")]
        lab.runners.takes_s = HOUR_S
        await lab.apply(lab.job())
        await lab.until(lab.runners.at_work)
        await lab.apply(lab.job(serverRef={"name": "other"}))
        await lab.until(lambda: lab.last().get("result") == "Failed", within_s=2 * HOUR_S)
        await lab.quiet(for_s=10)
        assert lab.condition("dataserver/other")["status"] == "True"


async def test_an_authority_that_is_put_right_is_read_within_a_minute_and_one_that_is_not_there_is_named() -> None:
    async with MediaLab(server=False) as lab:
        lab.openlist.certificate = "the right one"
        await lab.apply(lab.login())
        await lab.apply(lab.data_server(endpoint="https://openlist:5244", tls={"caRef": {"name": "openlist-ca"}}))
        await lab.until_reason(SERVER, "SecretNotFound")
        assert "openlist-ca" in lab.condition(SERVER)["message"]
        await lab.apply(lab.secret("openlist-ca", **{"ca.crt": "another one"}))
        await lab.until_reason(SERVER, "CertificateRefused")
        await lab.apply(lab.secret("openlist-ca", **{"ca.crt": "the right one"}))
        await lab.until_ready(SERVER, within_s=60)
        assert lab.openlist.logins == 1


async def test_a_secret_without_the_key_for_an_authority_is_said_to_be_so() -> None:
    async with MediaLab(server=False) as lab:
        await lab.apply(lab.login())
        await lab.apply(lab.data_server(endpoint="https://openlist:5244", tls={"caRef": {"name": "openlist"}}))
        await lab.until_reason(SERVER, "SecretKeyMissing")
        assert "Secret openlist has no key ca.crt" in lab.condition(SERVER)["message"]


async def test_a_ban_holds_back_all_jobs_of_the_server_and_is_not_forgotten_by_a_restart() -> None:
    async with MediaLab() as lab:
        await lab.until_ready(SERVER)
        lab.openlist.fault = Busy("the server answers with a ban page", retry_after_s=1000.0)
        await lab.annotate_server(reconcile_at="1")
        await lab.until_reason(SERVER, "CoolingDown")
        lab.openlist.fault = None
        await lab.apply(lab.job())
        await lab.until(lambda: lab.condition(FILMS, "RateLimited"))
        tests = lab.openlist.tests
        await lab.quiet(for_s=300)
        await lab.restart()
        await lab.quiet(for_s=300)
        assert lab.openlist.tests == tests
        assert lab.begun() == []
        await lab.until_ready(FILMS, within_s=600)
        assert not lab.condition(FILMS, "RateLimited")
        assert not lab.condition(SERVER, "RateLimited")


async def test_a_cooldown_that_a_run_reports_holds_back_the_others() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job())
        await lab.until_ready(FILMS)
        assert lab.cooldowns is not None
        lab.cooldowns.cool(lab.server_key, 900, "429")
        await lab.apply(lab.job("shows", path="/Shows"))
        await lab.quiet(for_s=800)
        assert lab.begun("shows") == []
        await lab.until_ready("strmsyncjob/shows", within_s=300)


async def test_a_server_that_does_not_answer_is_told_so_and_its_jobs_begin_when_it_does() -> None:
    async with MediaLab() as lab:
        lab.openlist.fault = Unreachable("nobody answers at openlist:5244")
        await lab.apply(lab.job())
        await lab.until(lambda: lab.condition(SERVER, "Reachable").get("status") == "False")
        await lab.until_reason(FILMS, "ServerNotReady")
        assert "nobody answers at openlist:5244" in lab.condition(FILMS)["message"]
        lab.openlist.fault = None
        await lab.until_ready(FILMS, within_s=60)


async def test_a_folder_on_a_claim_is_seen_by_runs_only_and_no_reason_to_wait() -> None:
    async with MediaLab(server=False) as lab:
        local = {"persistentVolumeClaim": {"claimName": "cloud"}}
        await lab.apply(lab.data_server(driver="Local", endpoint=None, credentialsRef=None, local=local))
        await lab.until_ready(SERVER)
        assert lab.condition(SERVER)["reason"] == "SeenByRunsOnly"
        assert "reachable" not in lab.status(SERVER)
        await lab.apply(lab.job(target={"persistentVolumeClaim": {"claimName": "strm"}}))
        await lab.until_ready(FILMS)


async def test_a_folder_on_a_root_is_looked_at_where_it_is_mounted(tmp_path: Path) -> None:
    async with MediaLab(server=False) as lab:
        lab.root = Root("media", tmp_path, frozenset({NAMESPACE}))
        (tmp_path / "cloud").mkdir()
        await lab.restart()
        local = {"root": {"name": "media", "subPath": "cloud"}, "sentinel": "here"}
        await lab.apply(lab.data_server(driver="Local", endpoint=None, credentialsRef=None, local=local))
        await lab.until_reason(SERVER, "MountMissing")
        (tmp_path / "cloud/here").touch()
        await lab.until_ready(SERVER)


async def test_a_root_that_is_not_open_to_the_namespace_stalls_the_job_with_the_helm_value() -> None:
    async with MediaLab(namespaces=("elsewhere",)) as lab:
        await lab.apply(lab.job())
        await lab.until_reason(FILMS, "RootNotAllowed")
        assert lab.condition(FILMS, "Stalled")["status"] == "True"
        assert "add lab to the namespaces of root media in the chart's values" in lab.condition(FILMS)["message"]
        assert lab.begun() == []


async def test_a_server_of_another_namespace_must_allow_it_and_is_of_no_use_to_a_run_in_a_pod() -> None:
    async with MediaLab(namespaces=("*",)) as lab:
        job = lab.job(serverRef={"name": "openlist", "namespace": NAMESPACE})
        await lab.apply(job, namespace="tenant")
        await lab.until(lambda: lab.reason_in("tenant", "films") == "NamespaceNotAllowed")
        await lab.apply(lab.data_server(allowedNamespaces=["tenant"]))
        await lab.until(lambda: lab.reason_in("tenant", "films") == "Succeeded")
        claim = {"persistentVolumeClaim": {"claimName": "strm"}}
        await lab.apply({**job, "spec": {**job["spec"], "target": claim}}, namespace="tenant")
        await lab.until(lambda: lab.reason_in("tenant", "films") == "ServerElsewhere")


async def test_a_deleted_server_leaves_its_jobs_waiting_until_it_is_back() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job())
        await lab.until_ready(FILMS)
        await lab.delete(SERVER)
        await lab.until_reason(FILMS, "ServerNotFound")
        await lab.apply(lab.data_server())
        await lab.until_ready(FILMS)
        assert len(lab.begun()) == 1


async def test_changes_on_the_server_are_followed_by_runs_over_what_changed() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(watch={"minInterval": "30s"}))
        await lab.apply(lab.job("shows", path="/Shows", watch={}))
        await lab.until_ready(FILMS)
        await lab.until(lambda: lab.condition(FILMS, "WatchConnected").get("status") == "True")
        await lab.quiet(for_s=120)
        assert lab.openlist.streams_opened == 1  # one for both
        before = len(lab.begun()), len(lab.begun("shows"))
        for number in range(1000):
            lab.openlist.tell(f"/Films/New/{number}.mkv")
        await lab.until(lambda: len(lab.begun()) > before[0], within_s=60)
        order = lab.runners.of("films")[-1].order
        assert (order.trigger, order.scope, order.shallow) == ("watch", ("New",), True)
        await lab.quiet(for_s=300)
        assert len(lab.begun()) == before[0] + 1
        assert len(lab.begun("shows")) == before[1]


async def test_runs_that_follow_changes_keep_their_distance_and_lose_no_change() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(watch={"minInterval": "2m"}))
        await lab.quiet(for_s=600)
        began = len(lab.begun())
        for minute in range(10):
            lab.openlist.tell(f"/Films/{minute}/a.mkv")
            await lab.clock.sleep(60)
        await lab.quiet(for_s=300)
        runs = lab.runners.of("films")[began:]
        assert {path for run in runs for path in run.order.scope} == {str(minute) for minute in range(10)}
        ends = [run.began + run.took_s for run in runs]
        assert all(later.began - end >= 119 for end, later in zip(ends, runs[1:], strict=False))


async def test_what_a_failed_run_was_to_look_at_is_looked_at_later() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(watch={}))
        await lab.quiet(for_s=120)
        began = len(lab.begun())
        lab.runners.results = [failed("Unreachable")]
        lab.openlist.tell("/Films/New/a.mkv")
        await lab.quiet(for_s=300)
        scopes = [run.order.scope for run in lab.runners.of("films")[began:]]
        assert scopes == [("New",), ("New",)]


async def test_a_lost_stream_is_followed_by_a_run_over_everything() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(watch={}))
        await lab.quiet(for_s=120)
        began = len(lab.begun())
        lab.openlist.cut()
        await lab.quiet(for_s=120)
        assert [run.order.scope for run in lab.runners.of("films")[began:]] == [()]
        await lab.restart()
        await lab.quiet(for_s=120)
        assert len(lab.begun()) == began + 2
        await lab.apply(lab.job(watch={"enabled": False}))
        await lab.until(lambda: not lab.condition(FILMS, "WatchConnected"))
        assert lab.openlist.streams == []


async def test_a_server_that_tells_of_no_changes_is_said_to_be_so() -> None:
    async with MediaLab() as lab:
        lab.openlist.capabilities = Capabilities(
            watch=False, http=True, mount=False, pickcode=False, sign=True, proves_complete_listing=True
        )
        await lab.apply(lab.job(watch={}))
        await lab.until_ready(FILMS)
        await lab.until(lambda: lab.condition(FILMS, "WatchConnected").get("reason") == "WatchUnsupported")
        assert lab.openlist.streams_opened == 0


async def test_a_suspended_job_listens_to_nothing() -> None:
    async with MediaLab() as lab:
        await lab.apply(lab.job(watch={}))
        await lab.until(lambda: lab.condition(FILMS, "WatchConnected").get("status") == "True")
        await lab.until_ready(FILMS)
        await lab.patch(FILMS, {"spec": {"suspend": True}})
        await lab.until(lambda: lab.openlist.streams == [])
        began = len(lab.begun())
        await lab.patch(FILMS, {"spec": {"suspend": False}})
        await lab.until(lambda: len(lab.begun()) > began)  # what changed meanwhile was not heard
        assert lab.runners.of("films")[-1].order.scope == ()


async def test_a_server_with_another_base_path_is_opened_anew_on_request_and_after_its_interval() -> None:
    for on_request in (True, False):
        async with MediaLab() as lab:
            await lab.until_ready(SERVER)
            lab.openlist.base_path = "/115"
            await lab.annotate_server(reconcile_at="1")
            await lab.until_reason(SERVER, "BasePathChanged")
            await lab.quiet(for_s=60)
            assert lab.condition(SERVER)["reason"] == "BasePathChanged"
            if on_request:
                await lab.annotate_server(reconcile_at="2")
            await lab.until_ready(SERVER, within_s=10 if on_request else 900)


async def test_a_run_that_met_another_base_path_is_tried_again() -> None:
    async with MediaLab() as lab:
        lab.runners.results = [failed("BasePathChanged")]
        await lab.apply(lab.job())
        await lab.until(lambda: lab.last().get("result") == "Failed")
        await lab.until_ready(FILMS, within_s=120)
