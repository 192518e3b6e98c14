"""The examples, and every manifest of our kinds in a document, before the real API server: taken without a warning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane.controlplane import ControlPlane

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
CRDS = CHECKOUT / "crds"
NAMES = (
    "dataservers.pantograph.dev",
    "proxmoxclusters.pantograph.dev",
    "strmsyncjobs.pantograph.dev",
    "templatereplicas.pantograph.dev",
    "vmtemplates.pantograph.dev",
)


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with the definitions as they are committed, put there as a person would."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    control_plane.kubectl("wait", "--for=condition=Established", *(f"crd/{name}" for name in NAMES), "--timeout=180s")
    yield control_plane
    control_plane.kubectl("delete", "crd", *NAMES)


def documented() -> dict[str, str]:
    """Every manifest of ours, by where it stands."""
    found = {path.name: path.read_text() for path in sorted((DOCS / "examples").glob("*.yaml"))}
    for path in [CHECKOUT / "README.md", *sorted(DOCS.glob("**/*.md"))]:
        blocks = re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.M | re.S)
        ours = (block for block in blocks if re.search(r"^apiVersion: pantograph\.dev/", block, re.M))
        found |= {f"{path.relative_to(CHECKOUT)} {number}": block for number, block in enumerate(ours, 1)}
    return found


DOCUMENTED = documented()


@pytest.mark.parametrize("place", DOCUMENTED)
def test_the_api_server_takes_the_manifest_as_it_stands(plane: ControlPlane, place: str) -> None:
    options = ("--dry-run=server", "--validate=strict", "--warnings-as-errors", "--namespace", "default")
    said = plane.kubectl("apply", *options, "-f", "-", stdin=DOCUMENTED[place])
    assert said.count("created (server dry run)") == len(re.findall(r"^kind:", DOCUMENTED[place], re.M))


def test_there_is_an_example_of_every_kind() -> None:
    kinds = {
        match[1] for path in CRDS.glob("*.yaml") if (match := re.search(r"^    kind: (\w+)$", path.read_text(), re.M))
    }
    assert len(kinds) == len(NAMES)
    examples = [path.read_text() for path in (DOCS / "examples").glob("*.yaml")]
    assert {found for text in examples for found in re.findall(r"^kind: (\w+)$", text, re.M)} == kinds
