"""Uninstalling in the documented order leaves nothing; in other orders it ends as docs/uninstall.md says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hack.controlplane.controlplane import CommandError, ControlPlane
from hack.node.world import NODE_ADDRESS
from hack.stage import KINDS, SYSTEM, Body, Simulator, Stage, until
from tests.cluster.mirroring import declared, library_of, status
from tests.cluster.playing import IMAGE, QUICK, template
from tests.e2e.release import DEFINITIONS, Release, create_namespace
from tests.e2e.volumes import Volumes
from tests.fakes.openlist import FakeOpenList, served

NOTHING: Body = {"staged": [], "guests": [], "leftovers": []}
DIRECTORIES = 600
"""At 240 a minute a run that never ends by itself."""


@dataclass
class Estate:
    """What the release has made: a template on the simulated cluster, and a library with a run at work in its pod."""

    stage: Stage
    simulator: Simulator
    library: Path

    def has_no_run(self) -> bool:
        return self.stage.all("jobs,pods") == []

    def has_its_files(self) -> bool:
        """The library is the user's: its files and the record of them stay."""
        return bool(list(self.library.rglob("*.strm"))) and (self.library / "movies" / ".pantograph").is_dir()


@pytest.fixture
def estate(release: Release, stage: Stage, volumes: Volumes) -> Iterator[Estate]:
    simulator, origin = stage.start_simulator(*QUICK, "--nodes", "1"), stage.start_origin()
    library = volumes.claim(stage.namespace, "library")
    with served(FakeOpenList(library_of(DIRECTORIES)), host=NODE_ADDRESS) as openlist:
        stage.apply(*declared(openlist))
        stage.apply(*stage.connection(simulator), template(origin.put("debian.qcow2", IMAGE)))
        stage.await_ready("vmtemplate/debian")
        # Where the definitions have just come back, the API server does not know the Job's owner for half a minute, and
        # the operator tries again with its back-off.
        until(lambda: (status(stage).get("run") or {}).get("dirsDone"), "a run that reports progress", within_s=400)
        yield Estate(stage, simulator, library)


def test_in_the_documented_order_nothing_is_left(release: Release, stage: Stage, estate: Estate) -> None:
    everywhere = ("--all", "--all-namespaces", "--timeout=120s")
    for kinds in ("vmtemplates,templatereplicas", "proxmoxclusters", "strmsyncjobs", "dataservers"):
        stage.plane.kubectl("delete", kinds, *everywhere)
    assert estate.simulator.truth("state") == NOTHING
    until(estate.has_no_run, "the garbage collector removes the ended Job")
    assert estate.has_its_files()
    release.uninstall()
    stage.plane.kubectl("delete", "crd", *DEFINITIONS, "--timeout=60s")
    release.kubectl("delete", "secret", "pantograph-installation")

    assert left_in_cluster(stage.plane) == []
    remains = release.kubectl(
        "get", "all,secrets,persistentvolumeclaims,serviceaccounts,roles,rolebindings", "-o", "name"
    )
    assert remains.split() == ["serviceaccount/default"]


def test_the_release_went_first_and_comes_back_with_its_secret(release: Release, stage: Stage, estate: Estate) -> None:
    release.uninstall()
    stage.kubectl("delete", "vmtemplate/debian", "strmsyncjob/movies", "--wait=false")
    for waiting in ("vmtemplate/debian", "strmsyncjob/movies"):
        with pytest.raises(CommandError, match="timed out"):
            stage.kubectl("wait", "--for=delete", waiting, "--timeout=2s")
    assert len(estate.simulator.truth("machines_marked")) == 1

    release.install()
    stage.kubectl("wait", "--for=delete", "vmtemplate/debian", "strmsyncjob/movies", "--timeout=120s")
    assert estate.simulator.truth("state") == NOTHING
    until(estate.has_no_run, "the run has ended")
    assert estate.has_its_files()


def test_the_operators_namespace_went_first_and_what_is_outside_is_given_up(
    release: Release, stage: Stage, estate: Estate
) -> None:
    stage.plane.kubectl("delete", "namespace", SYSTEM, "--timeout=120s")
    release.forget()
    stage.kubectl("delete", KINDS, "--all", "--wait=false")
    for name in stage.kubectl("get", KINDS, "-o", "name").split():
        stage.kubectl("patch", name, "--type=merge", "--patch", '{"metadata":{"finalizers":null}}')
    stage.kubectl("wait", "--for=delete", "vmtemplate/debian", "strmsyncjob/movies", "--timeout=60s")
    assert len(estate.simulator.truth("machines_marked")) == 1
    until(estate.has_no_run, "the garbage collector ends the run", within_s=120)
    assert estate.has_its_files()

    # What of it belongs to the cluster is still there, and a new release of the same name takes it over.
    release.install()


def test_the_users_namespace_is_deleted_as_a_whole(release: Release, stage: Stage, estate: Estate) -> None:
    stage.plane.kubectl("delete", "namespace", stage.namespace, "--timeout=180s")
    assert estate.simulator.truth("state") == NOTHING
    assert estate.has_its_files()
    create_namespace(stage.plane, stage.namespace)  # which the scene ends


def test_the_definitions_went_first_and_the_operator_cleans_up_and_lives_with_their_return(
    release: Release, stage: Stage, estate: Estate
) -> None:
    stage.plane.kubectl("delete", "crd", *DEFINITIONS, "--timeout=120s")
    assert estate.simulator.truth("state") == NOTHING
    until(estate.has_no_run, "the garbage collector removes the ended Job")
    assert estate.has_its_files()
    release.upgrade()
    # It ended when its definitions went, and its container starts again.
    until(lambda: release.leads(release.pod()), "the operator works")


def left_in_cluster(plane: ControlPlane) -> list[str]:
    kinds = "customresourcedefinitions,clusterroles,clusterrolebindings"
    names = plane.kubectl("get", kinds, "-o", "name").split()
    return [name for name in names if "pantograph" in name]
