"""Hands each test the worlds it is written for: `world` is every one, `sim` the simulator's two faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from pantograph.providers.proxmox.settings import ConnectionSettings
from tests.contract.proxmox import world as worlds
from tests.contract.proxmox.fakepve import NOT_MODELLED
from tests.contract.proxmox.world import SimulatedWorld, World
from tests.fakes.certificates import Certificate, self_signed

FACES = ("in-process", "http")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames and "sim" not in metafunc.fixturenames:
        referee = () if metafunc.function.__name__ in NOT_MODELLED else ("fakepve",)
        metafunc.parametrize("world", [*FACES, *referee], indirect=True)
    if "sim" in metafunc.fixturenames:
        metafunc.parametrize("sim", FACES, indirect=True)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("pve-ssl"))


@pytest.fixture
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[SimulatedWorld]:
    async with worlds.simulated(request.param) as opened:
        yield opened


@pytest.fixture(scope="session")
def fakepve_settings(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConnectionSettings]:
    with worlds.fakepve_process(tmp_path_factory.mktemp("fakepve"), certificate) as settings:
        yield settings


@pytest.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fakepve":
        async with worlds.fakepve(request.getfixturevalue("fakepve_settings")) as opened:
            yield opened
    else:
        async with worlds.simulated(request.param) as simulated:
            yield simulated.world
