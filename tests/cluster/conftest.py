"""The control plane that all tests of this tier share, and a namespace of its own for each test."""

import secrets
from collections.abc import Iterator

import pytest

from hack.controlplane.controlplane import ControlPlane
from hack.stage import Stage
from tests.cluster.mirroring import kubelet, openlist
from tests.cluster.playing import disagreements

__all__ = ["kubelet", "openlist"]


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A running control plane: shared, so a test that stops its API server starts it again."""
    with ControlPlane() as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """The name of a fresh namespace, ready for Pods. Its removal is begun after the test and not waited for."""
    name = f"test-{secrets.token_hex(5)}"
    control_plane.kubectl("create", "namespace", name)
    control_plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=180s")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def whole_stage() -> Iterator[Stage]:
    """A control plane of its own with the chart in it, for the operator as a whole."""
    with Stage() as stage:
        stage.install_chart()
        yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    """The stage with a fresh namespace; what the test starts on it ends with the test.

    Whatever a test is about, in the end all who judge the health of its objects must agree.
    """
    with whole_stage.scene() as scene:
        yield scene
        assert disagreements(scene) == []
