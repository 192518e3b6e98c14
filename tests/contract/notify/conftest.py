"""The receivers of every test here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.receivers import Receivers, receiving


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with receiving() as fake:
        yield fake
