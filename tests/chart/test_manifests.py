"""What we render and what we print in documents is valid for the API server, judged by kubeconform."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.controlplane.build import binaries
from hack.controlplane.controlplane import ControlPlane
from tests.chart.cases import CASES
from tests.chart.conftest import CHART, Helm
from tests.chart.schemas import FILE_NAMES, write_schemas
from tests.cluster.conftest import control_plane  # noqa: F401  a fixture

CHECKOUT = Path(__file__).parents[2]
API_VERSIONS = (
    "v1",
    "apps/v1",
    "apiextensions.k8s.io/v1",
    "networking.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
)
FOREIGN = ("ServiceMonitor", "PodMonitor", "PrometheusRule", "Application", "Kustomization", "HelmRelease")
"""Kinds of other projects, whose schemas are not here."""

Conform = Callable[[str], dict[str, str]]


@pytest.fixture(scope="session")
def conform(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Conform:  # noqa: F811
    """A function that judges manifests: the fault of each invalid one by its kind and name."""
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(control_plane, CHECKOUT / "crds", api_versions=API_VERSIONS, folder=folder)

    def judge(manifests: str) -> dict[str, str]:
        flags = ("-strict", "-output", "json", "-schema-location", f"{folder}/{FILE_NAMES}", "-skip", ",".join(FOREIGN))
        done = subprocess.run(
            [str(binaries()["kubeconform"]), *flags], input=manifests, capture_output=True, text=True, check=False
        )
        answer: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
        return {f"{found['kind']}/{found['name']}": found["msg"] for found in answer["resources"] or []}

    return judge


def documented() -> dict[str, str]:
    """Every complete object in our documents, by where it stands."""
    documents = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), CHART / "README.md"]
    found = {
        f"{path.relative_to(CHECKOUT)}, example {number}": block
        for path in documents
        for number, block in enumerate(re.findall(r"^ *```ya?ml\n(.*?)^ *```", path.read_text(), re.M | re.S), 1)
        if re.search(r"^apiVersion:", block, re.M)
    }
    return found | {
        str(path.relative_to(CHECKOUT)): path.read_text()
        for root in ("examples", "docs")
        for path in CHECKOUT.glob(f"{root}/**/*.yaml")
    }


@pytest.mark.parametrize("case", CASES)
def test_the_api_server_knows_every_field_that_the_chart_renders(case: str, helm: Helm, conform: Conform) -> None:
    assert conform(helm.text(CASES[case])) == {}


@pytest.mark.parametrize("place", documented())
def test_examples_in_documents_are_valid(place: str, conform: Conform) -> None:
    assert conform(documented()[place]) == {}


def test_what_the_notes_tell_to_apply_is_valid(helm: Helm, conform: Conform) -> None:
    notes = helm.run("install", "pantograph", str(CHART), "--dry-run=client").split("NOTES:")[1]
    blocks = re.findall(r"<<EOF\n(.*?)^ *EOF$", notes, re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        assert conform(block) == {}


def test_the_judge_finds_faults(conform: Conform) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}}
    assert "prots" in conform(yaml.safe_dump(service))["Service/a"]
    cluster = {
        "apiVersion": "pantograph.dev/v1alpha1",
        "kind": "ProxmoxCluster",
        "metadata": {"name": "pve"},
        "spec": {"endpoints": [], "credentialsRef": {"name": "pve"}},
    }
    assert "/spec/endpoints" in conform(yaml.safe_dump(cluster))["ProxmoxCluster/pve"]
    unknown = {"apiVersion": "example.org/v1", "kind": "Nobody", "metadata": {"name": "a"}}
    assert "could not find schema" in conform(yaml.safe_dump(unknown))["Nobody/a"]
