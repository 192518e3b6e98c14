"""An API server that loses events, answers late, refuses, or is gone for a while; and people who write our status."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.api.templatereplica import TemplateReplica
from pantograph.api.vmtemplate import VMTemplate
from pantograph.engine.informer import MissingKinds
from pantograph.engine.kube import Conflict, OutcomeUnknown, Unavailable
from tests.fakes.apiserver import Call
from tests.simulation.lab import NAMESPACE, Lab

REPLICAS = TemplateReplica.info.resource
TEMPLATES = VMTemplate.info.resource
CLUSTERS = ProxmoxCluster.info.resource
KINDS = (REPLICAS, TEMPLATES, CLUSTERS)


async def require_converged(lab: Lab) -> None:
    """Ready, three whole machines, nothing left over, and nothing more is written."""
    await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
    await lab.until(lambda: lab.truth.staged_files() == [])
    machines = lab.truth.machines()
    assert sorted(machine.node for machine in machines) == ["pve1", "pve2", "pve3"]
    assert all(machine.is_real_template for machine in machines)
    assert lab.truth.mutation_counts()["create_vm"] == 3
    assert lab.truth.leftover_volumes() == []
    await lab.quiet(for_s=900)
    writes, mutations = len(lab.server.writes), len(lab.truth.mutations)
    await lab.quiet(for_s=3600)
    assert lab.server.writes[writes:] == []
    assert len(lab.truth.mutations) == mutations


def late(least_s: float, most_s: float) -> Callable[[Lab], None]:
    def break_(lab: Lab) -> None:
        for kind in KINDS:
            lab.server.delay_events(kind, least_s, most_s)

    return break_


def stale(lab: Lab) -> None:
    for kind in KINDS:
        lab.server.stale_lists(kind)


def slow(lab: Lab) -> None:
    lab.server.latency_s = 3.0


TROUBLES: dict[str, Callable[[Lab], None]] = {
    "late events": late(1, 20),
    "very late events": late(60, 120),
    "slow answers": slow,
    "no event of replicas at all": lambda lab: lab.server.drop_events(REPLICAS),
    "stale lists": stale,
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_the_job_is_done_once_whatever_the_watch_tells(trouble: Callable[[Lab], None]) -> None:
    async with Lab() as lab:
        trouble(lab)
        await lab.apply(lab.template("debian"))
        await require_converged(lab)


async def test_replayed_and_relisted_events_change_nothing() -> None:
    async with Lab() as lab:
        await lab.apply(lab.template("debian"))
        for _ in range(20):
            await lab.quiet(for_s=2)
            for kind in KINDS:
                lab.server.replay_events(kind, 30)
                lab.server.relist(kind)
        await require_converged(lab)


REFUSALS = {
    "conflicts": (lambda: Conflict("the object has been modified", code=409, reason="Conflict"), False),
    "lost answers": (lambda: OutcomeUnknown("the connection was reset"), True),
    "lost requests": (lambda: OutcomeUnknown("the connection was reset"), False),
    "refusals for the moment": (lambda: Unavailable("too many requests"), False),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_status_writes_that_fail_are_repeated_and_the_job_is_done_once(
    refusal: tuple[Callable[[], Conflict | OutcomeUnknown | Unavailable], bool],
) -> None:
    error, after_effect = refusal
    async with Lab() as lab:
        writes = 0

        def hook(when: str, call: Call) -> None:
            """Every third write of ours fails."""
            nonlocal writes
            if when == "before" and call.is_write and call.kind != "Event":
                writes += 1
                if writes % 3 == 0:
                    lab.server.fail_next(call.verb, error(), kind=call.kind, after_effect=after_effect)

        lab.server.hook = hook
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert writes > 9
        lab.server.hook = None
        await require_converged(lab)


async def test_an_api_server_that_is_gone_for_ten_minutes_costs_only_time() -> None:
    async with Lab() as lab:
        lab.pve.faults.slow_copies(20)
        await lab.apply(lab.template("debian"))
        await lab.until(lambda: len(lab.truth.stubs()) == 3)
        lab.server.cut()
        await lab.quiet(for_s=600)
        lab.server.mend()
        await require_converged(lab)


async def test_an_unreachable_api_server_while_a_template_is_deleted_leaves_nothing_and_destroys_once() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: "destroy_vm" in lab.truth.mutation_counts())
        lab.server.cut()
        await lab.quiet(for_s=600)
        lab.server.mend()
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []
        assert lab.truth.mutation_counts()["destroy_vm"] == 3


async def test_objects_deleted_in_a_gap_of_the_watch_are_noticed_and_made_again() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        lab.server.drop_events(REPLICAS)
        replica, vmid = lab.replica("pve2"), lab.vmid("pve2")
        await lab.patch(replica, {"metadata": {"finalizers": None}})
        await lab.delete(replica)
        assert lab.get(replica) is None
        lab.server.relist(REPLICAS)

        await lab.until(lambda: lab.get(replica) is not None, within_s=1200)
        await lab.until(lambda: lab.is_ready("vmtemplate/debian"))
        assert lab.vmid("pve2") != vmid, "another object's machine is not ours, though its name is the same"


async def test_a_deletion_that_the_watch_never_told_is_still_carried_out() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        for kind in KINDS:
            lab.server.drop_events(kind)
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == []


async def test_a_kind_that_is_no_longer_served_ends_the_operator_with_the_reason_and_destroys_nothing() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        mutations = len(lab.truth.mutations)
        lab.kubectl.withdraw(REPLICAS)
        operator = lab.operator
        assert operator is not None
        while not operator.done():
            await lab.clock.sleep(1)
        assert isinstance(operator.exception(), MissingKinds)
        lab.operator = None
        await lab.start()
        await lab.clock.sleep(600)
        assert lab.operator is not None
        with pytest.raises(MissingKinds, match=r"templatereplicas\.pantograph\.dev.*install the CRDs"):
            await lab.operator
        lab.operator = None
        assert len(lab.truth.mutations) == mutations


async def test_a_status_that_somebody_else_wrote_is_put_right() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        replica, vmid = lab.replica("pve2"), lab.vmid("pve2")
        name = replica.partition("/")[2]
        lie = {"status": {"phase": "Failed", "conditions": []}}
        await lab.kubectl.merge_patch(REPLICAS, NAMESPACE, name, lie, subresource="status")
        await lab.until(lambda: lab.is_ready(replica) and lab.status(replica)["phase"] == "Ready")

        await lab.kubectl.merge_patch(REPLICAS, NAMESPACE, name, {"status": None}, subresource="status")
        await lab.until(lambda: lab.is_ready(replica))
        assert lab.vmid("pve2") == vmid
        assert lab.truth.mutation_counts()["create_vm"] == 3


async def test_a_status_that_claims_somebody_elses_machine_leads_to_no_harm() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        lab.pve.faults.take_vmid(777, "pve2")
        theirs = lab.truth.machine(777)
        replica = lab.replica("pve2")
        lie = {"status": {"vmid": 777, "node": "pve2", "appliedDigest": None}}
        await lab.kubectl.merge_patch(REPLICAS, NAMESPACE, replica.partition("/")[2], lie, subresource="status")
        await lab.until(lambda: lab.status(replica).get("vmid") not in (None, 777) and lab.is_ready(replica))
        assert lab.truth.machine(777) == theirs
        assert lab.truth.mutation_counts()["create_vm"] == 3, "its own machine was found again by its tag"
        await lab.delete("vmtemplate/debian")
        await lab.until(lambda: lab.get("vmtemplate/debian") is None)
        assert lab.truth.machines() == [theirs]


async def test_an_operation_that_somebody_forged_begins_nothing_and_is_dropped() -> None:
    async with Lab() as lab:
        await lab.make_ready()
        replica = lab.replica("pve2")
        forged = {
            "type": "Destroy",
            "phase": "Intended",
            "token": "0" * 16,
            "generation": 1,
            "attempt": 1,
            "node": "pve2",
            "vmid": 777,
            "startedAt": "2026-11-26T00:00:00Z",
        }
        name = replica.partition("/")[2]
        await lab.kubectl.merge_patch(
            REPLICAS, NAMESPACE, name, {"status": {"operation": forged}}, subresource="status"
        )
        await lab.until(lambda: "operation" not in lab.status(replica) and lab.is_ready(replica))
        assert "destroy_vm" not in lab.truth.mutation_counts()
