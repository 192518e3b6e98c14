"""Whatever happens in whatever order: nothing foreign is touched, nothing is made twice, and in the end it comes true.

Hypothesis chooses what happens (`world` says what can); a failure is shrunk to the shortest story that still fails.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.simulation.world import ERRORS, KINDS, NAMES, NODES, RIGHTS, World

names = st.sampled_from(NAMES)
nodes = st.sampled_from(NODES)
kinds = st.sampled_from(KINDS)
nth = st.integers(0, 3)


class Stories(RuleBasedStateMachine):
    """One story: declarations, edits, deaths and misfortunes, with time passing between them."""

    @initialize(seed=st.integers(0, 9))
    def begin(self, seed: int) -> None:
        self.world = World(seed)
        self.world.declare(NAMES[0], NODES)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.settle()
        finally:
            self.world.close()

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    @rule(seconds=st.sampled_from([0.2, 1.0, 3.0, 10.0, 50.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(
        name=names,
        nodes=st.sampled_from([list(NODES), [NODES[0]], [NODES[1]]]),
        cores=st.integers(1, 4),
        tags=st.sampled_from([(), ("golden",)]),
    )
    def declare(self, name: str, nodes: list[str], cores: int, tags: tuple[str, ...]) -> None:
        self.world.declare(name, nodes, cores=cores, tags=tags)

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.world.delete(name)

    @rule(name=names, suspended=st.booleans())
    def suspend(self, name: str, suspended: bool) -> None:
        self.world.suspend(name, suspended)

    @rule(down_s=st.sampled_from([0.0, 2.0, 100.0]))
    def crash(self, down_s: float) -> None:
        self.world.crash(down_s)

    @rule(error=st.sampled_from(sorted(ERRORS)), times=st.integers(1, 4))
    def fail_writes(self, error: str, times: int) -> None:
        self.world.fail_writes(error, times)

    @rule(kind=kinds)
    def lose_events(self, kind: str) -> None:
        self.world.lose_events(kind)

    @rule(kind=kinds)
    def relist(self, kind: str) -> None:
        self.world.relist(kind)

    @rule(kind=kinds, stale=st.booleans())
    def stale_lists(self, kind: str, stale: bool) -> None:
        self.world.stale_lists(kind, stale)

    @rule(node=nodes, power=st.booleans())
    def cut(self, node: str, power: bool) -> None:
        self.world.cut(node, power=power)

    @rule(node=nodes)
    def mend(self, node: str) -> None:
        self.world.mend(node)

    @rule(node=nodes, acts=st.sampled_from(["at once", "when thawed", "never"]))
    def freeze(self, node: str, acts: str) -> None:
        self.world.freeze(node, acts)  # type: ignore[arg-type]

    @rule(node=nodes)
    def thaw(self, node: str) -> None:
        self.world.thaw(node)

    @rule(at=st.integers(1, 3), kind=st.sampled_from(["596", "reset"]))
    def lose_answer(self, at: int, kind: str) -> None:
        self.world.lose_answer(at, kind)  # type: ignore[arg-type]

    @rule(right=st.sampled_from(RIGHTS), held=st.booleans())
    def rights(self, right: tuple[str, str], held: bool) -> None:
        self.world.rights(right, held=held)

    @rule(factor=st.sampled_from([1.0, 30.0]))
    def slow_copies(self, factor: float) -> None:
        self.world.slow_copies(factor)

    @rule(nth=nth, seconds=st.sampled_from([3.0, 20.0]))
    def hold_flock(self, nth: int, seconds: float) -> None:
        self.world.hold_flock(nth, seconds)

    @rule(nth=nth)
    def lock(self, nth: int) -> None:
        self.world.lock(nth)

    @rule()
    def unlock(self) -> None:
        self.world.unlock()

    @rule(name=names, node=nodes)
    def take_vmid(self, name: str, node: str) -> None:
        self.world.take_vmid(name, node)

    @rule(nth=nth)
    def destroy(self, nth: int) -> None:
        self.world.destroy(nth)

    @rule(nth=nth)
    def replace(self, nth: int) -> None:
        self.world.replace(nth)

    @rule(nth=nth)
    def take_flag(self, nth: int) -> None:
        self.world.take_flag(nth)

    @rule(nth=nth, linked=st.booleans())
    def clone(self, nth: int, linked: bool) -> None:
        self.world.clone(nth, linked=linked)

    @rule()
    def remove_clones(self) -> None:
        self.world.remove_clones()

    @rule(nth=nth)
    def remove_staged(self, nth: int) -> None:
        self.world.remove_staged(nth)


TestStories = Stories.TestCase
TestStories.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
