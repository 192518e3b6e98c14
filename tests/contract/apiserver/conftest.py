"""Gives every test of the suite two servers in turn: the in-memory one, and the real one through our own client."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from hack.controlplane.controlplane import ControlPlane
from pantograph.clock import SystemClock
from pantograph.engine.client import KubeClient
from pantograph.engine.kube import KubeApi, WatchSource
from pantograph.engine.login import log_in
from pantograph.engine.metrics import Metrics
from pantograph.engine.watch import KopfWatch
from tests.contract.apiserver.widget import CRD
from tests.fakes.apiserver import ApiServer

NAMESPACES = 300
"""More than the suite has tests: they are made at once, as one by one takes longer than the tests."""
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Subject:
    """One server: its verbs and its watches."""

    api: KubeApi
    watch: WatchSource


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """A kubeconfig of a real control plane that knows the Widget and has a namespace for every test."""
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"contract-{number}"}}
        for number in range(1, NAMESPACES + 1)
    ]
    with ControlPlane() as plane:
        plane.kubectl("create", "-f", "-", stdin="\n".join(json.dumps(body) for body in (CRD, *spaces)))
        plane.kubectl("wait", "--for=condition=Established", f"crd/{CRD['metadata']['name']}")
        yield plane.kubeconfig


@pytest.fixture(params=["in-memory", "real"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "in-memory":
        server = ApiServer(clock=SystemClock(), rng=random.Random(1), crds=[CRD])
        yield Subject(server, server)
        return
    login = await log_in(request.getfixturevalue("kubeconfig"))
    client = KubeClient(login, metrics=Metrics())
    yield Subject(client, KopfWatch(login))
    await client.close()


@pytest.fixture
def api(subject: Subject) -> KubeApi:
    return subject.api


@pytest.fixture
def watch(subject: Subject) -> WatchSource:
    return subject.watch


@pytest.fixture
def namespace() -> str:
    """A namespace of this test alone."""
    return f"contract-{next(_numbers)}"


@pytest.fixture
def other_namespace() -> str:
    """A second one."""
    return f"contract-{next(_numbers)}"
