"""What a person may get wrong is refused by the API server, by field and rule, before the operator ever sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hack.controlplane.controlplane import CommandError
from hack.stage import Body, Stage, example
from tests.cluster.playing import template

URL = "https://images.example.org/debian.qcow2"
DIGEST = f"sha256:{0:064}"
IMAGE_STATUS = {"servedDigest": DIGEST, "imageDigest": DIGEST, "format": "qcow2", "virtualSizeBytes": 1}


def changed(kind: str, path: str, value: Any) -> Body:
    """The example of a kind with one field changed; numbers in the path are places in a list, None removes."""
    body = example(kind)
    *steps, last = path.split(".")
    at: Any = body["spec"]
    for step in steps:
        at = at[int(step)] if step.isdigit() else at.setdefault(step, {})
    at[last] = value
    return body


WRONG = [
    ("vmtemplate", "source.http.url", "ftp://example.org/x.qcow2", "spec.source.http.url", "should match '^https?://"),
    ("vmtemplate", "source.http.checksum", "md5:0123", "spec.source.http.checksum", "should match '^(sha256:"),
    ("vmtemplate", "hardware.cores", 0, "spec.hardware.cores", "should be greater than or equal to 1"),
    ("vmtemplate", "hardware.memory", "two", "spec.hardware.memory", "should match"),
    ("vmtemplate", "hardware.firmware", "UEFI", "spec.hardware.firmware", 'supported values: "SeaBIOS", "OVMF"'),
    ("vmtemplate", "hardware.network.vlan", 5000, "spec.hardware.network.vlan", "less than or equal to 4094"),
    ("vmtemplate", "cloudInit.ipConfig", "ip=dhcp;id", "spec.cloudInit.ipConfig", "should match"),
    ("vmtemplate", "placements", [], "spec.placements", "should have at least 1 items"),
    ("vmtemplate", "placements.0.proxmox.storage", "../x", "spec.placements[0].proxmox.storage", "should match"),
    ("vmtemplate", "placements.0.proxmox.nodes", ["a", "a"], "spec.placements[0].proxmox.nodes[1]", "Duplicate value"),
    (
        "vmtemplate",
        "placements.0.transfer",
        "Rsync",
        "spec.placements[0].transfer",
        'supported values: "Auto", "Depot"',
    ),
    ("vmtemplate", "maxParallel", 65, "spec.maxParallel", "less than or equal to 64"),
    ("proxmoxcluster", "endpoints", [], "spec.endpoints", "should have at least 1 items"),
    ("proxmoxcluster", "endpoints", ["pve1 pve2"], "spec.endpoints[0]", "should match"),
    ("proxmoxcluster", "tls", {"fingerprint": "AA:BB"}, "spec.tls.fingerprint", "should be at least 95 chars long"),
    ("proxmoxcluster", "tls", {}, "spec.tls", "exactly one of caRef, fingerprint or insecureSkipVerify must be set"),
    (
        "proxmoxcluster",
        "limits",
        {"requestsPerSecond": 0},
        "spec.limits.requestsPerSecond",
        "greater than or equal to 1",
    ),
    ("templatereplica", "node", "-pve2", "spec.node", "should match"),
    (
        "templatereplica",
        "copyRef",
        {"name": "x"},
        "spec",
        "copyRef is required with type Logical and only allowed there",
    ),
]


@pytest.mark.parametrize(("kind", "path", "value", "field", "rule"), WRONG, ids=[f"{w[0]}.{w[1]}" for w in WRONG])
def test_an_invalid_spec_is_refused_with_its_field_and_its_rule(
    whole_stage: Stage, kind: str, path: str, value: Any, field: str, rule: str
) -> None:
    wrong = json.dumps(changed(kind, path, value))
    with pytest.raises(CommandError) as refused:
        whole_stage.plane.kubectl("create", "--dry-run=server", "-n", "default", "-f", "-", stdin=wrong)
    assert field in refused.value.stderr
    assert rule in refused.value.stderr


@pytest.fixture(scope="module")
def fetched(whole_stage: Stage) -> Iterator[Stage]:
    """A scene with a template whose image is known."""
    with whole_stage.scene() as stage:
        stage.apply(template(URL))
        status = json.dumps({"status": {"image": IMAGE_STATUS}})
        stage.kubectl("patch", "vmtemplate/debian", "--subresource=status", "--type=merge", "-p", status)
        yield stage


FROZEN = {
    "source.http.url": "https://images.example.org/other.qcow2",
    "source.http.checksum": DIGEST,
    "hardware.disk.size": "64Gi",
    "hardware.disk.bus": "virtio",
    "hardware.scsiController": "lsi",
    "hardware.machine": "q35",
    "hardware.firmware": "OVMF",
    "hardware.osType": "win11",
}


@pytest.mark.parametrize("path", FROZEN)
def test_what_every_copy_was_made_from_cannot_change_once_the_image_is_known(fetched: Stage, path: str) -> None:
    patch: Any = FROZEN[path]
    for step in reversed(["spec", *path.split(".")]):
        patch = {step: patch}
    with pytest.raises(CommandError) as refused:
        fetched.kubectl("patch", "vmtemplate/debian", "--type=merge", "-p", json.dumps(patch))
    assert f"spec.{path}: Invalid value" in refused.value.stderr
    assert f"spec.{path} cannot change after the image was fetched" in refused.value.stderr
    assert "create another VMTemplate instead" in refused.value.stderr
