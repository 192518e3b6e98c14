"""A process that begins on a converged system reads what it must and changes nothing."""

from __future__ import annotations

from tests.simulation.lab import Lab

TEMPLATES = 60
NODES = ("pve1", "pve2", "pve3")


async def converged(lab: Lab, templates: int) -> None:
    names = [f"t{number}" for number in range(templates)]
    for name in names:
        await lab.apply(lab.template(name))
    await lab.until(lambda: all(lab.is_ready(f"vmtemplate/{name}") for name in names))
    await lab.quiet(for_s=120)


async def reads_of_a_restart(lab: Lab) -> dict[str, int]:
    """What a new process asks Proxmox during its first ten minutes, by call; AssertionError if it changes anything."""
    await lab.kill()
    writes, mutations, before = len(lab.server.writes), len(lab.truth.mutations), lab.pve.gate.calls.copy()
    await lab.start()
    await lab.quiet(for_s=600)
    assert lab.server.writes[writes:] == []
    assert lab.truth.mutations[mutations:] == []
    return dict(lab.pve.gate.calls - before)


async def test_a_restart_writes_nothing_and_reads_as_much_for_sixty_templates_as_for_one() -> None:
    async with Lab() as lab:
        await converged(lab, 1)
        few = await reads_of_a_restart(lab)
        await converged(lab, TEMPLATES)
        many = await reads_of_a_restart(lab)
    machines = TEMPLATES * len(NODES)
    # A process that knows nothing spreads the first reading of every machine over an hour.
    assert many.pop("vm_config", 0) < machines / 3
    few.pop("vm_config", None)
    assert sum(many.values()) <= sum(few.values()) * 1.1, (few, many)


async def test_a_restart_lists_every_kind_and_gets_no_object_of_ours() -> None:
    async with Lab() as lab:
        await converged(lab, 5)
        await lab.kill()
        before = lab.server.calls.copy()
        await lab.start()
        await lab.quiet(for_s=300)
        asked = lab.server.calls - before
    assert {call for call in asked if call[0] == "list"} == {
        ("list", kind) for kind in ("ProxmoxCluster", "VMTemplate", "TemplateReplica")
    }
    # Once to begin with, and once its metadata only, after the relist with which every watch begins.
    assert max(count for (verb, _), count in asked.items() if verb == "list") <= 2
    assert {kind for verb, kind in asked if verb == "get"} == {"Secret"}
