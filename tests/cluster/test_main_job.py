"""The main job on the real API server, with the rights that the chart grants and nothing more."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from pathlib import Path

import pytest

from hack.stage import Stage, until
from tests.cluster.playing import IMAGE, QUICK, template
from tests.machine import require_command


def real_qcow2(folder: Path) -> bytes:
    """An image as qemu-img makes it, of 8 MiB of data that do not compress."""
    qemu_img = require_command("qemu-img", package="qemu-utils")
    (folder / "disk.raw").write_bytes(hashlib.shake_256(b"golden").digest(8 << 20))
    command = [str(qemu_img), "convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "disk.qcow2").read_bytes()


@pytest.mark.parametrize("file", ["debian.qcow2", "debian.qcow2.gz"])
def test_a_declared_image_becomes_a_ready_template_with_equal_bytes_on_all_three_nodes_and_goes_without_a_trace(
    stage: Stage, tmp_path: Path, file: str
) -> None:
    image = real_qcow2(tmp_path)
    served = gzip.compress(image, compresslevel=1) if file.endswith(".gz") else image
    simulator, origin, operator = stage.start_simulator(*QUICK), stage.start_origin(), stage.start_operator()
    origin.put(file, served)

    stage.apply(*stage.connection(simulator), template(origin.url(file)))
    stage.await_ready("vmtemplate/debian")

    header, row = (line.split() for line in stage.kubectl("get", "vmtemplate", "debian").splitlines())
    assert dict(zip(header, row, strict=False))["READY"] == "3/3"
    status = stage.get("vmtemplate/debian")["status"]
    assert status["image"]["servedDigest"] == f"sha256:{hashlib.sha256(served).hexdigest()}"
    assert status["image"]["imageDigest"] == f"sha256:{hashlib.sha256(image).hexdigest()}"

    machines = simulator.truth("machines_marked")
    assert sorted(machine["node"] for machine in machines) == ["pve1", "pve2", "pve3"]
    assert all(machine["template"] and machine["lock"] is None for machine in machines)
    disks = {simulator.truth("disk_sha256", vmid=machine["vmid"]) for machine in machines}
    assert disks == {hashlib.sha256(image).hexdigest()}
    downloads = [each["call"] for each in simulator.truth("mutations") if each["call"]["verb"] == "download_url"]
    assert sorted(call["node"] for call in downloads) == ["pve1", "pve2", "pve3"]
    depot = f"http://127.0.0.1:{stage.depot_port}/"
    assert all(call["params"]["url"].startswith(depot) for call in downloads)
    assert [request for request in origin.requests if request.endswith(" 200")] == [f"GET /{file} 200"]

    stage.kubectl("delete", "vmtemplate/debian", "proxmoxcluster/pve", "--timeout=120s")
    assert simulator.truth("state") == {"staged": [], "guests": [], "leftovers": []}
    assert stage.all("templatereplicas") == []
    until(lambda: stage.find("configmap/debian-locations") is None, "the ConfigMap of locations collected")
    operator.process.check()


def test_on_shared_storage_one_real_template_serves_three_replicas_and_is_purged_once(stage: Stage) -> None:
    simulator, origin = stage.start_simulator(*QUICK, "--shared", "nfs"), stage.start_origin()
    stage.start_operator()
    stage.apply(*stage.connection(simulator), template(origin.put("debian.qcow2", IMAGE), storage="nfs"))
    stage.await_ready("vmtemplate/debian")

    (machine,) = simulator.truth("machines_marked")
    replicas = {each["spec"]["node"]: each for each in stage.all("templatereplicas")}
    assert sorted(each["spec"]["type"] for each in replicas.values()) == ["Copy", "Logical", "Logical"]
    assert {each["status"]["vmid"] for each in replicas.values()} == {machine["vmid"]}

    views = [each for each in replicas.values() if each["spec"]["node"] != machine["node"]]
    simulator.fault("cut", node=machine["node"])
    for view in views:
        name = f"templatereplica/{view['metadata']['name']}"
        until(lambda name=name: stage.condition(name).get("reason") == "OwnerNodeOffline", f"{name} OwnerNodeOffline")  # type: ignore[misc]
    assert stage.condition("vmtemplate/debian")["status"] == "True"
    simulator.fault("mend", node=machine["node"])
    stage.await_ready(*(f"templatereplica/{each['metadata']['name']}" for each in replicas.values()))

    stage.kubectl("delete", "vmtemplate/debian", "proxmoxcluster/pve", "--timeout=120s")
    assert simulator.truth("mutation_counts")["destroy_vm"] == 1
    assert simulator.truth("state") == {"staged": [], "guests": [], "leftovers": []}
