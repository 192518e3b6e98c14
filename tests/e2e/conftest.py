"""The real node that all tests of this tier share, the chart's release on it, and a fresh namespace for each test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from hack.controlplane.controlplane import CommandError
from hack.e2e import ARCHIVE, IMAGE
from hack.node.node import Node
from hack.node.requirements import missing_requirements
from hack.node.world import GROUP, NODE_ADDRESS
from hack.stage import Stage
from tests.e2e.picture import picture
from tests.e2e.release import Release, create_namespace
from tests.e2e.volumes import Volumes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is shown with what the cluster says at that moment: there is nothing left to look at later."""
    report = yield
    fixtures: dict[str, object] = getattr(item, "funcargs", {})
    if report.failed:
        for stage in (each for each in fixtures.values() if isinstance(each, Stage)):
            for title, text in picture(stage):
                report.sections.append((title, text))
    return report


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A running node that knows the operator's image."""
    if GROUP not in os.environ:
        missing = missing_requirements() or ["this tier runs in namespaces of its own: make e2e"]
        pytest.skip(f"no real node: {'; '.join(missing)}")
    with Node(Path(os.environ[ARCHIVE])) as node:
        yield node


@pytest.fixture(scope="session")
def volumes(node: Node) -> Volumes:
    return Volumes(node.plane, node.folder / "volumes")


@pytest.fixture(scope="session")
def shared_release(node: Node, volumes: Volumes) -> Release:
    return Release(node.plane, image=os.environ[IMAGE], volumes=volumes)


@pytest.fixture
def release(shared_release: Release) -> Release:
    """The chart, installed with its default values but image, storage class and the depot's address, and Ready."""
    shared_release.ensure()
    return shared_release


@pytest.fixture
def stage(node: Node) -> Iterator[Stage]:
    """A fresh namespace; simulated nodes and image servers that are started on it are outside the pods."""
    namespace = f"scene-{secrets.token_hex(4)}"
    with Stage(node.plane, host=NODE_ADDRESS, namespace=namespace) as stage:
        create_namespace(stage.plane, namespace)
        yield stage
        _let_go(stage)
        stage.plane.kubectl("delete", "namespace", namespace, "--wait=false")


def _let_go(stage: Stage) -> None:
    """Delete the objects while their operator and the outside are there. What does not go is given up."""
    if not stage.plane.kubectl("get", "crd", "vmtemplates.pantograph.dev", "--ignore-not-found"):
        return
    for kinds in ("vmtemplates,templatereplicas", "proxmoxclusters", "strmsyncjobs", "dataservers"):
        try:
            stage.kubectl("delete", kinds, "--all", "--timeout=30s")
        except CommandError:
            for name in stage.kubectl("get", kinds, "-o", "name").split():
                stage.kubectl("patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
