"""Uninstalling in the documented order leaves nothing; in other orders it ends as docs/uninstall.md says."""

from __future__ import annotations

import pytest

from hack.controlplane.controlplane import CommandError
from hack.stage import KINDS, SYSTEM, Body, Simulator, Stage, until
from tests.cluster.playing import IMAGE, QUICK, template
from tests.e2e.release import Release

DEFINITIONS = tuple(f"{kind}.pantograph.dev" for kind in KINDS.split(","))
NOTHING: Body = {"staged": [], "guests": [], "leftovers": []}


@pytest.fixture
def simulator(release: Release, stage: Stage) -> Simulator:
    """A cluster with one template that the release has made."""
    simulator, origin = stage.start_simulator(*QUICK, "--nodes", "1"), stage.start_origin()
    stage.apply(*stage.connection(simulator), template(origin.put("debian.qcow2", IMAGE)))
    stage.await_ready("vmtemplate/debian")
    return simulator


def test_in_the_documented_order_nothing_is_left(release: Release, stage: Stage, simulator: Simulator) -> None:
    everywhere = ("--all", "--all-namespaces", "--timeout=120s")
    stage.plane.kubectl("delete", "vmtemplates,templatereplicas", *everywhere)
    stage.plane.kubectl("delete", "proxmoxclusters", *everywhere)
    assert simulator.truth("state") == NOTHING
    release.uninstall()
    stage.plane.kubectl("delete", "crd", *DEFINITIONS, "--timeout=60s")
    release.kubectl("delete", "secret", "pantograph-installation")

    assert left_in_cluster(stage) == []
    remains = release.kubectl(
        "get", "all,secrets,persistentvolumeclaims,serviceaccounts,roles,rolebindings", "-o", "name"
    )
    assert remains.split() == ["serviceaccount/default"]


def test_the_release_went_first_and_comes_back_with_its_secret(
    release: Release, stage: Stage, simulator: Simulator
) -> None:
    release.uninstall()
    stage.kubectl("delete", "vmtemplate/debian", "--wait=false")
    with pytest.raises(CommandError, match="timed out"):
        stage.kubectl("wait", "--for=delete", "vmtemplate/debian", "--timeout=3s")
    assert len(simulator.truth("machines_marked")) == 1

    release.install()
    stage.kubectl("wait", "--for=delete", "vmtemplate/debian", "--timeout=120s")
    assert simulator.truth("state") == NOTHING


def test_the_operators_namespace_went_first_and_what_is_outside_is_given_up(
    release: Release, stage: Stage, simulator: Simulator
) -> None:
    stage.plane.kubectl("delete", "namespace", SYSTEM, "--timeout=120s")
    release.forget()
    stage.kubectl("delete", "vmtemplate/debian", "--wait=false")
    for name in stage.kubectl("get", KINDS, "-o", "name").split():
        stage.kubectl("patch", name, "--type=merge", "--patch", '{"metadata":{"finalizers":null}}')
    stage.kubectl("wait", "--for=delete", "vmtemplate/debian", "--timeout=60s")
    assert len(simulator.truth("machines_marked")) == 1

    # What of it belongs to the cluster is still there, and a new release of the same name takes it over.
    release.install()


def test_the_users_namespace_is_deleted_as_a_whole(release: Release, stage: Stage, simulator: Simulator) -> None:
    stage.plane.kubectl("delete", "namespace", stage.namespace, "--timeout=180s")
    assert simulator.truth("state") == NOTHING
    stage.plane.kubectl("create", "namespace", stage.namespace)  # which the scene ends


def test_the_definitions_went_first_and_the_operator_cleans_up_and_lives_with_their_return(
    release: Release, stage: Stage, simulator: Simulator
) -> None:
    stage.plane.kubectl("delete", "crd", *DEFINITIONS, "--timeout=120s")
    assert simulator.truth("state") == NOTHING
    release.upgrade()
    until(lambda: "pantograph_leader 1.0" in release.get(release.pod(), "/metrics"), "the operator works")


def left_in_cluster(stage: Stage) -> list[str]:
    kinds = "customresourcedefinitions,clusterroles,clusterrolebindings"
    names = stage.plane.kubectl("get", kinds, "-o", "name").split()
    return [name for name in names if "pantograph" in name]
