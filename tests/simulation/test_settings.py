"""What is changed in place, what is asked for by annotation, and the limits that are kept while copies are made."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest

from tests.fakes.proxmox import Machine
from tests.simulation.lab import Lab

KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOne ada@example", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAITwo bob@example"]
BYTE_MOVERS = ("download_url", "create_vm", "resize_disk", "convert_to_template", "clone_vm", "destroy_vm")


def secret(name: str, **values: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def moved(lab: Lab) -> dict[str, int]:
    counts = lab.truth.mutation_counts()
    return {verb: counts.get(verb, 0) for verb in BYTE_MOVERS}


def mac(machine: Machine) -> str:
    found = re.search(r"=([0-9A-F:]{17})", machine.config["net0"])
    assert found is not None
    return found[1]


@dataclass(frozen=True)
class Change:
    spec: dict[str, Any]
    shows: Callable[[Machine], bool]


CHANGES = {
    "cores": Change({"hardware": {"cores": 4}}, lambda m: m.config["cores"] == "4"),
    "memory": Change({"hardware": {"memory": "4Gi"}}, lambda m: m.config["memory"] == "4096"),
    "cpu type": Change({"hardware": {"cpuType": "host"}}, lambda m: m.config["cpu"] == "host"),
    "agent": Change({"hardware": {"agent": False}}, lambda m: m.config["agent"] == "0"),
    "bridge and VLAN": Change(
        {"hardware": {"network": {"bridge": "vmbr1", "vlan": 7}}},
        lambda m: "bridge=vmbr1" in m.config["net0"] and "tag=7" in m.config["net0"],
    ),
    "tags": Change({"hardware": {"tags": ["blue"]}}, lambda m: {"blue", "pantograph"} <= set(m.tags)),
    "keys": Change(
        {"cloudInit": {"sshKeys": KEYS}}, lambda m: unquote(m.config.get("sshkeys", "")).split("\n") == KEYS
    ),
    "user": Change({"cloudInit": {"user": "ada"}}, lambda m: m.config.get("ciuser") == "ada"),
    "address": Change({"cloudInit": {"ipConfig": "ip=dhcp"}}, lambda m: m.config.get("ipconfig0") == "ip=dhcp"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_setting_is_applied_to_the_existing_templates_in_place(change: Change) -> None:
    async with Lab() as lab:
        await lab.make_ready(hardware={"network": {"bridge": "vmbr0"}})
        before, revision = moved(lab), lab.status("vmtemplate/debian")["revision"]
        macs = {machine.vmid: mac(machine) for machine in lab.truth.machines_marked()}
        await lab.patch("vmtemplate/debian", {"spec": change.spec})
        await lab.until(lambda: all(change.shows(machine) for machine in lab.truth.machines_marked()), within_s=120)
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert moved(lab) == before
        assert {machine.vmid: mac(machine) for machine in lab.truth.machines_marked()} == macs
        assert all(machine.is_real_template for machine in lab.truth.machines_marked())
        assert lab.status("vmtemplate/debian")["revision"] == revision


async def test_a_setting_that_is_taken_back_goes_from_the_templates_and_a_persons_own_settings_stay() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve1"], cloudInit={"user": "ada", "sshKeys": KEYS})
        vmid = lab.vmid("pve1")
        await lab.people.set_config(vmid, onboot="1")
        await lab.patch("vmtemplate/debian", {"spec": {"cloudInit": {"user": None}}})
        await lab.until(lambda: "ciuser" not in lab.truth.machine(vmid).config)
        assert lab.truth.machine(vmid).config["onboot"] == "1"
        assert "sshkeys" in lab.truth.machine(vmid).config


async def test_a_changed_password_reaches_the_templates_and_only_a_fingerprint_is_kept() -> None:
    async with Lab() as lab:
        await lab.apply(secret("login", password="first-password"))
        await lab.make_ready(cloudInit={"passwordFrom": {"name": "login", "key": "password"}})
        before = moved(lab)
        assert {machine.config["cipassword"] for machine in lab.truth.machines_marked()} == {"first-password"}

        await lab.apply(secret("login", password="second-password"))
        await lab.until(
            lambda: {machine.config["cipassword"] for machine in lab.truth.machines_marked()} == {"second-password"},
            within_s=1800,
        )
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert moved(lab) == before

        mutations = len(lab.truth.mutations)
        await lab.restart()
        await lab.quiet(for_s=2 * 3600)
        assert len(lab.truth.mutations) == mutations


async def test_a_missing_password_secret_is_named_and_its_creation_completes_the_template() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian", cloudInit={"passwordFrom": {"name": "login", "key": "password"}}))
        await lab.until(lambda: lab.condition("vmtemplate/debian").get("reason") == "SecretNotFound")
        assert "Secret login" in lab.condition("vmtemplate/debian")["message"]
        await lab.apply(secret("login", other="x"))
        await lab.until(lambda: lab.condition("vmtemplate/debian").get("reason") == "SecretKeyMissing")
        await lab.apply(secret("login", password="x"))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))


async def test_a_suspended_template_begins_nothing_anywhere_until_it_is_resumed() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        await lab.patch("vmtemplate/debian", {"spec": {"suspend": True}})
        everything = ["vmtemplate/debian", *(lab.replica(node) for node in lab.pve.nodes)]

        def suspended() -> list[str]:
            return [what for what in everything if lab.condition(what, "Suspended").get("status") == "True"]

        await lab.until(lambda: suspended() == everything)
        mutations = len(lab.truth.mutations)
        await lab.people.destroy(lab.vmid("pve2"))
        await lab.patch("vmtemplate/debian", {"spec": {"hardware": {"cores": 4}}})
        await lab.quiet(for_s=3600)
        assert len(lab.truth.mutations) == mutations

        await lab.patch("vmtemplate/debian", {"spec": {"suspend": False}})
        await lab.until(lambda: lab.is_ready("vmtemplate/debian") and len(lab.truth.machines_marked()) == 3)
        await lab.until(lambda: {machine.config["cores"] for machine in lab.truth.machines_marked()} == {"4"})
        await lab.until(lambda: suspended() == [])


async def test_a_suspended_template_can_be_deleted() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        await lab.patch("vmtemplate/debian", {"spec": {"suspend": True}})
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Suspended").get("status") == "True")
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []


async def test_a_template_suspended_before_its_first_copy_makes_none() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian", suspend=True))
        await lab.quiet(for_s=1800)
        assert lab.all("templatereplica") == []
        assert lab.disk.fetches == []
        await lab.patch("vmtemplate/debian", {"spec": {"suspend": None}})
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))


async def test_reconcile_at_reaches_the_replicas_and_is_acknowledged() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        await lab.people.set_config(vmid, cores="9")
        await lab.quiet(for_s=60)
        assert lab.truth.machine(vmid).config["cores"] == "9", "the bulk listing does not show it"

        token = {"metadata": {"annotations": {"pantograph.dev/reconcile-at": "now-1"}}}
        await lab.patch("vmtemplate/debian", token)
        await lab.until(lambda: lab.truth.machine(vmid).config["cores"] == "1", within_s=60)
        everything = ["vmtemplate/debian", *(lab.replica(node) for node in lab.pve.nodes)]
        await lab.until(
            lambda: {lab.status(what).get("lastHandledReconcileAt") for what in everything} == {"now-1"}, within_s=60
        )


@pytest.mark.parametrize("limit", [1, 2])
async def test_no_more_copies_are_made_at_once_than_max_parallel(limit: int) -> None:
    async with Lab(nodes=("pve1", "pve2", "pve3", "pve4", "pve5")) as lab:
        lab.pve.faults.slow_copies(10)
        most = 0

        def watch() -> bool:
            nonlocal most
            busy = {task.node for task in lab.pve.tasks.running() if task.type in ("download", "qmcreate")}
            most = max(most, len(busy))
            return lab.is_ready("vmtemplate/debian")

        await lab.apply(lab.template("debian", maxParallel=limit))
        await lab.until(watch)
        assert most == limit
        assert len(lab.truth.machines_marked()) == 5


async def test_two_templates_of_one_image_stage_it_once_a_node_and_fetch_it_once() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("one"))
        await lab.apply(lab.template("two", hardware={"cores": 2}))
        await lab.until(lambda: lab.is_ready("vmtemplate/one") and lab.is_ready("vmtemplate/two"))
        counts = lab.truth.mutation_counts()
        assert counts["download_url"] == 3
        assert counts["create_vm"] == 6
        assert len(set(lab.disk.fetches)) == 1
        await lab.quiet()
        assert lab.truth.staged_files() == []

        await lab.delete("vmtemplate/one")
        await lab.until(lambda: lab.get("vmtemplate/one") is None)
        assert len(lab.truth.machines_marked()) == 3
        assert lab.is_ready("vmtemplate/two")


async def test_two_cluster_objects_for_one_real_cluster_never_choose_the_same_vmid() -> None:
    async with Lab() as lab:
        lab.pve.faults.slow_copies(5)
        await lab.apply(lab.cluster("again"))
        first, second = lab.template("one"), lab.template("two")
        second["spec"]["placements"][0]["proxmox"]["clusterRef"] = {"name": "again"}
        await lab.apply(first)
        await lab.apply(second)
        await lab.until(lambda: lab.is_ready("vmtemplate/one") and lab.is_ready("vmtemplate/two"))
        asked = [mutation for mutation in lab.truth.mutations if mutation.call.verb == "create_vm"]
        assert not any(mutation.refused for mutation in asked)
        assert len({mutation.call.params["vmid"] for mutation in asked}) == len(asked) == 6
        assert len(lab.truth.machines_marked()) == 6


async def test_vmids_stay_in_the_declared_range_and_its_end_is_named() -> None:
    async with Lab() as lab:
        await lab.apply(lab.cluster(vmidRange={"min": 500, "max": 501}))
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: len(lab.truth.machines_marked()) == 2)

        def lacking() -> list[str]:
            replicas = [lab.replica(node) for node in lab.pve.nodes]
            return [each for each in replicas if lab.condition(each).get("reason") == "VmidRangeExhausted"]

        await lab.until(lambda: len(lacking()) == 1)
        assert "widen spec.vmidRange" in lab.condition(lacking()[0])["message"]

        await lab.apply(lab.cluster(vmidRange={"min": 500, "max": 502}))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert {machine.vmid for machine in lab.truth.machines()} == {500, 501, 502}


async def test_a_staging_storage_that_is_not_named_any_more_is_taken_from_the_replicas_too() -> None:
    async with Lab() as lab:
        template = lab.template("debian")
        template["spec"]["placements"][0]["proxmox"]["stagingStorage"] = "lokal"
        await lab.apply(template)
        await lab.until(lambda: len(lab.all("templatereplica")) == 3)
        await lab.until_reason(lab.replica("pve1"), "PlaceUnusable")
        del template["spec"]["placements"][0]["proxmox"]["stagingStorage"]
        await lab.apply(template)
        await lab.until_ready("vmtemplate/debian", within_s=300)


async def test_more_ready_places_than_there_are_cannot_be_asked_for_and_it_is_said_so() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian", minReady=5))
        await lab.until_reason("vmtemplate/debian", "TooFewPlaces")
        assert "minReady is 5, and there are 3 places" in lab.condition("vmtemplate/debian")["message"]
        await lab.apply(lab.template("debian", minReady=3))
        await lab.until_ready("vmtemplate/debian", within_s=60)
