"""Two processes and one Lease: who holds it works, the other is ready to, and takes over what was begun."""

from __future__ import annotations

import json

import requests

from hack.stage import SYSTEM, Body, Operator, Stage, until
from tests.cluster.playing import IMAGE, QUICK, SLOW, template


def lease(stage: Stage) -> Body:
    body: Body = json.loads(stage.plane.kubectl("get", "lease", "pantograph", "-n", SYSTEM, "-o", "json"))
    spec: Body = body["spec"]
    return spec


def running_operation(stage: Stage) -> Body:
    """The operation of the only replica, once it is an import that Proxmox has taken."""
    for replica in stage.all("templatereplicas"):
        operation: Body = replica.get("status", {}).get("operation") or {}
        if operation.get("type") == "Import" and operation.get("handle"):
            return operation
    return {}


def is_leader(operator: Operator) -> bool:
    return operator.is_ready() and operator.metric("pantograph_leader") == 1


def test_after_a_kill_the_successor_finishes_the_same_task_and_a_stop_in_order_hands_over_at_once(
    stage: Stage,
) -> None:
    simulator = stage.start_simulator(*QUICK, "--nodes", "1")
    url = stage.start_origin().put("debian.qcow2", IMAGE)
    first = stage.start_operator("first")
    until(lambda: is_leader(first), "the first leads", process=first.process)
    second_port = stage.free_port()
    ports = {"PANTOGRAPH_DEPOT_PORT": str(second_port), "PANTOGRAPH_RUNS_PORT": str(stage.free_port())}
    second = stage.start_operator("second", **ports)
    second.await_ready()
    assert (lease(stage)["holderIdentity"], is_leader(first), is_leader(second)) == ("first", True, False)

    simulator.fault("slow_copies", factor=SLOW)
    stage.apply(*stage.connection(simulator), template(url))
    until(lambda: running_operation(stage), "an import under way")
    begun = running_operation(stage)

    # The standby serves the images too: another port here, the same Service in a cluster.
    (download,) = [each["call"] for each in simulator.truth("mutations") if each["call"]["verb"] == "download_url"]
    elsewhere = download["params"]["url"].replace(f":{stage.depot_port}/", f":{second_port}/")
    served = requests.get(elsewhere, timeout=10)
    assert (served.status_code, served.content) == (200, IMAGE)
    assert requests.get(elsewhere.replace("signature=", "signature=0"), timeout=10).status_code == 403

    first.kill()
    until(lambda: lease(stage)["holderIdentity"] == "second", "the successor holds the Lease")
    until(lambda: is_leader(second) and second.metric("pantograph_cached_objects") == 3, "the successor works")
    assert running_operation(stage)["handle"] == begun["handle"]
    simulator.fault("slow_copies", factor=1)
    stage.await_ready("vmtemplate/debian")
    assert [each["answer"] for each in simulator.truth("mutations") if each["call"]["verb"] == "create_vm"] == [
        begun["handle"]
    ]
    assert len(simulator.truth("machines_marked")) == 1

    transitions = lease(stage)["leaseTransitions"]
    assert second.terminate() == 0
    assert lease(stage)["holderIdentity"] == ""

    third = stage.start_operator("third")
    third.await_ready()
    until(lambda: is_leader(third), "the third leads")
    assert (lease(stage)["holderIdentity"], lease(stage)["leaseTransitions"]) == ("third", transitions + 1)
