"""What bites: listings that lag or shrink, lost answers, dead and frozen nodes, locks, lost quorum, killed workers."""

from __future__ import annotations

import asyncio

import pytest

from pantograph.providers.errors import (
    AlreadyExists,
    Busy,
    MissingPrivilege,
    NotFound,
    OutcomeUnknown,
    Unauthorized,
    Unreachable,
)
from pantograph.providers.proxmox.errors import Call, task_error
from pantograph.providers.proxmox.tasks import find_task
from tests.contract.proxmox.world import SimulatedWorld
from tests.fakes.proxmox import People, simulated_api
from tests.fakes.proxmox.faults import Call as SimulatedCall


async def test_a_created_guest_is_a_locked_stub_until_its_task_has_ended(sim: SimulatedWorld) -> None:
    sim.sim.faults.hold_tasks()
    upid = await sim.api.create_vm("pve1", 100, {"name": "web", "tags": "a"})
    stub = await sim.api.vm_config("pve1", 100)
    assert (stub.lock, stub.tags, set(stub.values)) == ("create", (), {"lock", "digest"})
    assert (await sim.api.task_status(upid)).running
    assert await sim.api.task_log(upid) == []
    sim.sim.faults.release_tasks()
    assert (await sim.world.done(upid)).ok
    assert (await sim.api.vm_config("pve1", 100)).tags == ("a",)


async def test_the_listing_shows_tags_at_once_and_the_template_flag_late(sim: SimulatedWorld) -> None:
    sim.sim.faults.hold_broadcasts()
    await sim.template(100, tags="a")
    [row] = await sim.api.guests()
    assert (row.tags, row.name, row.template, row.status) == (("a",), None, None, "unknown")
    sim.sim.faults.release_broadcasts()
    await sim.sim.clock.sleep(10.5)
    [row] = await sim.api.guests()
    assert (row.name, row.template, row.status) == ("golden", True, "stopped")


async def test_a_node_silent_for_five_minutes_takes_names_and_flags_with_it(sim: SimulatedWorld) -> None:
    await sim.template(100, node="pve2", tags="a")
    await sim.sim.clock.sleep(10.5)
    sim.sim.faults.cut("pve2")
    [row] = await sim.api.guests()
    assert (row.status, row.template) == ("stopped", True)
    sim.sim.faults.mend("pve2")
    sim.sim.faults.cut("pve2", ago_s=301)
    [row] = await sim.api.guests()
    assert (row.name, row.template, row.status, row.tags) == (None, None, "unknown", ("a",))


async def test_listings_are_empty_and_not_refused_without_rights(sim: SimulatedWorld) -> None:
    await sim.world.created(100)
    sim.sim.faults.lose_rights("/vms", "VM.Audit")
    sim.sim.faults.lose_rights("/storage", "Datastore.Audit")
    sim.sim.faults.lose_rights("/storage", "Datastore.AllocateSpace")
    assert list(await sim.api.guests()) == []
    assert list(await sim.api.storages("pve1")) == []
    with pytest.raises(MissingPrivilege, match=r"VM\.Audit"):
        await sim.api.vm_config("pve1", 100)
    assert "VM.Audit" not in (await sim.api.permissions())["/vms"]
    sim.sim.faults.regain_rights("/vms", "VM.Audit")
    assert [row.vmid for row in await sim.api.guests()] == [100]


async def test_a_missing_right_hides_that_a_guest_is_missing(sim: SimulatedWorld) -> None:
    sim.sim.faults.lose_rights("/vms", "VM.Audit")
    with pytest.raises(MissingPrivilege):
        await sim.api.vm_config("pve1", 999)


@pytest.mark.parametrize("kind", ["596", "reset"])
async def test_a_lost_answer_is_an_unknown_outcome_and_the_task_can_be_found(sim: SimulatedWorld, kind: str) -> None:
    began = int(sim.sim.clock.now().timestamp())
    sim.sim.faults.lose_answer("create_vm", kind="596" if kind == "596" else "reset")
    with pytest.raises(OutcomeUnknown):
        await sim.api.create_vm("pve1", 100, {"tags": "a"})
    found = await find_task(sim.api, "pve1", type="qmcreate", id="100", since=began)
    assert found is not None
    assert (await sim.world.done(found.upid)).ok
    assert (await sim.api.vm_config("pve1", 100)).tags == ("a",)
    assert [mutation.answer_lost for mutation in sim.truth.mutations] == [True]


