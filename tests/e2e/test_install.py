"""`make demo CLUSTER=current`: after the person agrees the chart runs in their cluster, and what it says removes it."""

from __future__ import annotations

import os
import subprocess

import pytest

from hack import install
from hack.controlplane.build import binaries
from hack.e2e import IMAGE
from hack.node.node import Node
from hack.stage import SYSTEM
from tests.e2e.release import Release
from tests.e2e.test_uninstall import left_in_cluster
from tests.e2e.volumes import CLASS, Volumes


@pytest.fixture
def current(node: Node, shared_release: Release, volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> Release:
    """The node is the cluster of the current kubeconfig, without a release, and pulls no image."""
    shared_release.remove()
    volumes.provide("50Gi")
    monkeypatch.setenv("KUBECONFIG", str(node.plane.kubeconfig))
    monkeypatch.setenv("IMAGE", os.environ[IMAGE])
    monkeypatch.setenv("PUSH", "0")
    monkeypatch.setenv("HELM_FLAGS", f"--timeout 120s --set depot.persistence.storageClass={CLASS}")
    return shared_release


def test_nothing_changes_unless_the_person_agrees(
    current: Release, node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    assert install.main(ask=lambda question: "") == 1
    said = capfd.readouterr().out
    assert "This will change the cluster https://" in said
    assert said.endswith("nothing was changed\n")
    assert left_in_cluster(node.plane) == []


def test_it_installs_after_asking_and_its_commands_remove_everything(
    current: Release, node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    assert install.main(ask=lambda question: "y") == 0
    assert current.pod()

    _, _, removal = capfd.readouterr().out.partition("To remove everything again:\n")
    folders = {str(command.parent) for command in binaries().values()}
    path = os.pathsep.join((*sorted(folders), os.environ["PATH"]))
    for command in removal.strip().splitlines():
        subprocess.run(command.split(), check=True, env={**os.environ, "PATH": path}, timeout=180)
    assert left_in_cluster(node.plane) == []
    assert node.plane.kubectl("get", "namespace", SYSTEM, "--ignore-not-found") == ""
