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
from pantograph.api.meta import ResourceType
from pantograph.clock import SystemClock
from pantograph.engine.client import KubeClient
from pantograph.engine.kube import KubeApi, WatchSource
from pantograph.engine.login import log_in
from pantograph.engine.metrics import Metrics
from pantograph.engine.watch import KopfWatch
from tests.contract.apiserver.widget import CRD
from tests.fakes.apiserver import ApiServer

NAMESPACE = ResourceType("", "v1", "namespaces", "Namespace", namespaced=False)
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Subject:
    """One server: its verbs and its watches, and whether namespaces must be made there."""

    api: KubeApi
    watch: WatchSource
    has_namespaces: bool

    async def new_namespace(self) -> str:
        name = f"contract-{next(_numbers)}"
        if self.has_namespaces:
            await self.api.create(NAMESPACE, "", {"metadata": {"name": name}})
        return name

    async def end_namespace(self, name: str) -> None:
        """Delete it, as people do; it goes when all that is in it has gone."""
        if isinstance(self.api, ApiServer):
            self.api.terminate_namespace(name)
        else:
            await self.api.delete(NAMESPACE, "", name)


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """A kubeconfig of a real control plane that knows the Widget."""
    with ControlPlane() as plane:
        plane.kubectl("create", "-f", "-", stdin=json.dumps(CRD))
        plane.kubectl("wait", "--for=condition=Established", f"crd/{CRD['metadata']['name']}")
        yield plane.kubeconfig


@pytest.fixture(params=["in-memory", "real"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "in-memory":
        server = ApiServer(clock=SystemClock(), rng=random.Random(1), crds=[CRD])
        yield Subject(server, server, has_namespaces=False)
        return
    login = await log_in(request.getfixturevalue("kubeconfig"))
    client = KubeClient(login, metrics=Metrics())
    yield Subject(client, KopfWatch(login), has_namespaces=True)
    await client.close()


@pytest.fixture
def api(subject: Subject) -> KubeApi:
    return subject.api


@pytest.fixture
def watch(subject: Subject) -> WatchSource:
    return subject.watch


@pytest.fixture
async def namespace(subject: Subject) -> str:
    """A namespace of this test alone."""
    return await subject.new_namespace()


@pytest.fixture
async def other_namespace(subject: Subject) -> str:
    """A second one."""
    return await subject.new_namespace()
