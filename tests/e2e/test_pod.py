"""What `helm install` gives: one pod with no rights but its own, that does the main job."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import requests

from hack.controlplane.controlplane import CommandError
from hack.stage import SERVICE_ACCOUNT, SYSTEM, Stage
from pantograph.api.units import parse_quantity
from tests.cluster.playing import IMAGE, QUICK, audit_mark, audited, template
from tests.e2e.memory import peaks
from tests.e2e.release import DEPOT, Release
from tests.fakes.images import qcow2


def test_the_main_job_is_done_by_the_pod_and_the_nodes_fetch_from_the_depot_through_its_node_port(
    release: Release, stage: Stage
) -> None:
    mark = audit_mark(stage)
    simulator, origin = stage.start_simulator(*QUICK), stage.start_origin()

    stage.apply(*stage.connection(simulator), template(origin.put("debian.qcow2", IMAGE)))
    stage.await_ready("proxmoxcluster/pve", "vmtemplate/debian")

    machines = simulator.truth("machines_marked")
    assert sorted(machine["node"] for machine in machines) == ["pve1", "pve2", "pve3"]
    disks = {simulator.truth("disk_sha256", vmid=machine["vmid"]) for machine in machines}
    assert disks == {hashlib.sha256(IMAGE).hexdigest()}
    downloads = [each["call"] for each in simulator.truth("mutations") if each["call"]["verb"] == "download_url"]
    assert len(downloads) == 3
    assert all(call["params"]["url"].startswith(DEPOT) for call in downloads)
    assert [request for request in origin.requests if request.endswith(" 200")] == ["GET /debian.qcow2 200"]

    stage.kubectl("delete", "vmtemplate/debian", "proxmoxcluster/pve", "--timeout=120s")
    assert simulator.truth("state") == {"staged": [], "guests": [], "leftovers": []}
    events = audited(stage, since=mark)
    assert events, "the pod is seen in the API server's log, as its own ServiceAccount"
    assert [event for event in events if event["responseStatus"]["code"] == 403] == []


def test_a_large_image_passes_through_within_the_memory_that_the_chart_requests(release: Release, stage: Stage) -> None:
    simulator, origin = stage.start_simulator(*QUICK), stage.start_origin()
    large = qcow2(payload=os.urandom(192 << 20))
    stage.apply(*stage.connection(simulator), template(origin.put("large.qcow2", large)))
    stage.await_ready("vmtemplate/debian")
    pod = json.loads(release.kubectl("get", "pod", release.pod(), "-o", "json"))
    requested = parse_quantity(pod["spec"]["containers"][0]["resources"]["requests"]["memory"])
    (most,) = peaks(pod).values()
    print("MiB that the operator has had resident:", most >> 20)
    assert most < requested < len(large) * 1.1


def test_the_process_is_nobody_without_capabilities_on_a_root_file_system_that_it_cannot_write(
    release: Release,
) -> None:
    pod = release.pod()
    assert [release.exec(pod, "id", flag).strip() for flag in ("-u", "-g")] == ["65532", "65532"]
    status = dict(line.split(":\t", 1) for line in release.exec(pod, "cat", "/proc/1/status").splitlines())
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for place in ("/opt/pantograph/x", "/etc/x", "/var/lib/pantograph/x"):
        assert "Read-only file system" in release.fails(pod, "touch", place)
    release.exec(pod, "touch", "/var/lib/pantograph/depot/.probe", "/tmp/.probe")
    release.exec(pod, "rm", "/var/lib/pantograph/depot/.probe")


def test_the_pod_has_a_projected_token_of_its_own_service_account_and_reads_no_secret_it_is_not_told_of(
    release: Release, stage: Stage
) -> None:
    pod = json.loads(release.kubectl("get", "pod", release.pod(), "-o", "json"))
    sources = [source for volume in pod["spec"]["volumes"] for source in volume.get("projected", {}).get("sources", [])]
    (token,) = [source["serviceAccountToken"] for source in sources if "serviceAccountToken" in source]
    assert token["expirationSeconds"] <= 3607
    assert pod["spec"]["serviceAccountName"] == SERVICE_ACCOUNT
    account = f"system:serviceaccount:{SYSTEM}:{SERVICE_ACCOUNT}"
    for verb, resource in (
        ("create", "pods"),
        ("list", "secrets"),
        ("delete", "customresourcedefinitions"),
        ("get", "nodes"),
    ):
        with pytest.raises(CommandError, match=r"ended with 1"):
            stage.kubectl("auth", "can-i", verb, resource, "--all-namespaces", "--quiet", f"--as={account}")


def test_the_namespace_refuses_a_pod_that_is_not_restricted(release: Release) -> None:
    with pytest.raises(CommandError, match=r'violates PodSecurity "restricted:latest"'):
        release.kubectl("run", "careless", "--image=localhost/pause:1")


def test_the_probes_answer_and_the_log_is_one_json_object_a_line(release: Release) -> None:
    pod = release.pod()
    assert release.get(pod, "/healthz")
    assert release.get(pod, "/readyz")
    assert release.leads(pod)
    lines = release.logs(pod)
    assert lines
    assert all({"message", "level"} <= line.keys() for line in lines)


def test_the_depot_refuses_who_has_no_signed_url(release: Release) -> None:
    assert requests.get(f"{DEPOT}images/{'0' * 64}", timeout=10).status_code in (403, 404)
