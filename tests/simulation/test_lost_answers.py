"""Answers that never come, numbers that others take, locks, dead workers: one virtual machine a place all the same."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from tests.fakes.proxmox.faults import Call
from tests.simulation.lab import Lab

When = Literal["before", "after"]


def freeze_at(lab: Lab, verb: str, node: str, *, acts: Any) -> None:
    """The node freezes just as the first such call reaches it."""

    def hook(call: Call, when: When) -> None:
        if when == "before" and call.verb == verb and call.node == node:
            lab.pve.faults.hooks.remove(hook)
            lab.pve.faults.freeze(node, acts=acts)

    lab.pve.faults.hooks.append(hook)


async def kill_import(lab: Lab, node: str) -> int:
    """Kill the worker that copies the disk on `node`; returns the VMID of the stub that it leaves."""
    lab.pve.faults.slow_copies(50)
    await lab.until(
        lambda: any(task.type == "qmcreate" and task.node == node for task in lab.pve.tasks.running()), within_s=600
    )
    await lab.until(lambda: any(volume.startswith(node) for volume in lab.truth.leftover_volumes()), within_s=600)
    (task,) = [task for task in lab.pve.tasks.running() if task.type == "qmcreate" and task.node == node]
    lab.pve.faults.kill_task(task.upid)
    lab.pve.faults.slow_copies(1)
    return int(task.id)


@pytest.mark.parametrize("acts", ["at once", "when thawed", "never"])
@pytest.mark.parametrize("frozen_s", [10, 45, 200])
async def test_a_create_whose_answer_is_lost_is_found_again_and_no_second_machine_is_made(
    acts: str, frozen_s: float
) -> None:
    async with Lab() as lab:
        freeze_at(lab, "create_vm", "pve2", acts=acts)
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: lab.pve.faults.frozen("pve2"))
        announced = lab.status(lab.replica("pve2"))["operation"]
        await lab.quiet(for_s=frozen_s)
        lab.pve.faults.thaw("pve2")

        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert lab.vmid("pve2") == announced["vmid"]
        assert lab.truth.mutation_counts()["create_vm"] == 3
        assert len(lab.truth.machines()) == 3
        await lab.quiet()
        assert lab.truth.staged_files() == []
        assert lab.truth.leftover_volumes() == []


async def test_a_lost_create_whose_task_still_runs_is_adopted_by_the_same_operation() -> None:
    async with Lab() as lab:
        lab.pve.faults.slow_copies(100)
        lab.pve.faults.lose_answer("create_vm", kind="596")
        await lab.apply(lab.template("debian", nodes=["pve2"]))
        await lab.until(lab.truth.stubs)
        announced = lab.status(lab.replica("pve2"))["operation"]
        assert announced["phase"] == "Intended"

        await lab.until(lambda: lab.status(lab.replica("pve2"))["operation"]["phase"] == "Running")
        adopted = lab.status(lab.replica("pve2"))["operation"]
        assert (adopted["token"], adopted["vmid"]) == (announced["token"], announced["vmid"])
        (task,) = lab.pve.tasks.running()
        assert adopted["handle"] == task.upid

        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert [machine.vmid for machine in lab.truth.machines()] == [announced["vmid"]]


@pytest.mark.parametrize("verb", ["download_url", "resize_disk", "convert_to_template", "delete_volume"])
@pytest.mark.parametrize("acts", ["at once", "when thawed", "never"])
async def test_any_other_answer_lost_on_the_way_changes_nothing_in_the_end(verb: str, acts: str) -> None:
    async with Lab() as lab:
        freeze_at(lab, verb, "pve2", acts=acts)
        await lab.apply(lab.template("debian", hardware={"disk": {"size": "2Gi"}}))
        await lab.until(lambda: lab.pve.faults.frozen("pve2"))
        await lab.quiet(for_s=90)
        lab.pve.faults.thaw("pve2")

        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        await lab.until(lambda: lab.truth.staged_files() == [])
        assert lab.truth.mutation_counts()["create_vm"] == 3
        machines = lab.truth.machines_marked()
        assert len(machines) == 3
        assert all(machine.is_real_template and "size=2G" in machine.config["scsi0"] for machine in machines)
        assert lab.truth.leftover_volumes() == []


@pytest.mark.parametrize("acts", ["at once", "when thawed", "never"])
async def test_a_destroy_whose_answer_is_lost_is_settled_and_the_template_ends(acts: str) -> None:
    async with Lab() as lab:
        await lab.make_ready()
        freeze_at(lab, "destroy_vm", "pve2", acts=acts)
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.pve.faults.frozen("pve2"))
        await lab.quiet(for_s=90)
        assert lab.get("vmtemplate/debian") is not None
        lab.pve.faults.thaw("pve2")

        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
        assert lab.truth.leftover_volumes() == []
        assert lab.truth.mutation_counts()["destroy_vm"] == 3


@pytest.mark.parametrize("taker", ["pve1", "pve3"])
async def test_a_vmid_taken_by_another_tool_before_the_create_is_left_alone_and_another_is_used(taker: str) -> None:
    async with Lab() as lab:
        lab.pve.faults.take_vmid_before_create(taker)
        await lab.apply(lab.template("debian", nodes=["pve1"]))
        await lab.until(lab.truth.machines)
        (foreign,) = lab.truth.machines()
        assert foreign.name == "somebody-elses"

        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert lab.truth.machine(foreign.vmid) == foreign
        assert lab.vmid("pve1") != foreign.vmid
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == [foreign]


@pytest.mark.parametrize("verb", ["convert_to_template", "set_config"])
async def test_a_file_lock_that_another_process_holds_only_delays(verb: str) -> None:
    async with Lab() as lab:
        await lab.make_ready(nodes=["pve1"])
        vmid = lab.vmid("pve1")

        async def hook(call: Call, when: When) -> None:
            if when == "before" and call.verb == verb:
                lab.pve.faults.hooks.remove(hook)
                tasks.append(asyncio.ensure_future(lab.pve.faults.hold_flock(int(call.params["vmid"]), 45)))
                await asyncio.sleep(0)

        tasks: list[asyncio.Future[None]] = []
        lab.pve.faults.hooks.append(hook)
        if verb == "set_config":
            await lab.patch("vmtemplate/debian", {"spec": {"hardware": {"cores": 3}}})
            await lab.until(lambda: lab.truth.machine(vmid).config["cores"] == "3")
        else:
            await lab.people.destroy(vmid)
            await lab.until(lambda: lab.truth.machines_marked() and lab.truth.machines_marked()[0].is_real_template)
        assert len(tasks) == 1
        assert tasks[0].done()
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert len(lab.truth.machines()) == 1


async def test_a_locked_template_is_named_with_the_command_and_changed_once_it_is_unlocked() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        lab.pve.faults.lock_vm(vmid, "backup")
        await lab.patch("vmtemplate/debian", {"spec": {"hardware": {"cores": 3}}})
        await lab.until(lambda: lab.condition(lab.replica("pve2"))["reason"] == "Locked")
        assert f"qm unlock {vmid}" in lab.condition(lab.replica("pve2"))["message"]
        assert lab.truth.machine(vmid).config["cores"] == "1"

        lab.pve.faults.unlock_vm(vmid)
        await lab.until(lambda: lab.truth.machine(vmid).config["cores"] == "3")
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))


async def test_a_locked_template_is_not_destroyed_until_it_is_unlocked() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        vmid = lab.vmid("pve2")
        lab.pve.faults.lock_vm(vmid, "backup")
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: f"qm unlock {vmid}" in lab.condition("vmtemplate/debian").get("message", ""))
        await lab.quiet(for_s=600)
        assert [machine.vmid for machine in lab.truth.machines()] == [vmid]
        assert lab.truth.mutation_counts()["destroy_vm"] == 2

        lab.pve.faults.unlock_vm(vmid)
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []


async def test_a_stub_of_a_killed_worker_is_listed_with_its_command_and_work_goes_on_with_another_vmid() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian"))
        stub = await kill_import(lab, "pve2")

        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        (leftover,) = lab.status(lab.replica("pve2"))["leftovers"]
        assert leftover == {
            "node": "pve2",
            "vmid": stub,
            "command": f"qm unlock {stub} && qm destroy {stub} --purge",
        }
        assert lab.vmid("pve2") != stub
        assert stub in {machine.vmid for machine in lab.truth.stubs()}

        lab.pve.faults.unlock_vm(stub)
        await lab.people.destroy(stub)
        await lab.until(lambda: "leftovers" not in lab.status(lab.replica("pve2")), within_s=1200)
        assert len(lab.truth.machines()) == 3


@pytest.mark.parametrize("read", ["task_status", "task_log"])
async def test_our_own_import_is_no_leftover_because_a_look_at_its_task_went_unanswered(read: str) -> None:
    async with Lab() as lab:
        lab.pve.faults.slow_copies(50)
        await lab.apply(lab.template("debian", nodes=["pve2"]))
        await lab.until(lambda: lab.truth.stubs() and lab.status(lab.replica("pve2"))["operation"].get("handle"))
        looks = lab.truth.calls.get(read, 0)
        lab.pve.faults.lose_answer(read, kind="596")
        await lab.until(lambda: lab.truth.calls.get(read, 0) > looks)
        await lab.quiet(for_s=60)
        assert lab.truth.stubs()
        assert "leftovers" not in lab.status(lab.replica("pve2"))

        lab.pve.faults.slow_copies(1)
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert "leftovers" not in lab.status(lab.replica("pve2"))


@pytest.mark.parametrize("lock", ["create", "backup"])
async def test_a_locked_machine_of_somebody_else_under_our_number_is_never_called_a_leftover(lock: str) -> None:
    async with Lab() as lab:

        def restore(call: Call, when: When) -> None:
            if when == "before" and call.verb == "create_vm":
                lab.pve.faults.hooks.remove(restore)
                lab.pve.faults.take_vmid(int(call.params["vmid"]), "pve1")
                lab.pve.faults.lock_vm(int(call.params["vmid"]), lock)

        lab.pve.faults.hooks.append(restore)
        await lab.apply(lab.template("debian", nodes=["pve1"]))
        await lab.until(lab.truth.stubs)
        (theirs,) = lab.truth.machines()
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert lab.vmid("pve1") != theirs.vmid
        assert "leftovers" not in lab.status(lab.replica("pve1"))
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.events("LeftBehind") == []
        assert lab.truth.machines() == [theirs]


async def take_the_number_of_a_leftover(lab: Lab) -> None:
    """A killed create left a stub on pve2; a person removes it, and gives its number to a machine of theirs."""
    await lab.apply(lab.template("debian"))
    stub = await kill_import(lab, "pve2")
    await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
    assert [each["vmid"] for each in lab.status(lab.replica("pve2"))["leftovers"]] == [stub]
    lab.pve.faults.unlock_vm(stub)
    await lab.people.destroy(stub)
    await lab.people.create(stub, "pve2", name="theirs")


async def test_a_leftover_whose_number_somebody_took_is_not_listed_any_more() -> None:
    async with Lab() as lab:
        await take_the_number_of_a_leftover(lab)
        await lab.until(lambda: "leftovers" not in lab.status(lab.replica("pve2")), within_s=1200)
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert [machine.name for machine in lab.truth.machines()] == ["theirs"]


async def test_a_deletion_does_not_name_a_machine_that_took_a_leftovers_number() -> None:
    async with Lab() as lab:
        await take_the_number_of_a_leftover(lab)
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.events("LeftBehind") == []
        assert [machine.name for machine in lab.truth.machines()] == ["theirs"]


async def test_the_disk_that_a_removed_stub_leaves_is_named_in_an_event() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian"))
        stub = await kill_import(lab, "pve2")
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        lab.pve.faults.unlock_vm(stub)
        await lab.people.destroy(stub, unreferenced=False)
        await lab.until(lambda: "leftovers" not in lab.status(lab.replica("pve2")), within_s=1200)
        left = [volume.partition(" ")[2] for volume in lab.truth.leftover_volumes()]
        assert left
        (message,) = lab.events("DisksLeft")
        assert [volume for volume in left if volume not in message] == []


async def test_a_replica_deleted_while_its_stub_is_locked_says_in_an_event_what_stays() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian"))
        stub = await kill_import(lab, "pve2")
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert [machine.vmid for machine in lab.truth.machines()] == [stub]
        assert any(f"qm unlock {stub}" in message for message in lab.events("LeftBehind"))


async def test_an_import_whose_task_is_unknown_is_adopted_when_its_machine_is_complete() -> None:
    async with Lab() as lab:
        lab.pve.faults.slow_copies(50)
        await lab.apply(lab.template("debian", nodes=["pve2"]))
        await lab.until(lambda: lab.truth.stubs() and lab.status(lab.replica("pve2"))["operation"].get("handle"))
        vmid = lab.vmid("pve2")
        lab.pve.faults.forget_tasks("pve2")

        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert [machine.vmid for machine in lab.truth.machines()] == [vmid]
        assert lab.truth.mutation_counts()["create_vm"] == 1


async def test_an_import_that_ended_without_a_trace_is_made_again_under_the_same_vmid() -> None:
    async with Lab() as lab:
        lab.pve.faults.slow_copies(50)
        await lab.apply(lab.template("debian", nodes=["pve2"]))
        await lab.until(lambda: lab.truth.stubs() and lab.status(lab.replica("pve2"))["operation"].get("handle"))
        vmid = lab.vmid("pve2")
        await lab.kill()
        lab.pve.faults.kill_tasks("qmcreate")
        lab.pve.faults.forget_tasks("pve2")
        lab.pve.faults.unlock_vm(vmid)
        await lab.people.destroy(vmid)
        await lab.start()

        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert [machine.vmid for machine in lab.truth.machines()] == [vmid]
        assert lab.truth.leftover_volumes() == []
