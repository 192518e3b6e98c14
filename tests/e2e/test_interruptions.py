"""Whatever ends the pod in the middle of an import, the next one finishes that import: nothing twice, nothing lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hack.node.node import Node
from hack.stage import Body, Origin, Simulator, Stage, until
from tests.cluster.playing import IMAGE, QUICK, SLOW, template
from tests.e2e.release import Release


@dataclass
class Import:
    """One copy, whose disk Proxmox is importing and goes on importing until `finish`."""

    stage: Stage
    simulator: Simulator
    origin: Origin
    operation: Body

    def running(self) -> Body:
        """The recorded operation, or `{}`."""
        return _running_import(self.stage)

    def finish(self) -> None:
        """Let Proxmox finish, and see that one copy was made, once, of the right bytes."""
        self.simulator.fault("slow_copies", factor=1)
        self.stage.await_ready("vmtemplate/debian")
        creations = [each for each in self.simulator.truth("mutations") if each["call"]["verb"] == "create_vm"]
        assert [each["answer"] for each in creations] == [self.operation["handle"]]
        (machine,) = self.simulator.truth("machines_marked")
        assert self.simulator.truth("disk_sha256", vmid=machine["vmid"]) == hashlib.sha256(IMAGE).hexdigest()
        assert machine["template"]
        assert machine["lock"] is None


@pytest.fixture
def importing(release: Release, stage: Stage) -> Iterator[Import]:
    simulator, origin = stage.start_simulator(*QUICK, "--nodes", "1"), stage.start_origin()
    simulator.fault("slow_copies", factor=3 * SLOW)
    stage.apply(*stage.connection(simulator), template(origin.put("debian.qcow2", IMAGE)))
    until(lambda: _running_import(stage), "an import under way", within_s=120)
    yield Import(stage, simulator, origin, _running_import(stage))
    release.await_rollout()


def _running_import(stage: Stage) -> Body:
    """The operation of the only replica, once it is an import that Proxmox has taken."""
    for replica in stage.all("templatereplicas"):
        operation: Body = replica.get("status", {}).get("operation") or {}
        if operation.get("type") == "Import" and operation.get("handle"):
            return operation
    return {}


def test_an_upgrade_and_a_rollback_in_the_middle_of_an_import(release: Release, importing: Import) -> None:
    first = release.pod()
    release.upgrade("--set", "logging.level=debug")
    second = release.pod()
    assert second != first
    assert importing.running()["handle"] == importing.operation["handle"]
    release.rollback()
    assert release.pod() not in (first, second)
    assert importing.running()["handle"] == importing.operation["handle"]
    importing.finish()


@pytest.mark.parametrize("how", ["within its grace", "by force"])
def test_the_pod_is_deleted_in_the_middle_of_an_import(release: Release, importing: Import, how: str) -> None:
    pod = release.pod()
    release.kubectl("delete", "pod", pod, *(("--force", "--grace-period=0") if how == "by force" else ()))
    release.await_successor(pod)
    assert importing.running()["handle"] == importing.operation["handle"]
    importing.finish()


def test_the_kernel_kills_it_for_memory_again_and_again_until_the_limit_is_raised(
    release: Release, importing: Import
) -> None:
    limits = ("resources.requests.memory=24Mi", "resources.limits.memory=24Mi")
    release.upgrade_without_wait(*(word for limit in limits for word in ("--set", limit)))
    until(lambda: _was_killed_for_memory(release), "a container OOMKilled", within_s=120)
    assert importing.running()["handle"] == importing.operation["handle"]
    release.rollback()
    importing.finish()


def _was_killed_for_memory(release: Release) -> bool:
    states = [
        container[state].get("terminated", {})
        for pod in release.pods()
        for container in pod["status"].get("containerStatuses", [])
        for state in ("state", "lastState")
    ]
    return any(state.get("reason") == "OOMKilled" or state.get("exitCode") == 137 for state in states)


def test_the_node_loses_power_and_the_images_are_still_on_their_volume(
    release: Release, importing: Import, node: Node
) -> None:
    restarts = _restarts(release)
    node.restart()
    until(lambda: _restarts(release) > restarts, "the pod started again", within_s=120)
    release.await_rollout()
    assert importing.running()["handle"] == importing.operation["handle"]
    importing.finish()

    # A second copy of the same image needs no second download from its origin, which only says that nothing changed.
    again = template(importing.origin.url("debian.qcow2"), name="again")
    importing.stage.apply(again)
    importing.stage.await_ready("vmtemplate/again")
    gets = [request for request in importing.origin.requests if request.startswith("GET")]
    assert (gets[0], set(gets[1:])) == ("GET /debian.qcow2 200", {"GET /debian.qcow2 304"})


def _restarts(release: Release) -> int:
    """Containers of the release that were started, over all of its pods."""
    return sum(
        container["restartCount"] for pod in release.pods() for container in pod["status"].get("containerStatuses", [])
    )
