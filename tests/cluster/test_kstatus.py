"""Flux and Helm (kstatus), Argo CD (the health script) and `kubectl wait` say the same of what the operator wrote."""

from __future__ import annotations

from hack.stage import Stage, until
from pantograph.api.kstatus import Verdict, verdict
from tests.chart.argocd import health
from tests.cluster.mirroring import declared, status
from tests.cluster.playing import IMAGE, QUICK, disagreements, template
from tests.fakes.openlist import FakeOpenList


def test_every_watcher_has_the_same_verdict_on_every_state_of_an_object(stage: Stage) -> None:
    simulator, operator = stage.start_simulator(*QUICK, "--nodes", "1"), stage.start_operator()
    url = stage.start_origin().put("debian.qcow2", IMAGE)

    waiting = template(url, name="waiting")
    waiting["spec"]["placements"][0]["proxmox"]["clusterRef"]["name"] = "unknown"
    stalled = template(f"{url}.missing", name="stalled")
    suspended = template(url, name="suspended", suspend=True)
    stage.apply(*stage.connection(simulator), template(url, name="ready"), waiting, stalled, suspended)
    stage.await_ready("vmtemplate/ready", "proxmoxcluster/pve")
    until(lambda: stage.condition("vmtemplate/stalled", "Stalled"), "a template stalled")
    until(lambda: stage.condition("vmtemplate/waiting", "Reconciling"), "a template that waits")
    until(lambda: stage.condition("vmtemplate/suspended", "Suspended"), "a template suspended")

    vmid = simulator.truth("machines_marked")[0]["vmid"]
    simulator.person("linked_clone", vmid=vmid, newid=900)
    stage.apply(template(url, name="going"))
    stage.await_ready("vmtemplate/going")
    stage.kubectl("delete", "vmtemplate/ready", "--wait=false")
    until(lambda: stage.condition("vmtemplate/ready").get("reason") == "DeletingReplicas", "a deletion that is blocked")

    operator.kill()
    stage.apply(template(url, name="unseen"))
    stage.kubectl("patch", "vmtemplate/going", "--type=merge", "-p", '{"spec":{"hardware":{"cores":4}}}')

    bodies = {body["metadata"]["name"]: body for body in stage.all("vmtemplates")}
    assert {name: (verdict(body), health(body)) for name, body in bodies.items()} == {
        "ready": (Verdict.TERMINATING, "Progressing"),
        "going": (Verdict.IN_PROGRESS, "Progressing"),
        "waiting": (Verdict.IN_PROGRESS, "Progressing"),
        "stalled": (Verdict.FAILED, "Degraded"),
        "suspended": (Verdict.IN_PROGRESS, "Suspended"),
        "unseen": (Verdict.IN_PROGRESS, "Progressing"),
    }
    assert disagreements(stage) == []
    assert verdict(stage.get("proxmoxcluster/pve")) is Verdict.CURRENT

    # What lies on Proxmox is let go, so that nothing waits for a clone that nobody removes.
    simulator.person("destroy", vmid=900)


def test_every_watcher_has_the_same_verdict_on_a_media_server_and_on_jobs_that_run_or_are_stalled(
    stage: Stage, openlist: FakeOpenList
) -> None:
    stage.start_operator().await_ready()
    secret, server, running = declared(openlist)  # nobody plays the kubelet: its Pod waits
    nowhere = running["spec"] | {"target": {"root": {"name": "unknown"}}}
    stalled = running | {"metadata": {"name": "stalled"}, "spec": nowhere}
    stage.apply(secret, server)
    stage.await_ready("dataserver/openlist")
    stage.apply(running, stalled)
    until(lambda: status(stage).get("operation", {}).get("handle"), "a run is at work")
    until(lambda: stage.condition("strmsyncjob/stalled", "Stalled"), "a job stalled")
    judged = {what: stage.get(what) for what in ("dataserver/openlist", "strmsyncjob/movies", "strmsyncjob/stalled")}
    assert {what: (verdict(body), health(body)) for what, body in judged.items()} == {
        "dataserver/openlist": (Verdict.CURRENT, "Healthy"),
        "strmsyncjob/movies": (Verdict.IN_PROGRESS, "Progressing"),
        "strmsyncjob/stalled": (Verdict.FAILED, "Degraded"),
    }
