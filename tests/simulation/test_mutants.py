"""The sweep and the stories find what they are there to find: each of these defects, put in by hand, is caught.

A mutant is the product with one of its safeguards taken out; the same story without the mutant passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pantograph.api import operation as records
from pantograph.controllers import operations
from pantograph.controllers.templatereplica import observing, removing, resolving
from pantograph.controllers.templatereplica.controller import TemplateReplicaController
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.providers.proxmox import observer
from tests.simulation.crashpoints import Mode
from tests.simulation.sweep import Scenario, live, sweep
from tests.simulation.world import World

ONE_NODE = Scenario(nodes=["pve1"])


def struck(effect: str, mode: Mode) -> list[str]:
    """What the sweep has to say about this mode at every effect whose words begin so."""
    effects = live(ONE_NODE).tap.effects
    numbers = [number for number, words in enumerate(effects, 1) if words.startswith(effect)]
    assert numbers, effects
    failures = sweep(ONE_NODE, [{number: mode} for number in numbers], downs_s=[0.0])
    return [str(failure) for failure in failures]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.declare("debian", ["pve1"])
    yield world
    world.close()


# -- the mutants -----------------------------------------------------------------------------------------------------


def begin_without_intent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is written only when the call has been answered."""

    async def announce(scope: Any, operation: Any) -> None:
        scope.status.operation = operation

    async def store(scope: Any, operation: Any, handle: str) -> Any:
        scope.status.operation = records.run(operation, handle)
        await scope.commit()
        return scope.status.operation

    monkeypatch.setattr(operations, "announce", announce)
    monkeypatch.setattr(operations, "_store_handle", store)


def forget_lost_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent without a handle counts as never asked for: another VMID is taken."""
    settle = operations.settle

    async def forgetful(scope: Any, follower: Any) -> Any:
        if scope.status.operation is not None and scope.status.operation.handle is None:
            scope.status.operation = None
            return None
        return await settle(scope, follower)

    monkeypatch.setattr(operations, "settle", forgetful)


def adopt_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine is ours if it is called as ours would be."""
    monkeypatch.setattr(
        ReplicaScope, "owns", lambda self, config: config.values.get("name") == self.object.metadata.name
    )


def destroy_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has our VMID is destroyed, whoever's it is now."""

    async def nothing_to_refuse(scope: Any, machine: Any) -> None:
        return None

    monkeypatch.setattr(removing, "refuse_unsafe", nothing_to_refuse)
    monkeypatch.setattr(ReplicaScope, "owns", lambda self, config: True)


def believe_short_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not listed is gone."""
    own_config = resolving.own_config

    async def listed_config(scope: Any, node: str, vmid: int) -> Any:
        return await own_config(scope, node, vmid) if vmid in scope.world.guests else None

    async def nothing_to_prove(scope: Any, vmid: int) -> None:
        return None

    monkeypatch.setattr(observing, "own_config", listed_config)
    monkeypatch.setattr(observing, "_require_gone", nothing_to_prove)
    monkeypatch.setattr(observer, "completeness_problem", lambda status, permissions: None)


def let_go_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finalizer goes when the destroy was asked for, not when the machine is gone."""

    async def asked_is_done(scope: Any) -> None:
        if scope.machine is not None:
            await scope.pve.destroy_vm(scope.machine.node, scope.machine.vmid)

    undo = tuple(asked_is_done if step is removing.ensure_purged else step for step in TemplateReplicaController.undo)
    monkeypatch.setattr(TemplateReplicaController, "undo", undo)


# -- what the sweep finds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "mode", "mutant"),
    [
        ("create_vm", "killed after", begin_without_intent),
        ("create_vm", "answer lost", forget_lost_answers),
        ("download_url", "killed after", begin_without_intent),
    ],
)
def test_the_sweep_catches_what_begins_work_twice(
    monkeypatch: pytest.MonkeyPatch, effect: str, mode: Mode, mutant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    assert struck(effect, mode) == []
    mutant(monkeypatch)
    assert struck(effect, mode) != []


# -- what the stories find -------------------------------------------------------------------------------------------


def a_vmid_is_taken_by_a_namesake(world: World) -> None:
    world.wait(1)
    world.take_vmid("debian", "pve1")
    world.wait(60)


def a_person_puts_a_machine_of_theirs_under_our_vmid(world: World) -> None:
    world.wait(60)
    world.suspend("debian", True)
    world.replace(0)
    world.check()
    world.delete("debian")
    world.wait(60)


def the_right_to_see_machines_is_lost(world: World) -> None:
    world.wait(60)
    world.rights(("/vms", "VM.Audit"), held=False)
    world.wait(1500)


def a_template_is_deleted_while_disks_are_slow(world: World) -> None:
    world.wait(60)
    world.delete("debian")
    for _ in range(40):
        world.wait(0.25)
        world.check()


Story = Callable[[World], None]
STORIES: list[tuple[Story, Callable[[pytest.MonkeyPatch], None]]] = [
    (a_vmid_is_taken_by_a_namesake, adopt_by_name),
    (a_person_puts_a_machine_of_theirs_under_our_vmid, destroy_without_looking),
    (the_right_to_see_machines_is_lost, believe_short_listings),
    (a_template_is_deleted_while_disks_are_slow, let_go_early),
]


@pytest.mark.parametrize("story", [story for story, _ in STORIES], ids=lambda story: story.__name__)
def test_the_product_lives_through_the_story(world: World, story: Story) -> None:
    story(world)
    world.check()
    world.settle()


@pytest.mark.parametrize(("story", "mutant"), STORIES, ids=lambda each: each.__name__)
def test_the_story_catches_the_mutant(
    monkeypatch: pytest.MonkeyPatch, world: World, story: Story, mutant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    def lived() -> None:
        story(world)
        world.check()

    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        lived()
