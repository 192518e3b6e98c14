"""Gives every test of the suite a server: the in-memory one, then the real one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from itertools import count

import pytest

from pantograph.clock import SystemClock
from pantograph.engine.kube import KubeApi, WatchSource
from tests.contract.apiserver.widget import CRD
from tests.fakes.apiserver import ApiServer

_numbers = count(1)


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(clock=SystemClock(), rng=random.Random(1), crds=[CRD])


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[KubeApi]:
    yield server


@pytest.fixture
def watch(server: ApiServer) -> WatchSource:
    return server


@pytest.fixture
def namespace() -> str:
    return f"contract-{next(_numbers)}"


@pytest.fixture
def other_namespace() -> str:
    return f"contract-{next(_numbers)}"
