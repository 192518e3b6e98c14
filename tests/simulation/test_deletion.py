"""How things end: in whatever order, what is ours goes, what must stay stays, and who waits says why."""

from __future__ import annotations

import pytest

from tests.fakes.proxmox import People, SimulatedCluster, Storage, Truth
from tests.simulation.lab import NAMESPACE, Lab

GIB = 2**30


def force_release() -> dict[str, object]:
    return {"metadata": {"annotations": {"pantograph.dev/force-release": "true"}}}


async def test_retain_leaves_the_machines_with_their_marks() -> None:
    async with Lab() as lab:
        await lab.make_ready(deletionPolicy="Retain")
        machines = lab.truth.machines_marked()
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.all("templatereplica") == []
        assert lab.truth.machines_marked() == machines
        assert "destroy_vm" not in lab.truth.mutation_counts()


async def test_the_last_word_on_retain_holds_though_the_replicas_were_made_under_another() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        await lab.kill()
        await lab.patch("vmtemplate/debian", {"spec": {"deletionPolicy": "Retain"}})
        await lab.delete("vmtemplate/debian")
        await lab.start()
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert len(lab.truth.machines_marked()) == 3


async def test_a_forced_release_drops_the_finalizer_and_a_warning_names_what_stays() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid, replica = lab.vmid("pve2"), lab.replica("pve2")
        lab.pve.faults.cut("pve2")
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.condition("vmtemplate/debian").get("reason") == "DeletingReplicas")
        await lab.quiet(for_s=600)

        await lab.patch(replica, force_release())
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        (message,) = lab.events("ForceReleased")
        assert f"template {vmid} stays on node pve2" in message
        assert f"qm destroy {vmid} --purge" in message
        assert [machine.vmid for machine in lab.truth.machines()] == [vmid]


@pytest.mark.parametrize("moment", ["before anything", "while importing", "when ready"])
async def test_a_terminated_namespace_ends_whatever_the_order(moment: str) -> None:
    async with Lab() as lab:
        if moment == "while importing":
            lab.pve.faults.slow_copies(20)
        await lab.apply(lab.template("debian"))
        if moment == "while importing":
            await lab.until(lambda: len(lab.truth.stubs()) == 3)
        if moment == "when ready":
            await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        lab.kubectl.terminate_namespace(NAMESPACE)
        lab.pve.faults.slow_copies(1)

        await lab.until(lambda: not any(lab.all(kind) for kind in ("templatereplica", "vmtemplate", "proxmoxcluster")))
        assert lab.truth.machines() == []
        assert lab.truth.staged_files() == []
        assert lab.truth.leftover_volumes() == []


async def test_a_cluster_object_deleted_first_is_held_until_its_replicas_are_gone() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        await lab.delete("proxmoxcluster/prod")
        await lab.until(lambda: lab.condition("proxmoxcluster/prod").get("reason") == "InUse")
        assert f"{NAMESPACE}/debian-pve1-" in lab.condition("proxmoxcluster/prod")["message"]
        await lab.quiet(for_s=3600)
        assert len(lab.truth.machines()) == 3

        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("proxmoxcluster/prod") is None)
        assert lab.truth.machines() == []


@pytest.mark.parametrize("slow", ["download", "import"])
async def test_a_deletion_while_a_copy_is_made_leaves_nothing(slow: str) -> None:
    async with Lab() as lab:
        if slow == "download":
            lab.pve.faults.hold_tasks()
        lab.pve.faults.slow_copies(50)
        await lab.apply(lab.template("debian"))
        wanted = "download" if slow == "download" else "qmcreate"
        await lab.until(lambda: {task.type for task in lab.pve.tasks.running()} == {wanted})
        await lab.delete("vmtemplate/debian")
        await lab.quiet(for_s=30)
        assert lab.get("vmtemplate/debian") is not None
        lab.pve.faults.release_tasks()

        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
        assert lab.truth.staged_files() == []
        assert lab.truth.leftover_volumes() == []