async def test_the_nth_mutation_can_lose_its_answer(sim: SimulatedWorld) -> None:
    sim.sim.faults.lose_answer(2)
    await sim.world.created(100)
    with pytest.raises(OutcomeUnknown):
        await sim.api.set_config("pve1", 100, {"description": "there"})
    assert (await sim.api.vm_config("pve1", 100)).description == "there"


async def test_a_lost_answer_of_a_read_is_only_unreachable(sim: SimulatedWorld) -> None:
    sim.sim.faults.lose_answer("vm_config", count=2)
    await sim.world.created(100)
    with pytest.raises(Unreachable):
        await sim.api.vm_config("pve1", 100)


async def test_a_frozen_node_acts_without_answering(sim: SimulatedWorld) -> None:
    sim.sim.faults.freeze("pve2")
    with pytest.raises(OutcomeUnknown, match="596"):
        await sim.api.create_vm("pve2", 100, {})
    with pytest.raises(Unreachable):
        await sim.api.vm_config("pve2", 100)
    sim.sim.faults.thaw("pve2")
    await sim.sim.tasks.settle()
    assert (await sim.api.vm_config("pve2", 100)).lock is None


async def test_a_frozen_node_may_act_only_when_it_thaws(sim: SimulatedWorld) -> None:
    sim.sim.faults.freeze("pve2", acts="when thawed")
    with pytest.raises(OutcomeUnknown):
        await sim.api.create_vm("pve2", 100, {})
    assert sim.truth.machines() == []
    sim.sim.faults.thaw("pve2")
    await sim.sim.clock.sleep(1)
    await sim.sim.tasks.settle()
    assert [machine.vmid for machine in sim.truth.machines()] == [100]


async def test_a_cut_node_is_unreachable_through_the_others_and_offline_soon(sim: SimulatedWorld) -> None:
    sim.sim.faults.cut("pve2")
    with pytest.raises(Unreachable) as refused:
        await sim.api.storages("pve2")
    assert refused.value.reason == "NodeUnreachable"
    await sim.sim.clock.sleep(9.5)
    status = await sim.api.cluster_status()
    assert {node.name: node.online for node in status.nodes} == {"pve1": True, "pve2": False, "pve3": True}
    assert status.quorate
    sim.sim.faults.mend("pve2")
    assert await sim.api.storages("pve2")


async def test_two_of_three_nodes_down_is_no_quorum(sim: SimulatedWorld) -> None:
    sim.sim.faults.cut("pve2")
    sim.sim.faults.cut("pve3")
    await sim.sim.clock.sleep(9.5)
    assert not (await sim.api.cluster_status()).quorate
    with pytest.raises(Busy) as refused:
        await sim.api.create_vm("pve1", 100, {})
    assert refused.value.reason == "QuorumLost"


async def test_destroying_without_quorum_loses_the_disks_and_keeps_the_configuration(sim: SimulatedWorld) -> None:
    await sim.world.created(100, scsi0="local:1")
    sim.sim.faults.lose_quorum()
    status = await sim.world.done(await sim.api.destroy_vm("pve1", 100))
    assert task_error(status.exitstatus or "", call=Call()).reason == "QuorumLost"
    assert (await sim.api.vm_config("pve1", 100)).values["scsi0"]
    assert list(await sim.api.content("pve1", "local", content="images")) == []


async def test_a_locked_guest_refuses_updates_at_once_and_its_end_in_the_task(sim: SimulatedWorld) -> None:
    await sim.world.created(100)
    sim.sim.faults.lock_vm(100, "backup")
    with pytest.raises(Busy, match="backup") as locked:
        await sim.api.set_config("pve1", 100, {"cores": "2"})
    assert (locked.value.reason, "qm unlock 100" in (locked.value.remedy or "")) == ("Locked", True)
    status = await sim.world.done(await sim.api.destroy_vm("pve1", 100))
    assert status.exitstatus == "VM is locked (backup)"
    sim.sim.faults.unlock_vm(100)
    await sim.api.set_config("pve1", 100, {"cores": "2"})


async def test_a_held_file_lock_times_out(sim: SimulatedWorld) -> None:
    await sim.world.created(100)
    held = asyncio.create_task(sim.sim.faults.hold_flock(100, 60))
    await asyncio.sleep(0)
    with pytest.raises(Busy) as timed_out:
        await sim.api.set_config("pve1", 100, {"cores": "2"})
    assert timed_out.value.reason == "LockTimeout"
    held.cancel()


