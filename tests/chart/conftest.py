"""Helm without a cluster: renders the chart as users would, and hands back its objects."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from hack.controlplane.build import binaries

CHART = Path(__file__).parents[2] / "charts/pantograph"

Body = dict[str, Any]


class Refused(Exception):
    """Helm refused; the text is what it said."""


class Id(NamedTuple):
    """Which object of a release."""

    kind: str
    namespace: str
    name: str


class Helm:
    """Runs helm in folders of its own: nothing of the user's is read or written."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._command = binaries()["helm"]

    def run(self, *args: str, stdin: str | None = None) -> str:
        """What helm prints. Raises Refused if it fails."""
        folders = {f"HELM_{name}_HOME": str(self._home / name) for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(self._command), *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(self._home), "KUBECONFIG": os.devnull, **folders},
        )
        if done.returncode != 0:
            raise Refused(done.stderr.strip())
        return done.stdout

    def text(self, values: Body, *flags: str) -> str:
        """The manifests of a release called `pantograph` in `pantograph-system`, as helm prints them."""
        command = ("template", "pantograph", str(CHART), "--namespace", "pantograph-system", "--values", "-")
        return self.run(*command, *flags, stdin=yaml.safe_dump(values))

    def render(self, values: Body, *flags: str) -> dict[Id, Body]:
        """The objects of such a release."""
        bodies = [body for body in yaml.safe_load_all(self.text(values, *flags)) if body is not None]
        objects = {identify(body): body for body in bodies}
        assert len(objects) == len(bodies), "two manifests of the chart are the same object"
        return objects


def identify(body: Body) -> Id:
    metadata = body["metadata"]
    return Id(body["kind"], metadata.get("namespace", ""), metadata["name"])


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


Render = Callable[..., dict[Id, Body]]


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    return helm.render
