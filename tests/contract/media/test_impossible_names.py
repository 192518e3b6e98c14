"""Names that no directory can hold, from servers that say so: left out, told with the reason, and nothing else lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pantograph.clock import SystemClock
from pantograph.providers.media.clouddrive2 import CloudDrive2
from pantograph.providers.media.openlist import OpenList
from pantograph.providers.media.port import MediaSource
from tests.contract.media.worlds import PASSWORD, USER, bucket, settings
from tests.fakes import clouddrive2, openlist
from tests.fakes.library import Library, Node
from tests.fakes.openlist.accounts import User

REASONS = {
    "": "not the name of an entry",
    ".": "not the name of an entry",
    "..": "not the name of an entry",
    "a/b.mkv": "holds a slash",
    "/etc/passwd": "holds a slash",
    "nul\0.mkv": "holds a NUL",
}
BACKSLASH = "..\\back\\slash.mkv"
"""OpenList would take it for a path; CloudDrive2 does not, and a file may be called so."""


class Forged(Library):
    """Says of `/Movies` that it holds such names, too: films, and directories that lead elsewhere."""

    def children(self, path: str) -> list[Node] | None:
        found = super().children(path)
        if found is None or path != "/Movies":
            return found
        forged = [Node(name, not name.endswith(".mkv"), len(name)) for name in (*REASONS, BACKSLASH)]
        return [*forged[:3], *found, *forged[3:]]


@pytest.fixture
def library() -> Forged:
    forged = Forged()
    forged.put("/Movies/Heat.mkv")
    forged.put("/Movies/Extras/Making of.mkv")
    return forged


@asynccontextmanager
async def openlist_of(library: Library, tmp_path: Path) -> AsyncIterator[MediaSource]:
    fake = openlist.FakeOpenList(library)
    fake.accounts.add(User(USER, PASSWORD))
    async with openlist.serving(fake):
        source = OpenList(settings(tmp_path, fake.base_url), bucket=bucket(), clock=SystemClock())
        yield source
        await source.close()


@asynccontextmanager
async def clouddrive2_of(library: Library, tmp_path: Path) -> AsyncIterator[MediaSource]:
    fake = clouddrive2.FakeCloudDrive2(library)
    async with clouddrive2.serving(fake):
        source = CloudDrive2(settings(tmp_path, fake.base_url), bucket=bucket(), clock=SystemClock())
        yield source
        await source.close()


async def test_openlist_leaves_out_what_it_cannot_be_asked_for_and_tells_why(library: Forged, tmp_path: Path) -> None:
    async with openlist_of(library, tmp_path) as source:
        listing = await source.list("/Movies")
    assert listing.complete, listing.why
    assert [entry.name for entry in listing.entries] == ["Heat.mkv", "Extras"]
    reasons = REASONS | {BACKSLASH: "OpenList takes a backslash for a slash"}
    assert {skipped.name: skipped.why for skipped in listing.skipped} == reasons


async def test_clouddrive2_leaves_out_what_it_cannot_be_asked_for_and_tells_why(
    library: Forged, tmp_path: Path
) -> None:
    async with clouddrive2_of(library, tmp_path) as source:
        listing = await source.list("/Movies")
    assert listing.complete, listing.why
    assert [entry.name for entry in listing.entries] == ["Heat.mkv", "Extras", BACKSLASH]
    assert {skipped.name: skipped.why for skipped in listing.skipped} == REASONS
