"""Places that cannot be used, or not now: each says why, the remedy alone lets it complete, nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pantograph.depot.errors import DepotError, SourceUnreachable
from tests.fakes.proxmox import OPERATOR_TOKEN, Storage, qcow2
from tests.simulation.depot import BASE_URL
from tests.simulation.lab import IMAGE_URL, Lab

GIB = 2**30


async def test_a_replica_whose_node_is_down_waits_and_completes_when_it_returns() -> None:
    async with Lab() as lab:
        await lab.until_ready("proxmoxcluster/prod")
        lab.pve.faults.cut("pve3")
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: lab.status("vmtemplate/debian").get("replicas", {}).get("summary") == "2/3")
        assert lab.condition(lab.replica("pve3"))["reason"] == "NodeOffline"
        assert "pve3 is offline" in lab.condition("vmtemplate/debian")["message"]

        lab.pve.faults.mend("pve3")
        await lab.until_ready("vmtemplate/debian")
        assert len(lab.truth.machines_marked()) == 3


async def test_a_ready_place_that_becomes_unreachable_degrades_the_template_and_keeps_it_ready() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian"))
        await lab.until_ready("vmtemplate/debian")
        mutations = len(lab.truth.mutations)

        lab.pve.faults.cut("pve2")
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Degraded").get("status") == "True")
        assert lab.condition(lab.replica("pve2"))["status"] == "Unknown"
        assert lab.condition(lab.replica("pve2"))["reason"] == "NodeOffline"
        assert lab.is_ready("vmtemplate/debian")
        await lab.quiet(for_s=7200)
        assert lab.is_ready("vmtemplate/debian")

        lab.pve.faults.mend("pve2")
        await lab.until(lambda: lab.condition("vmtemplate/debian", "Degraded") == {})
        assert lab.is_ready(lab.replica("pve2"))
        assert len(lab.truth.mutations) == mutations


@dataclass(frozen=True)
class Trouble:
    """A fault outside, what must be said of it, and what mends it."""

    break_: Callable[[Lab], object]
    reason: str
    says: str
    mend: Callable[[Lab], object]


def on_every_node(lab: Lab, act: Callable[[str], None]) -> None:
    for node in lab.pve.nodes:
        act(node)


OUTSIDE = {
    "token without a privilege": Trouble(
        lambda lab: lab.pve.faults.lose_rights("/vms", "VM.Allocate"),
        "MissingPrivilege",
        f"pveum acl modify /vms --tokens '{OPERATOR_TOKEN}'",
        lambda lab: lab.pve.faults.regain_rights("/vms", "VM.Allocate"),
    ),
    "token that may not let nodes download": Trouble(
        lambda lab: lab.pve.faults.lose_rights("/nodes", "Sys.AccessNetwork"),
        "MissingPrivilege",
        "Sys.AccessNetwork",
        lambda lab: lab.pve.faults.regain_rights("/nodes", "Sys.AccessNetwork"),
    ),
    "storage without import": Trouble(
        lambda lab: lab.pve.faults.remove_content_type("local", "import"),
        "ImportUnsupported",
        "pvesm set local --content backup,images,import,iso",
        lambda lab: lab.pve.faults.add_content_type("local", "import"),
    ),
    "full storage": Trouble(
        lambda lab: on_every_node(lab, lambda node: lab.pve.faults.fill_storage("local", node)),
        "StorageFull",
        "free space on it (pvesm status --storage local)",
        lambda lab: on_every_node(lab, lambda node: lab.pve.faults.empty_storage("local", node)),
    ),
    "nodes that cannot reach the depot": Trouble(
        lambda lab: on_every_node(lab, lambda node: lab.pve.faults.block_url(node, BASE_URL)),
        "DepotUnreachable",
        "set spec.depotURL of ProxmoxCluster prod",
        lambda lab: on_every_node(lab, lambda node: lab.pve.faults.unblock_url(node, BASE_URL)),
    ),
    "disabled storage": Trouble(
        lambda lab: lab.pve.faults.disable_storage("local"),
        "PlaceUnusable",
        "pvesm set local --disable 0",
        lambda lab: lab.pve.faults.disable_storage("local", enabled=True),
    ),
}


@pytest.mark.parametrize("trouble", OUTSIDE.values(), ids=OUTSIDE)
async def test_trouble_outside_is_named_with_its_remedy_and_the_remedy_alone_completes_the_copy(
    trouble: Trouble,
) -> None:
    async with Lab() as lab:
        await lab.until_ready("proxmoxcluster/prod")
        trouble.break_(lab)
        await lab.apply(lab.template("debian", nodes=list(lab.pve.nodes)))
        await lab.until(lambda: len(lab.all("templatereplica")) == 3)
        for node in lab.pve.nodes:
            replica = lab.replica(node)
            await lab.until_reason(replica, trouble.reason)
            assert trouble.says in lab.condition(replica)["message"]
            assert lab.condition(replica, "Stalled").get("status") == "True"
        await lab.quiet(for_s=3600)
        assert lab.truth.machines_marked() == []
        assert lab.truth.stubs() == []

        trouble.mend(lab)
        await lab.until_ready("vmtemplate/debian")
        assert len(lab.truth.machines_marked()) == 3
        await lab.quiet()
        assert lab.truth.staged_files() == []
        assert lab.truth.leftover_volumes() == []


async def test_a_proxmox_too_old_to_import_is_named_and_an_upgrade_completes_the_copy() -> None:
    async with Lab() as lab:
        lab.pve.nodes["pve2"].version = "8.3.5"
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: len(lab.truth.machines_marked()) == 2)
        await lab.until_reason(lab.replica("pve2"), "ImportUnsupported")
        assert "8.3.5" in lab.condition(lab.replica("pve2"))["message"]
        assert "8.4" in lab.condition(lab.replica("pve2"))["message"]

        lab.pve.nodes["pve2"].version = "8.4.21"
        await lab.until_ready("vmtemplate/debian")


@dataclass(frozen=True)
class BadSource:
    """An origin that does not work, what must be said, and the file that mends it."""

    origin: bytes | DepotError | None
    checksum: str | None
    reason: str
    says: str


SOURCES = {
    "wrong checksum": BadSource(
        qcow2(payload=b"x"), f"sha256:{'0' * 64}", "ChecksumMismatch", "declared is sha256:000"
    ),
    "unreachable URL": BadSource(
        SourceUnreachable("images.test cannot be reached"), None, "SourceUnreachable", "images.test"
    ),
    "missing file": BadSource(None, None, "SourceRefused", "404"),
}


@pytest.mark.parametrize("bad", SOURCES.values(), ids=SOURCES)
async def test_a_bad_source_is_named_and_correcting_the_spec_completes_the_template(bad: BadSource) -> None:
    async with Lab() as lab:
        url = "http://images.test/other.qcow2"
        if bad.origin is not None:
            lab.disk.origin[url] = bad.origin
        await lab.apply(lab.template("debian", url=url, checksum=bad.checksum))
        await lab.until_reason("vmtemplate/debian", bad.reason)
        assert bad.says in lab.condition("vmtemplate/debian")["message"]
        assert lab.all("templatereplica") == []

        await lab.apply(lab.template("debian", url=IMAGE_URL))
        await lab.until_ready("vmtemplate/debian")


async def test_a_disk_smaller_than_the_image_is_refused_before_anything_is_copied() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian", hardware={"disk": {"size": "512Mi"}}))
        await lab.until_reason("vmtemplate/debian", "DiskTooSmall")
        assert lab.status("vmtemplate/debian").get("image") is None

        await lab.apply(lab.template("debian", hardware={"disk": {"size": "2Gi"}}))
        await lab.until_ready("vmtemplate/debian")
        assert all("size=2G" in machine.config["scsi0"] for machine in lab.truth.machines_marked())


async def test_an_unknown_cluster_is_named_and_its_creation_completes_the_template() -> None:
    async with Lab() as lab:
        template = lab.template("debian")
        template["spec"]["placements"][0]["proxmox"]["clusterRef"] = {"name": "other"}
        await lab.apply(template)
        await lab.until_reason("vmtemplate/debian", "ClusterNotFound")
        assert "other" in lab.condition("vmtemplate/debian")["message"]

        await lab.apply(lab.cluster("other"))
        await lab.until_ready("vmtemplate/debian")


async def test_refused_credentials_stall_the_cluster_without_further_logins_until_the_secret_changes() -> None:
    async with Lab() as lab:
        await lab.apply(lab.credentials(secret="00000000-0000-0000-0000-000000000000"))
        await lab.restart()
        await lab.until_reason("proxmoxcluster/prod", "CredentialsRefused")
        assert lab.condition("proxmoxcluster/prod", "Authorized")["status"] == "False"
        await lab.quiet(for_s=3600)

        await lab.apply(lab.credentials())
        await lab.until_ready("proxmoxcluster/prod", within_s=180)


async def test_shared_storage_has_one_real_template_and_a_view_for_every_other_node() -> None:
    shared = Storage("shared", shared=True, total_bytes=512 * GIB)
    async with Lab(storages=[Storage("local", total_bytes=512 * GIB), shared]) as lab:
        await lab.apply(lab.template("debian", storage="shared"))
        await lab.until_ready("vmtemplate/debian")
        (machine,) = lab.truth.machines_marked()
        assert {lab.status(lab.replica(node))["vmid"] for node in lab.pve.nodes} == {machine.vmid}
        assert sorted(body["spec"]["type"] for body in lab.all("templatereplica")) == ["Copy", "Logical", "Logical"]

        lab.pve.faults.cut(machine.node)
        views = [node for node in lab.pve.nodes if node != machine.node]
        for node in views:
            await lab.until_reason(lab.replica(node), "OwnerNodeOffline")
        assert lab.is_ready("vmtemplate/debian")
        lab.pve.faults.mend(machine.node)
        for node in views:
            await lab.until_ready(lab.replica(node))

        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.mutation_counts().get("destroy_vm") == 1
        assert lab.truth.machines_marked() == []


async def test_a_cluster_that_went_away_while_no_operator_ran_is_not_called_reachable() -> None:
    async with Lab() as lab:
        await lab.until_ready("proxmoxcluster/prod")
        await lab.kill()
        on_every_node(lab, lab.pve.faults.cut)
        await lab.start()
        await lab.until_reason("proxmoxcluster/prod", "Unreachable")
        assert lab.condition("proxmoxcluster/prod", "Reachable")["status"] == "False"

        await lab.apply(lab.template("debian"))
        await lab.until_reason("vmtemplate/debian", "ClusterNotReady")
        on_every_node(lab, lab.pve.faults.mend)
        await lab.until_ready("vmtemplate/debian")
