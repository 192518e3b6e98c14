"""A template's hardware in Proxmox's words, and what must change for a configuration to be what is declared."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest

from pantograph.api.vmtemplate import CloudInit, Hardware
from pantograph.controllers.templatereplica.hardware import Machine, creation, difference
from pantograph.controllers.vmtemplate.revision import revision_of
from pantograph.providers.proxmox.mark import Mark

MARK = Mark(
    installation="i", kind="TemplateReplica", namespace="lab", name="debian-pve1", uid="u-1", vmid=105, revision="r"
)
DIGEST = f"sha256:{'a' * 64}"


def machine(hardware: dict[str, Any] | None = None, cloud_init: dict[str, Any] | None = None) -> Machine:
    return Machine(
        name="debian-pve1",
        storage="fast",
        hardware=Hardware.model_validate(hardware or {}),
        cloud_init=CloudInit.model_validate(cloud_init or {}),
        mark=MARK,
    )


def stored(wanted: Machine) -> dict[str, str]:
    """How Proxmox has it after the creation: with a MAC, and tags in its own order."""
    config = creation(wanted, import_from="local:import/x.qcow2", password=None)
    if "net0" in config:
        config["net0"] = config["net0"].replace("virtio,", "virtio=BC:24:11:00:00:01,")
    config["tags"] = ";".join(reversed(config["tags"].split(";")))
    return config


def test_every_volume_lies_on_the_disks_storage() -> None:
    config = creation(
        machine({"firmware": "OVMFSecureBoot", "tpm": "v2.0"}), import_from="local:import/x.qcow2", password=None
    )
    assert config["scsi0"] == "fast:0,import-from=local:import/x.qcow2,discard=on"
    assert config["ide2"] == "fast:cloudinit"
    assert config["efidisk0"] == "fast:0,efitype=4m,pre-enrolled-keys=1"
    assert config["tpmstate0"] == "fast:0,version=v2.0"


@pytest.mark.parametrize("bus", ["scsi", "virtio", "sata", "ide"])
def test_the_machine_boots_from_its_disk_on_any_bus(bus: str) -> None:
    config = creation(machine({"disk": {"bus": bus}}), import_from="local:import/x.qcow2", password=None)
    assert config["boot"] == f"order={bus}0"
    assert "import-from=local:import/x.qcow2" in config[f"{bus}0"]


@pytest.mark.parametrize(
    ("hardware", "cloud_init"),
    [
        ({}, {}),
        ({"network": {"bridge": "vmbr0", "vlan": 7}, "tags": ["Blue".lower()]}, {}),
        ({}, {"user": "ada", "sshKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1 a b"], "ipConfig": "ip=dhcp"}),
    ],
    ids=["plain", "network and tags", "cloud-init"],
)
def test_a_machine_as_it_was_made_needs_no_change(hardware: dict[str, Any], cloud_init: dict[str, Any]) -> None:
    wanted = machine(hardware, cloud_init)
    assert not difference(wanted, stored(wanted))


def test_a_changed_network_keeps_its_mac() -> None:
    before = stored(machine({"network": {"bridge": "vmbr0"}}))
    change = difference(machine({"network": {"bridge": "vmbr1", "vlan": 30}}), before)
    assert change.set == {"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr1,tag=30"}


def test_what_a_person_added_to_the_network_card_is_not_ours() -> None:
    wanted = machine({"network": {"bridge": "vmbr0"}})
    before = stored(wanted)
    before["net0"] += ",firewall=1"
    assert not difference(wanted, before)


def test_what_is_no_longer_declared_is_taken_away() -> None:
    before = stored(machine({"network": {"bridge": "vmbr0"}}, {"user": "ada", "ipConfig": "ip=dhcp"}))
    before["cipassword"] = "**********"
    assert sorted(difference(machine(), before).delete) == ["cipassword", "ciuser", "ipconfig0", "net0"]


def test_our_line_comes_back_into_a_description_that_a_person_wrote() -> None:
    before = stored(machine())
    before["description"] = "please keep"
    change = difference(machine(), before)
    assert change.set["description"].splitlines()[0] == "please keep"
    assert MARK.line in change.set["description"]


def test_ssh_keys_are_percent_encoded_inside_the_value() -> None:
    config = creation(machine({}, {"sshKeys": ["ssh-ed25519 AAAA+/= me"]}), import_from="x:import/y.raw", password=None)
    assert " " not in config["sshkeys"]
    assert unquote(config["sshkeys"]) == "ssh-ed25519 AAAA+/= me"


COVERED = [
    {"disk": {"size": "4Gi"}},
    {"disk": {"bus": "virtio"}},
    {"scsiController": "lsi"},
    {"machine": "q35"},
    {"firmware": "OVMF"},
    {"osType": "win11"},
]
IN_PLACE = [{"cores": 4}, {"memory": "8Gi"}, {"cpuType": "host"}, {"agent": False}, {"tags": ["x"]}]


@pytest.mark.parametrize("hardware", COVERED, ids=str)
def test_what_a_copy_cannot_change_in_place_makes_another_revision(hardware: dict[str, Any]) -> None:
    assert revision_of(DIGEST, Hardware.model_validate(hardware)) != revision_of(DIGEST, None)


@pytest.mark.parametrize("hardware", IN_PLACE, ids=str)
def test_what_is_applied_in_place_leaves_the_revision(hardware: dict[str, Any]) -> None:
    assert revision_of(DIGEST, Hardware.model_validate(hardware)) == revision_of(DIGEST, None)


def test_another_image_is_another_revision() -> None:
    assert revision_of(DIGEST, None) != revision_of(f"sha256:{'b' * 64}", None)
