"""Hands a test that asks for `world` one of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.media import worlds
from tests.contract.media.worlds import Rclone, World

_OPENERS = {
    "openlist": worlds.openlist_world,
    "clouddrive2": worlds.clouddrive2_world,
    "local": worlds.local_world,
}


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    with worlds.rclone_webdav(tmp_path_factory.mktemp("rclone")) as running:
        yield running


@pytest.fixture(params=[*_OPENERS, "rclone-webdav"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    opener = _OPENERS.get(request.param) or request.getfixturevalue("rclone").world
    async with opener(tmp_path) as opened:
        yield opened
