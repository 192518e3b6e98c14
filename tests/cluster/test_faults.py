"""The API server fails its operator: restarts, forgets the past, drops watches, lacks a kind."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from hack.stage import Body, Operator, Simulator, Stage, example, until
from tests.cluster.mirroring import mirrored
from tests.cluster.playing import IMAGE, PATIENT, QUICK, SLOW, audit_mark, audited, template
from tests.cluster.proxy import ApiProxy

SERVER = "http://192.0.2.1:5244"
PLURALS = {
    "ProxmoxCluster": "proxmoxclusters",
    "VMTemplate": "vmtemplates",
    "TemplateReplica": "templatereplicas",
    "DataServer": "dataservers",
    "StrmSyncJob": "strmsyncjobs",
}
WATCHED = {*PLURALS.values(), "jobs"}


def delete_behind_the_server(stage: Stage, kind: str, name: str) -> None:
    """The object is gone from etcd, and no watch will ever tell."""
    key = f"/registry/pantograph.dev/{PLURALS[kind]}/{stage.namespace}/{name}"
    assert stage.plane._etcd("kv/deleterange", {"key": base64.b64encode(key.encode()).decode()})["deleted"] == "1"


def suspended(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """An object that nothing is begun for."""
    return _set_aside(example(kind), name, **spec)


def _set_aside(body: Body, name: str, **spec: Any) -> Body:
    body["metadata"]["name"] = name
    body["spec"] |= {"suspend": True, **spec}
    return body


def cached(operator: Operator) -> dict[str, float]:
    return {kind: operator.metric("pantograph_cached_objects", kind=kind) for kind in PLURALS}


def lose_objects_in_a_gap(stage: Stage, operator: Operator) -> None:
    """While the API server is away, one object of each kind vanishes, and with it the history that would tell."""
    gone = {kind.lower(): kind for kind in PLURALS}
    # A kind of which nothing is left tells nothing when it is listed again: it would be compared ten minutes later.
    stage.apply(*(_set_aside(body, "kept") for body in mirrored(SERVER, name="kept")))
    for kind in ("dataserver", "strmsyncjob"):
        until(lambda kind=kind: stage.condition(f"{kind}/kept", "Suspended"), f"{kind} suspended")  # type: ignore[misc]
    before = cached(operator)
    examples = [suspended(kind, "gone") for kind in ("proxmoxcluster", "vmtemplate", "templatereplica")]
    mirror = [_set_aside(body, "gone") for body in mirrored(SERVER, name="gone")]
    stage.apply(*examples, *mirror)
    for kind in gone:  # nothing is in hand for them: only a comparison can tell that they are gone
        until(lambda kind=kind: stage.condition(f"{kind}/gone", "Suspended"), f"{kind} suspended")  # type: ignore[misc]
    assert cached(operator) == {kind: count + 1 for kind, count in before.items()}
    stage.plane.stop_apiserver()
    for kind in gone.values():
        delete_behind_the_server(stage, kind, "gone")
    stage.plane.compact_etcd()
    stage.plane.start_apiserver()
    until(lambda: cached(operator) == before, "the ghosts forgotten", within_s=120, process=operator.process)
    ghosts = {kind: operator.metric("pantograph_ghosts_total", kind=kind) for kind in PLURALS}
    assert ghosts == dict.fromkeys(PLURALS, 1)


def test_the_work_outlives_an_api_server_that_restarts_in_the_middle_and_objects_that_vanish_meanwhile(
    stage: Stage,
) -> None:
    simulator, operator = stage.start_simulator(*QUICK), stage.start_operator(**PATIENT)
    url = stage.start_origin().put("debian.qcow2", IMAGE)
    operator.await_ready()
    stage.apply(*stage.connection(simulator))
    stage.await_ready("proxmoxcluster/pve")
    simulator.fault("slow_copies", factor=SLOW)
    stage.apply(template(url))
    until(lambda: len(simulator.truth("stubs")) == 3, "all three being imported")

    lose_objects_in_a_gap(stage, operator)

    simulator.fault("slow_copies", factor=1)
    stage.await_ready("vmtemplate/debian")
    assert simulator.truth("mutation_counts")["create_vm"] == 3
    assert len(simulator.truth("machines_marked")) == 3


def test_changes_are_seen_after_every_watch_was_cut(stage: Stage) -> None:
    simulator: Simulator = stage.start_simulator(*QUICK, "--nodes", "1")
    url = stage.start_origin().put("debian.qcow2", IMAGE)
    with ApiProxy(stage) as proxy:
        operator = stage.start_operator(KUBECONFIG=str(proxy.kubeconfig))
        stage.apply(*stage.connection(simulator))
        stage.await_ready("proxmoxcluster/pve")
        until(lambda: proxy.watches == len(WATCHED), "all kinds watched")
        mark = audit_mark(stage)
        assert proxy.drop_watches() == len(WATCHED)
        stage.apply(template(url))
        stage.await_ready("vmtemplate/debian")
        until(lambda: proxy.watches == len(WATCHED), "all watched again")
        assert proxy.drop_watches() == len(WATCHED)
        stage.kubectl("delete", "vmtemplate/debian", "--timeout=180s")
        cut = [event for event in audited(stage, since=mark) if event["verb"] == "watch"]
        assert {event["objectRef"]["resource"] for event in cut} == WATCHED
        operator.process.check()


@pytest.fixture
def without_replicas(stage: Stage) -> Any:
    """The stage, where the kind TemplateReplica is not installed."""
    stage.plane.kubectl("delete", "crd", "templatereplicas.pantograph.dev")
    yield stage
    stage.install_chart()


def test_a_kind_that_is_not_installed_ends_the_start_and_names_the_remedy(without_replicas: Stage) -> None:
    operator = without_replicas.start_operator()
    assert operator.process.wait() == 1
    said = operator.log.read_text().splitlines()[-1]
    assert "the API server does not serve templatereplicas.pantograph.dev/v1alpha1" in said
    assert "helm upgrade --install with crds.enabled=true, or kubectl apply -f crds/" in said
