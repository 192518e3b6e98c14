"""What the tests of runs share: a media server in a thread, what mirrors it, and a kubelet for the Pods of runs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.stage import Body, Stage
from tests.cluster.kubelet import Kubelet
from tests.fakes.library import Library
from tests.fakes.openlist import FakeOpenList, served

DIRECTORIES = 150
PER_MINUTE = 240
"""So a run lasts about 40 s: long enough for an operator to be killed, and for its successor to lead."""


@pytest.fixture
def openlist() -> Iterator[FakeOpenList]:
    """A media server in a thread of its own."""
    with served(FakeOpenList(library_of(DIRECTORIES))) as fake:
        yield fake


def library_of(directories: int) -> Library:
    """One film in each directory."""
    library = Library()
    for number in range(directories):
        library.put(f"/films/{number}/film.mkv")
    return library


@pytest.fixture
def kubelet(stage: Stage, tmp_path: Path) -> Iterator[Kubelet]:
    (tmp_path / "library").mkdir()
    claims = {"library": tmp_path / "library"}
    with Kubelet(stage.plane, stage.namespace, tmp_path / "pods", claims) as kubelet:
        yield kubelet
        # pytest shows it with a failure.
        print(stage.picture(), *(f"--- {pod}\n{kubelet.log(pod)}" for pod in kubelet.started), sep="\n")


def declared(openlist: FakeOpenList, *, per_minute: int = PER_MINUTE) -> list[Body]:
    """The Secret, the DataServer `openlist`, and the StrmSyncJob `movies` into the claim `library`."""
    token = base64.b64encode(openlist.accounts.admin_token.encode()).decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "openlist"}, "data": {"token": token}}
    return [secret, *mirrored(openlist.base_url, per_minute=per_minute)]


def mirrored(endpoint: str, *, name: str = "movies", per_minute: int = PER_MINUTE) -> list[Body]:
    """The two without the Secret; the job `name` has a target of that name."""
    server = {
        "driver": "OpenList",
        "endpoint": endpoint,
        "credentialsRef": {"name": "openlist"},
        "limits": {"requestsPerMinute": per_minute, "burst": 1},
    }
    job = {
        "serverRef": {"name": "openlist"},
        "source": {"path": "/"},
        "target": {"persistentVolumeClaim": {"claimName": "library", "subPath": name}},
        "link": {"mode": "Http", "publicBase": "http://openlist.lan:5244"},
    }
    api = "pantograph.dev/v1alpha1"
    return [
        {"apiVersion": api, "kind": "DataServer", "metadata": {"name": "openlist"}, "spec": server},
        {"apiVersion": api, "kind": "StrmSyncJob", "metadata": {"name": name}, "spec": job},
    ]


def status(stage: Stage) -> Body:
    body: Body = stage.get("strmsyncjob/movies").get("status", {})
    return body