async def test_a_deletion_with_a_node_offline_waits_for_it_and_completes() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        lab.pve.faults.cut("pve2")
        await lab.until(lambda: lab.condition(lab.replica("pve2"))["reason"] == "NodeOffline")
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: len(lab.truth.machines()) == 1)
        await lab.until(lambda: "node pve2 is offline" in lab.condition("vmtemplate/debian")["message"])
        await lab.quiet(for_s=3600)
        assert lab.get("vmtemplate/debian") is not None

        lab.pve.faults.mend("pve2")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []


async def test_without_quorum_no_destroy_is_even_asked_for() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        lab.pve.faults.lose_quorum()
        await lab.delete("vmtemplate/debian")
        await lab.quiet(for_s=3600)
        assert [mutation for mutation in lab.truth.mutations if mutation.call.verb == "destroy_vm"] == []
        assert "no quorum" in lab.condition("vmtemplate/debian")["message"]

        lab.pve.faults.regain_quorum()
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
        assert lab.truth.leftover_volumes() == []


async def test_quorum_lost_between_observation_and_destruction_is_seen_by_the_guard() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve1"])

        def hook(call: object, when: str) -> None:
            verb, path = getattr(call, "verb", ""), getattr(call, "path", "")
            if when == "after" and verb == "vm_config" and lab.condition(lab.replica("pve1")):
                seen.append(path)
                if len(seen) == 1:
                    lab.pve.faults.lose_quorum()

        seen: list[str] = []
        lab.pve.faults.hooks.append(hook)
        await lab.delete("vmtemplate/debian")
        await lab.quiet(for_s=600)
        assert seen
        assert [mutation for mutation in lab.truth.mutations if mutation.call.verb == "destroy_vm"] == []
        lab.pve.faults.hooks.remove(hook)
        lab.pve.faults.regain_quorum()
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)


async def test_a_disk_under_our_number_that_is_not_the_templates_stays_and_an_event_names_it() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        left = lab.pve.faults.leave_disk("local", "pve2", lab.vmid("pve2"))
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
        assert lab.truth.leftover_volumes() == [f"pve2 {left}"]
        (message,) = lab.events("DisksLeft")
        assert left in message
        assert "node pve2" in message


async def test_the_disks_of_a_template_that_proxmox_could_not_remove_are_named_in_an_event() -> None:
    async with Lab(nodes=["pve1"]) as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve1")
        base = lab.truth.machine(vmid).disks["scsi0"]
        lab.pve.faults.hold_disk(base)
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.leftover_volumes() == [f"pve1 {base}"]
        (message,) = lab.events("DisksLeft")
        assert base in message


async def test_nothing_is_said_of_disks_when_all_went_with_their_template() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.leftover_volumes() == []
        assert lab.events("DisksLeft") == []


async def test_a_number_under_which_disks_lie_is_not_taken() -> None:
    async with Lab(nodes=["pve1"]) as lab:
        left = [lab.pve.faults.leave_disk("local", "pve1", vmid) for vmid in (100, 101)]
        await lab.make_ready()
        assert lab.vmid("pve1") == 102
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.leftover_volumes() == [f"pve1 {disk}" for disk in left]


async def test_two_clusters_over_one_storage_make_and_delete_templates_without_touching_each_others_disks() -> None:
    storages = [Storage("local", total_bytes=512 * GIB), Storage("nfs", type="nfs", shared=True)]
    async with Lab(storages=storages) as lab:
        other = SimulatedCluster(clock=lab.clock, random=lab.random, storages=[Storage("nfs", type="nfs", shared=True)])
        lab.pve.faults.share_storage("nfs", other)
        await lab.make_ready(storage="nfs")
        (ours,) = lab.truth.machines_marked()
        await People(other).create(ours.vmid, "pve1", scsi0="nfs:8", name="theirs")
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        theirs = set(Truth(other).machine(ours.vmid).disks.values())
        assert theirs == {volume.volid for place in other.storages.places() for volume in place.volumes.values()}

        await lab.make_ready("alma", storage="nfs")
        assert ours.vmid not in {machine.vmid for machine in lab.truth.machines()}
        await other.close()


async def test_a_node_struck_from_the_spec_loses_its_copy_and_only_that() -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve1", "pve2", "pve3"])
        kept = {lab.vmid("pve1"), lab.vmid("pve3")}
        await lab.apply(lab.template("debian", nodes=["pve1", "pve3"]))
        await lab.until(lambda: len(lab.all("templatereplica")) == 2)
        assert {machine.vmid for machine in lab.truth.machines()} == kept
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert lab.status("vmtemplate/debian")["replicas"]["summary"] == "2/2"


