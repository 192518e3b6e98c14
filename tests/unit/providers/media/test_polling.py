"""Two looks at a tree tell what came, changed and went between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

import pytest

from pantograph.clock import SystemClock
from pantograph.providers.errors import NotFound, ProviderError, Unreachable
from pantograph.providers.media import polling
from pantograph.providers.media.polling import poll_tree
from pantograph.providers.media.port import Entry, Hint, HintKind, Listing


@dataclass(slots=True)
class Tree:
    """Directories by path, each with its names: a size, or None for a directory."""

    directories: dict[str, dict[str, int | None]]
    faults: dict[str, ProviderError] = field(default_factory=dict)

    async def list(self, path: str) -> Listing:
        if path in self.faults:
            raise self.faults[path]
        if path not in self.directories:
            raise NotFound(path)
        entries = [Entry(name, path, size is None, size) for name, size in self.directories[path].items()]
        return Listing(path, tuple(entries), complete=True, why="")


@pytest.fixture
def tree() -> Tree:
    return Tree({"/": {"Movies": None, "a.mkv": 1}, "/Movies": {"Heat.mkv": 1, "Heat.nfo": 1}})


@pytest.fixture
async def watch(tree: Tree) -> AsyncIterator[AsyncGenerator[Hint, None]]:
    hints = poll_tree(tree.list, "/", clock=SystemClock(), interval_s=0)
    assert isinstance(hints, AsyncGenerator)
    assert await anext(hints) == Hint(HintKind.RESCAN, "/", is_dir=True)
    yield hints
    await hints.aclose()


async def test_what_came_changed_and_went_is_told_and_a_new_directory_once(
    tree: Tree, watch: AsyncGenerator[Hint, None]
) -> None:
    tree.directories |= {"/": {"Movies": None, "Shows": None}, "/Shows": {"Lost": None}, "/Shows/Lost": {"1.mkv": 1}}
    tree.directories["/Movies"] = {"Heat.mkv": 2, "Heat.nfo": 1}
    assert [await anext(watch) for _ in range(3)] == [
        Hint(HintKind.CHANGED, "/Shows", is_dir=True),
        Hint(HintKind.DELETED, "/a.mkv", is_dir=False),
        Hint(HintKind.CHANGED, "/Movies/Heat.mkv", is_dir=False),
    ]
    del tree.directories["/Shows/Lost"]["1.mkv"]
    assert await anext(watch) == Hint(HintKind.DELETED, "/Shows/Lost/1.mkv", is_dir=False)


async def test_a_directory_that_cannot_be_read_is_as_it_was(tree: Tree, watch: AsyncGenerator[Hint, None]) -> None:
    tree.faults["/Movies"] = Unreachable("Permission denied")
    tree.directories["/"]["b.mkv"] = 1
    assert await anext(watch) == Hint(HintKind.CHANGED, "/b.mkv", is_dir=False)
    del tree.faults["/Movies"], tree.directories["/"]["b.mkv"]
    assert await anext(watch) == Hint(HintKind.DELETED, "/b.mkv", is_dir=False)


async def test_a_mount_that_is_gone_is_no_tree_without_files(tree: Tree, watch: AsyncGenerator[Hint, None]) -> None:
    tree.faults["/Movies"] = Unreachable("not there", reason="MountMissing")
    with pytest.raises(Unreachable, match="not there"):
        await anext(watch)


async def test_a_flood_of_changes_is_one_rescan(
    tree: Tree, watch: AsyncGenerator[Hint, None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "FLOOD", 1)
    tree.directories["/Movies"] = {}
    assert await anext(watch) == Hint(HintKind.RESCAN, "/", is_dir=True)


async def test_a_root_that_is_gone_is_told_as_such_since_another_may_come(
    tree: Tree, watch: AsyncGenerator[Hint, None]
) -> None:
    del tree.directories["/"]
    with pytest.raises(NotFound):
        await anext(watch)


async def test_what_lies_in_a_directory_that_was_gone_at_one_look_is_told_at_the_next(
    tree: Tree, watch: AsyncGenerator[Hint, None]
) -> None:
    movies = tree.directories.pop("/Movies")
    gone = [await anext(watch), await anext(watch)]
    assert {hint.path for hint in gone} == {"/Movies/Heat.mkv", "/Movies/Heat.nfo"}
    tree.directories["/Movies"] = movies
    assert (await anext(watch)).kind is HintKind.CHANGED
