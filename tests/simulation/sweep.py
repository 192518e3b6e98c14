"""One job and its deletion, lived through under a `Tap`; and the sweep over all its crash points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pantograph.api.meta import Body
from tests.fakes.proxmox import Storage
from tests.fakes.virtualtime import run
from tests.simulation.crashpoints import Failure, Mode, Tap, difference, end_state
from tests.simulation.lab import Lab

HOUR_S = 3600.0
CALM_S = 60.0
"""Without a write for so long, what was begun has ended: a lost answer is waited for no longer than 40 s."""
KINDS = ("proxmoxcluster", "vmtemplate", "templatereplica", "configmap")
MACHINE = {"machine": "q35", "firmware": "OVMF", "tpm": "v2.0", "disk": {"size": "12Gi"}, "tags": ["golden"]}


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """What is declared, and on which cluster."""

    storages: Sequence[Storage] | None = None
    nodes: Sequence[str] = ("pve1", "pve2", "pve3")
    template: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 1

    def lab(self, tap: Tap) -> Lab:
        storages = None if self.storages is None else [Storage(s.name, shared=s.shared) for s in self.storages]
        return Lab(seed=self.seed, nodes=self.nodes, storages=storages, tap=tap)


LOCAL = Scenario()
SHARED = Scenario(storages=[Storage("local"), Storage("nfs", shared=True)], template={"storage": "nfs"})
HARDWARE = Scenario(nodes=["pve1"], template={"hardware": MACHINE})


@dataclass(frozen=True, slots=True)
class Life:
    """How a run went."""

    tap: Tap
    made: dict[str, Any]
    """The end state when the template was Ready and nothing moved any more."""
    gone: dict[str, Any]
    """The end state when template and connection had been deleted."""
    effects_until_made: int
    noise: list[str]
    """Effects after convergence: there must be none."""


def live(
    scenario: Scenario, strikes: Mapping[int, Mode] | None = None, *, quiet_s: float = 0.0, down_s: float = 0.0
) -> Life:
    """Live the scenario once, on a loop of its own; the operator comes back `down_s` after each of its deaths."""
    return run(_live(scenario, Tap(strikes or {}), quiet_s=quiet_s, down_s=down_s))


async def _live(scenario: Scenario, tap: Tap, *, quiet_s: float, down_s: float) -> Life:
    noise: list[str] = []
    async with scenario.lab(tap) as lab:
        await lab.apply(lab.template("debian", **scenario.template))
        await _drive(lab, lambda: lab.is_ready("vmtemplate/debian"), down_s)
        await _drive(lab, _calm(lab), down_s)
        made, effects_until_made = _state(lab), len(tap.effects)
        noise += await _noise(lab, quiet_s)
        for what in ("vmtemplate/debian", "proxmoxcluster/prod"):
            await lab.delete(what)
            await _drive(lab, lambda what=what: lab.get(what) is None, down_s)  # type: ignore[misc]
        await _drive(lab, _calm(lab), down_s)
        gone = _state(lab)
        noise += await _noise(lab, 2 * HOUR_S)
    return Life(tap, made, gone, effects_until_made, noise)


def sweep(
    scenario: Scenario,
    strikes: Iterable[Mapping[int, Mode]],
    *,
    seed: int = 0,
    downs_s: Sequence[float] = (0.0, 0.0, 5.0, 120.0),
) -> list[Failure]:
    """Live the scenario with each of `strikes`; those whose end is another one than the undisturbed.

    The operator comes back after one of `downs_s`. That nothing is written after convergence is watched for a minute
    after every strike, for longer than the interval after every fourth that comes before convergence, and for two hours
    after every fortieth.
    """
    undisturbed = live(scenario, quiet_s=2 * HOUR_S)
    assert not undisturbed.noise, undisturbed.noise
    random = Random(seed)
    failures = []
    for each in strikes:
        watched_s = random.choices([0.0, HOUR_S / 4, 2 * HOUR_S], weights=[30, 9, 1])[0]
        quiet_s = watched_s if min(each) <= undisturbed.effects_until_made else 0.0
        down_s = random.choice(downs_s)
        failures += _tried(scenario, undisturbed, each, quiet_s=quiet_s, down_s=down_s)
    return failures


def _tried(
    scenario: Scenario, undisturbed: Life, strikes: Mapping[int, Mode], *, quiet_s: float, down_s: float
) -> list[Failure]:
    tap = Tap(strikes)
    try:
        life = run(_live(scenario, tap, quiet_s=quiet_s, down_s=down_s))
    except AssertionError as stuck:
        return [Failure(strikes, tap.effects, str(stuck).splitlines())]
    lines = [f"made{line}" for line in difference(undisturbed.made, life.made)]
    lines += [f"gone{line}" for line in difference(undisturbed.gone, life.gone)]
    lines += [f"after convergence: {effect}" for effect in life.noise]
    if not life.tap.struck:
        lines.append("never struck: the run was over before")
    return [Failure(strikes, tap.effects, lines)] if lines else []


def _state(lab: Lab) -> dict[str, Any]:
    bodies: list[Body] = [body for kind in KINDS for body in lab.all(kind)]
    return end_state(bodies, lab.truth)


async def _drive(lab: Lab, done: Callable[[], object], down_s: float, *, within_s: float = HOUR_S) -> None:
    """Let time pass until `done`, and start the operator again whenever it has died."""
    deadline = lab.clock.monotonic() + within_s
    while not done():
        if lab.operator is not None and lab.operator.done():
            await lab.clock.sleep(down_s)
            await lab.revive()
        if lab.clock.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} virtual seconds:\n{lab.picture()}")
        await lab.clock.sleep(0.5)


def _calm(lab: Lab) -> Callable[[], bool]:
    """Whether no effect was asked for during the last `CALM_S`."""
    assert lab.tap is not None
    tap, seen, since = lab.tap, len(lab.tap.effects), lab.clock.monotonic()

    def calm() -> bool:
        nonlocal seen, since
        if len(tap.effects) != seen or tap.dead:
            seen, since = len(tap.effects), lab.clock.monotonic()
        return lab.clock.monotonic() - since >= CALM_S

    return calm


async def _noise(lab: Lab, for_s: float) -> list[str]:
    assert lab.tap is not None
    before = len(lab.tap.effects)
    await lab.quiet(for_s=for_s)
    return lab.tap.effects[before:]