async def test_a_killed_worker_leaves_a_stub_that_no_token_can_remove(sim: SimulatedWorld) -> None:
    sim.sim.faults.hold_tasks()
    upid = await sim.api.create_vm("pve1", 100, {"scsi0": "local:1"})
    sim.sim.faults.kill_task(upid)
    sim.sim.faults.release_tasks()
    status = await sim.api.task_status(upid)
    assert (status.running, status.exitstatus) == (False, "unexpected status")
    assert isinstance(task_error("unexpected status", call=Call(node="pve1")), OutcomeUnknown)
    assert (await sim.world.done(await sim.api.destroy_vm("pve1", 100))).exitstatus == "VM is locked (create)"
    assert [stub.lock for stub in sim.truth.stubs()] == ["create"]


async def test_a_stopped_task_cleans_up(sim: SimulatedWorld) -> None:
    source = await sim.stage()
    sim.sim.faults.slow_copies(1000)
    upid = await sim.api.create_vm("pve1", 100, {"scsi0": f"local:0,import-from={source}"})
    await sim.sim.clock.sleep(3)
    await sim.api.stop_task(upid)
    assert "received interrupt" in ((await sim.world.done(upid)).exitstatus or "")
    assert sim.truth.machines() == []
    assert sim.truth.leftover_volumes() == []


async def test_a_conversion_killed_half_way_leaves_the_flag_without_base_volumes(sim: SimulatedWorld) -> None:
    await sim.world.created(100, scsi0="local:1", scsi1="local:1")
    upid = await sim.api.convert_to_template("pve1", 100)
    # The second disk takes another second; nobody announces a converted disk, so each turn of the loop looks.
    while "base-100" not in sim.truth.machine(100).config["scsi0"]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    sim.sim.faults.kill_task(upid)
    machine = sim.truth.machine(100)
    assert machine.template
    assert not machine.is_real_template
    assert (await sim.world.done(await sim.api.convert_to_template("pve1", 100, disk="scsi1"))).ok
    assert "base-100" in sim.truth.machine(100).config["scsi1"]


async def test_another_tool_may_take_the_number_between_choice_and_create(sim: SimulatedWorld) -> None:
    sim.sim.faults.take_vmid_before_create("pve3")
    with pytest.raises(AlreadyExists) as taken:
        await sim.api.create_vm("pve1", 100, {})
    assert taken.value.reason == "VmidTaken"
    assert sim.truth.machine(100).node == "pve3"
    await sim.world.created(101)


async def test_a_guest_elsewhere_is_not_found_here(sim: SimulatedWorld) -> None:
    sim.sim.faults.take_vmid(100, "pve3")
    with pytest.raises(NotFound):
        await sim.api.vm_config("pve1", 100)
    assert [row.node for row in await sim.api.guests()] == ["pve3"]


async def test_the_tag_policy_refuses_tags_by_name(sim: SimulatedWorld) -> None:
    await sim.world.created(100)
    sim.sim.datacenter.tags = "none"
    with pytest.raises(MissingPrivilege, match="'mine'") as refused:
        await sim.api.set_config("pve1", 100, {"tags": "mine"})
    assert refused.value.reason == "MarkRefused"


async def test_a_changed_secret_is_refused(sim: SimulatedWorld) -> None:
    sim.sim.faults.change_token_secret("another")
    api = sim.api if sim.settings is not None else simulated_api(sim.sim, secret=sim.sim.token_secret)
    with pytest.raises(Unauthorized):
        await api.version()


async def test_hooks_see_every_call_before_and_after_its_effect(sim: SimulatedWorld) -> None:
    seen: list[tuple[str, str, int]] = []

    def hook(call: SimulatedCall, when: str) -> None:
        seen.append((call.verb, when, len(sim.truth.machines())))

    sim.sim.faults.hooks.append(hook)
    await sim.world.created(100)
    assert seen[:2] == [("create_vm", "before", 0), ("create_vm", "after", 1)]


async def test_the_state_of_equal_ends_is_equal_whatever_the_numbers(sim: SimulatedWorld) -> None:
    await sim.template(100, tags="pantograph;pg-0123456789abcdef-100")
    first = sim.truth.state_digest()
    await People(sim.sim).destroy(100)
    assert sim.truth.state_digest() != first
    await sim.template(117, tags="pantograph;pg-0123456789abcdef-117")
    assert sim.truth.state_digest() == first
    assert sim.truth.state_digest(vmids=True) != first
