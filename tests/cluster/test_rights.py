"""What the chart grants is what the operator uses: no verb more, and none less.

Its calls are read from the API server's audit log. A server-side apply that makes its object appears there as a patch
answered with 201; it needs the verb create all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from hack.stage import SYSTEM, Body, Stage, until
from tests.cluster.kubelet import Kubelet
from tests.cluster.mirroring import declared, status
from tests.cluster.playing import IMAGE, PATIENT, QUICK, audited, resource_of, template
from tests.cluster.rights import Right, granted
from tests.cluster.test_faults import lose_objects_in_a_gap
from tests.fakes.openlist import FakeOpenList

FINALIZERS: Right = ("update", "pantograph.dev/vmtemplates/finalizers", "*")
"""Asked by the admission plugin OwnerReferencesPermissionEnforcement, so no call of ours has it in the log."""
JOB_FINALIZERS: Right = ("update", "pantograph.dev/strmsyncjobs/finalizers", "*")
"""Likewise."""


def used(events: list[Body], right: Right) -> bool:
    verb, resource, only = right
    return any(
        resource_of(event) == resource
        and (event["verb"] == verb or (verb == "create" and _made_by_apply(event)))
        and only in ("*", event["objectRef"].get("name", only if verb == "create" else None))
        for event in events
    )


def _made_by_apply(event: Body) -> bool:
    return bool(event["verb"] == "patch" and event["responseStatus"]["code"] == 201)


@contextmanager
def without(stage: Stage, right: Right) -> Iterator[None]:
    """The operator's ClusterRole lacks `right` for a while."""
    verb, resource, _ = right
    group, _, plural = resource.partition("/")
    role = json.loads(stage.plane.kubectl("get", "clusterrole", "pantograph", "-o", "json"))
    kept = [rule for rule in role["rules"] if (rule["apiGroups"], rule["resources"]) != ([group], [plural])]
    less = {**role, "rules": kept}
    assert len(less["rules"]) == len(role["rules"]) - 1
    del role["metadata"]["resourceVersion"]  # shared by both: each is put whole
    stage.plane.kubectl("replace", "-f", "-", stdin=json.dumps(less))
    try:
        until(lambda: right not in granted(stage.plane, stage.namespace), f"{verb} {resource} taken away")
        yield
    finally:
        stage.plane.kubectl("replace", "-f", "-", stdin=json.dumps(role))


def test_the_verbs_in_the_audit_log_equal_those_that_the_chart_grants(
    stage: Stage, openlist: FakeOpenList, kubelet: Kubelet
) -> None:
    simulator, operator = stage.start_simulator(*QUICK, "--nodes", "1"), stage.start_operator(**PATIENT)
    url = stage.start_origin().put("debian.qcow2", IMAGE)
    operator.await_ready()
    stage.apply(*stage.connection(simulator), template(url))
    stage.await_ready("vmtemplate/debian", "proxmoxcluster/pve")
    lose_objects_in_a_gap(stage, operator)  # what is listed and not known, or the reverse, is read by get

    # The next process says again what the one before has said: the Event is there, and is counted up.
    operator.kill()
    stage.start_operator().await_ready()
    for storage, reason in (("nowhere", "NoPlaces"), ("local", "Succeeded")):
        placement = {"name": "everywhere", "proxmox": {"clusterRef": {"name": "pve"}, "storage": storage}}
        stage.kubectl(
            "patch", "vmtemplate/debian", "--type=merge", "-p", json.dumps({"spec": {"placements": [placement]}})
        )
        until(lambda reason=reason: stage.condition("vmtemplate/debian").get("reason") == reason, reason)  # type: ignore[misc]
    stage.kubectl("delete", "vmtemplate/debian", "proxmoxcluster/pve", "--timeout=180s")
    run_twice(stage, openlist, kubelet)

    events = audited(stage)
    grants = granted(stage.plane, SYSTEM)
    # A server that has just begun refuses everybody until it has read the roles: what is granted is not meant.
    refused = {(each["verb"], resource_of(each)) for each in events if each["responseStatus"]["code"] == 403}
    assert refused <= {(verb, resource) for verb, resource, _ in grants}
    assert {right for right in grants if not used(events, right)} == {FINALIZERS, JOB_FINALIZERS}


def run_twice(stage: Stage, openlist: FakeOpenList, kubelet: Kubelet) -> None:
    """One run to its end, and one that no node takes and that is cancelled."""
    stage.apply(*declared(openlist, per_minute=6000))
    stage.await_ready("strmsyncjob/movies")
    kubelet.holds = True
    stage.kubectl("annotate", "strmsyncjob/movies", "pantograph.dev/reconcile-at=again")
    until(lambda: (status(stage).get("run") or {}).get("waitsFor"), "a run whose Pod no node takes")
    stage.kubectl("annotate", "strmsyncjob/movies", "pantograph.dev/cancel=now")
    until(lambda: status(stage)["lastRun"]["result"] == "Cancelled", "it is cancelled")


def test_without_the_right_to_the_finalizers_the_child_is_refused_and_the_condition_says_so(stage: Stage) -> None:
    simulator, operator = stage.start_simulator(*QUICK, "--nodes", "1"), stage.start_operator()
    url = stage.start_origin().put("debian.qcow2", IMAGE)
    operator.await_ready()
    stage.apply(*stage.connection(simulator))
    stage.await_ready("proxmoxcluster/pve")
    with without(stage, FINALIZERS):
        stage.apply(template(url))
        until(
            lambda: "cannot set blockOwnerDeletion" in stage.condition("vmtemplate/debian").get("message", ""), "said"
        )
        assert stage.condition("vmtemplate/debian")["reason"] == "APIForbidden"
        assert stage.all("templatereplicas") == []
        assert simulator.truth("machines") == []
    stage.await_ready("vmtemplate/debian")
    operator.process.check()