async def test_a_placement_struck_from_the_spec_loses_its_copies_and_only_those() -> None:
    storages = [Storage("local", total_bytes=512 * GIB), Storage("second", total_bytes=512 * GIB)]
    async with Lab(storages=storages) as lab:
        template = lab.template("debian")
        second = {"name": "second", "proxmox": {"clusterRef": {"name": "prod"}, "storage": "second"}}
        template["spec"]["placements"].append(second)
        await lab.apply(template)
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert lab.status("vmtemplate/debian")["replicas"]["summary"] == "6/6"
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: len(lab.all("templatereplica")) == 3)
        assert {machine.config["scsi0"].partition(":")[0] for machine in lab.truth.machines()} == {"local"}
        assert len(lab.truth.machines()) == 3


async def test_a_node_that_has_left_the_cluster_has_no_place_any_more() -> None:
    async with Lab(nodes=("pve1", "pve2", "pve3", "pve4")) as lab:
        await lab.make_ready()
        assert lab.status("vmtemplate/debian")["replicas"]["summary"] == "4/4"
        lab.pve.faults.remove_node("pve4")
        await lab.until(lambda: lab.status("vmtemplate/debian")["replicas"]["summary"] == "3/3")
        await lab.until(lambda: len(lab.all("templatereplica")) == 3)
        assert len(lab.truth.machines()) == 3
        assert lab.is_ready("vmtemplate/debian")


async def test_an_unreachable_cluster_prunes_nothing() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        names = {body["metadata"]["name"] for body in lab.all("templatereplica")}
        for node in lab.pve.nodes:
            lab.pve.faults.cut(node)
        await lab.until(lambda: lab.condition("proxmoxcluster/prod", "Reachable")["status"] == "False")
        await lab.restart()
        await lab.patch("vmtemplate/debian", {"spec": {"maxParallel": 2}})
        await lab.quiet(for_s=2 * 3600)
        assert {body["metadata"]["name"] for body in lab.all("templatereplica")} == names
        assert not any(body["metadata"].get("deletionTimestamp") for body in lab.all("templatereplica"))

        for node in lab.pve.nodes:
            lab.pve.faults.mend(node)
        await lab.until(lambda: all(lab.is_ready(lab.replica(node)) for node in lab.pve.nodes))
        assert len(lab.truth.machines()) == 3


async def test_credentials_last_read_serve_a_deletion_after_their_secret_is_gone() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        await lab.delete("secret/prod-token")
        await lab.quiet(for_s=1800)
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []


async def test_after_a_restart_without_credentials_the_release_command_is_named() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        replica = lab.replica("pve1")
        await lab.delete("secret/prod-token")
        await lab.delete("vmtemplate/debian")
        await lab.restart()
        await lab.until(lambda: lab.condition(replica).get("reason") == "CredentialsGone")
        name = replica.partition("/")[2]
        command = f"kubectl annotate templatereplica {name} -n {NAMESPACE} pantograph.dev/force-release=true"
        assert command in lab.condition(replica)["message"]
        await lab.quiet(for_s=1800)
        assert len(lab.truth.machines()) == 3

        await lab.apply(lab.credentials())
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []


async def test_a_removed_finalizer_lets_the_object_go_and_touches_nothing_outside() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        replica, vmid = lab.replica("pve2"), lab.vmid("pve2")
        lab.pve.faults.cut("pve2")
        await lab.until(lambda: lab.condition(replica)["reason"] == "NodeOffline")
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: len(lab.truth.machines()) == 1)
        await lab.patch(replica, {"metadata": {"finalizers": None}})
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        lab.pve.faults.mend("pve2")
        await lab.quiet()
        assert [machine.vmid for machine in lab.truth.machines()] == [vmid]


async def test_a_finalizer_removed_from_a_living_replica_comes_back() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        replica = lab.replica("pve2")
        await lab.patch(replica, {"metadata": {"finalizers": None}})
        await lab.until(lambda: (lab.get(replica) or {})["metadata"].get("finalizers") == ["pantograph.dev/finalizer"])
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
