"""A depot in a directory of its own, beside an origin on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from pantograph.clock import SystemClock
from pantograph.depot import Depot, DepotError, DepotSettings, FetchPolicy, FetchRequest, FetchState, Image, Patience
from tests.fakes.origin import Origin, running_origin

KEY = b"a signing key of the tests"
QUICK = Patience(connect_s=5, stall_s=0.3, retries=3, backoff_s=0.001, backoff_max_s=0.002)
SETTINGS = DepotSettings(patience=QUICK, policy=FetchPolicy(allow_loopback=True))


@dataclass(slots=True)
class Lab:
    """What a scenario of the depot needs."""

    origin: Origin
    root: Path
    stack: AsyncExitStack

    async def depot(self, **changes: object) -> Depot:
        """A started depot in the lab's directory; a second one is the first after a restart."""
        depot = Depot(
            self.root,
            signing_key=KEY,
            clock=SystemClock(),
            random=Random(1),
            settings=replace(SETTINGS, **changes),  # type: ignore[arg-type]
        )
        await depot.start()
        self.stack.push_async_callback(depot.close)
        return depot


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack, running_origin() as origin:
        yield Lab(origin, tmp_path / "depot", stack)
        await stack.aclose()


OWNER = "default/debian"
EVER = datetime.fromtimestamp(0, UTC)
"""Since when an image that was fetched at any time counts."""


def begun(depot: Depot, request: FetchRequest, *, owner: str = OWNER) -> FetchState:
    """`owner` wishes for it now."""
    return depot.begin(request, owner=owner, since=datetime.now(UTC))


async def fetched(depot: Depot, request: FetchRequest, *, owner: str = OWNER) -> Image:
    """The image that `request` brings to who wishes for it now, or the error of it raised."""
    since = datetime.now(UTC)
    depot.begin(request, owner=owner, since=since)
    state = await depot.finished(request, since=since)
    assert state is not None
    if state.error is not None:
        raise state.error
    assert state.image is not None
    return state.image


async def failure(depot: Depot, request: FetchRequest) -> DepotError:
    """The error that `request` ends with."""
    with pytest.raises(DepotError) as caught:
        await fetched(depot, request)
    return caught.value


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def files_of(root: Path) -> list[str]:
    """Every file of a depot but its pins."""
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "pins.json"
    )
