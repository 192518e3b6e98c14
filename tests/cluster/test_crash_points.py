"""The operator's process is killed at chosen moments on the real API server; the world ends as if it had not been.

The moments are exact: the proxy before the API server and the simulated cluster send the SIGKILL themselves, before a
call has its effect, or after it and unanswered. Every one of all moments is swept on the in-memory API server; these
show that nothing in it was too kind.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import pytest

from hack.stage import Body, Operator, Simulator, Stage, until
from tests.cluster.playing import IMAGE, QUICK, audit_mark, audited, await_calm, mutations, template, writes
from tests.cluster.proxy import ApiProxy
from tests.fakes.proxmox import Truth
from tests.fakes.proxmox.truth import Machine
from tests.simulation.crashpoints import difference, end_state


@dataclass(frozen=True, slots=True)
class Strike:
    """A moment at which the process dies."""

    side: Literal["api", "proxmox"]
    when: Literal["before", "after"]
    call: str


@dataclass(frozen=True, slots=True)
class Life:
    """The template is made, and then removed; each strike is armed on the process that runs after the one before."""

    making: tuple[Strike, ...] = ()
    removing: tuple[Strike, ...] = ()
    repeats: str = ""
    """Work that is rightly done twice: a download whose server, the depot, dies with the operator."""
    watched: bool = False
    """Whether the operator is watched, until it has looked at the cluster once more, for changing anything."""


LIVES = {
    "finalizer written / child deleted": Life(
        (Strike("api", "after", "patch vmtemplates"),), (Strike("api", "after", "delete templatereplicas"),)
    ),
    "fetch intended / child not yet let go": Life(
        (Strike("api", "after", "patch vmtemplates/status"),), (Strike("api", "before", "patch templatereplicas"),)
    ),
    "child made / machine destroyed": Life(
        (Strike("api", "after", "patch templatereplicas"),), (Strike("proxmox", "after", "destroy_vm"),)
    ),
    "download begun / child let go": Life(
        (Strike("proxmox", "after", "download_url"),),
        (Strike("api", "after", "patch templatereplicas"),),
        repeats="download_url",
    ),
    "create not yet sent / template let go": Life(
        (Strike("proxmox", "before", "create_vm"),), (Strike("api", "after", "patch vmtemplates"),)
    ),
    "create begun, then converted": Life(
        (Strike("proxmox", "after", "create_vm"), Strike("proxmox", "after", "convert_to_template")), watched=True
    ),
}


@dataclass
class Theatre:
    """One namespace, one cluster and one proxy for all lives; the operator goes on from life to life."""

    stage: Stage
    simulator: Simulator
    proxy: ApiProxy
    url: str
    operator: Operator
    depot: str
    lives: int = 0
    undisturbed: dict[str, Any] = field(default_factory=dict)

    def start(self) -> None:
        self.operator = self.stage.start_operator(
            KUBECONFIG=str(self.proxy.kubeconfig), PANTOGRAPH_DEPOT_DIR=self.depot
        )

    def arm(self, strike: Strike) -> None:
        pid = self.operator.process.pid
        if strike.side == "api":
            self.proxy.kill_process(pid, strike.call, strike.when)
        else:
            self.simulator.fault("kill_process", pid=pid, verb=strike.call, when=strike.when)

    def die_and_begin_anew(self, strikes: tuple[Strike, ...]) -> None:
        """Wait for each armed strike, and start the next process; `strikes[0]` is armed already."""
        for following in (*strikes[1:], None):
            assert self.operator.process.wait(within_s=120) == -9
            self.start()
            if following is not None:
                self.arm(following)


@pytest.fixture(scope="module")
def theatre(whole_stage: Stage) -> Iterator[Theatre]:
    with whole_stage.scene() as stage, ApiProxy(stage) as proxy:
        simulator = stage.start_simulator(*QUICK, "--nodes", "2")
        url = stage.start_origin().put("debian.qcow2", IMAGE)
        kubeconfig, depot = str(proxy.kubeconfig), str(stage.folder / "crashes")
        operator = stage.start_operator(KUBECONFIG=kubeconfig, PANTOGRAPH_DEPOT_DIR=depot)
        theatre = Theatre(stage, simulator, proxy, url, operator, depot)
        stage.apply(*stage.connection(simulator))
        stage.await_ready("proxmoxcluster/pve")
        theatre.undisturbed = live(theatre, Life())
        yield theatre


@pytest.mark.parametrize("name", LIVES)
def test_killed_at_any_moment_it_ends_as_if_undisturbed(theatre: Theatre, name: str) -> None:
    life = LIVES[name]
    lines = difference(theatre.undisturbed, live(theatre, life))
    assert [line for line in lines if not life.repeats or f".work.{life.repeats}:" not in line] == []


def live(theatre: Theatre, life: Life) -> dict[str, Any]:
    """The end states of making and of removing, once, with the life's strikes."""
    stage, simulator = theatre.stage, theatre.simulator
    theatre.lives += 1
    worked = simulator.truth("mutation_counts")
    if life.making:
        theatre.arm(life.making[0])
    # Another address each time, so that each life fetches anew what the depot has from the last.
    stage.apply(template(f"{theatre.url}?life={theatre.lives}"))
    if life.making:
        theatre.die_and_begin_anew(life.making)
    stage.await_ready("vmtemplate/debian")
    await_calm(theatre.operator)
    made = state(theatre, worked)
    noise = changes_until_next_look(stage, simulator) if life.watched else []
    if life.removing:
        theatre.arm(life.removing[0])
    stage.kubectl("delete", "vmtemplate", "debian", "--wait=false")
    if life.removing:
        theatre.die_and_begin_anew(life.removing)
    until(lambda: stage.find("vmtemplate/debian") is None, "the template gone", process=theatre.operator.process)
    until(lambda: stage.find("configmap/debian-locations") is None, "the ConfigMap of locations collected")
    return {"made": made, "gone": state(theatre, worked), "noise": noise}


def changes_until_next_look(stage: Stage, simulator: Simulator) -> list[str]:
    """What is written and changed until the operator has looked at the cluster once more."""
    mark, changed, looks = audit_mark(stage), len(mutations(simulator)), simulator.truth("calls")["guests"]
    until(lambda: simulator.truth("calls")["guests"] > looks, "the operator looks at the cluster again")
    return [*writes(audited(stage, since=mark)), *mutations(simulator)[changed:]]


class _Truth:
    """What `end_state` asks of a cluster, over the control port; work counts from `before` on."""

    def __init__(self, simulator: Simulator, before: dict[str, int]) -> None:
        self._simulator = simulator
        self._before = before

    def machines(self) -> list[Machine]:
        return [Machine(**each) for each in self._simulator.truth("machines")]

    def machines_marked(self, uid16: str | None = None) -> list[Machine]:
        arguments = {} if uid16 is None else {"uid16": uid16}
        return [Machine(**each) for each in self._simulator.truth("machines_marked", **arguments)]

    def stubs(self) -> list[Machine]:
        return [Machine(**each) for each in self._simulator.truth("stubs")]

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._simulator.truth("state")
        return state

    def mutation_counts(self) -> dict[str, int]:
        done = Counter(self._simulator.truth("mutation_counts"))
        return dict(done - Counter(self._before))


def state(theatre: Theatre, worked: dict[str, int]) -> dict[str, Any]:
    stage = theatre.stage
    bodies = [_without_chance(body) for body in stage.all("proxmoxclusters,vmtemplates,templatereplicas,configmaps")]
    return end_state(bodies, cast(Truth, _Truth(theatre.simulator, worked)))


def _without_chance(body: Body) -> Body:
    """Without what differs from life to life by itself: the address, and which copy was first and so is the primary."""
    text = re.sub(r"\?life=\d+", "", json.dumps(body))
    text = re.sub(r',\s*"primary": true', "", text)
    changed: Body = json.loads(re.sub(r',\\n\s*\\"primary\\": true', "", text))
    return changed
