"""The port's promises, kept by every driver."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from pantograph.providers.errors import NotFound, ProviderError
from tests.contract.media.worlds import World

HOSTILE_NAMES = [
    "a b.mkv",
    "100%.mkv",
    "%41.mkv",
    "what?.mkv",
    "no #1.mkv",
    "a+b&c=d;e,f@g:h.mkv",
    'it\'s "quoted" <x>.mkv',
    "千と千尋.mkv",
    "é (NFC) e\u0301 (NFD).mkv",
    " leading and trailing .mkv ",
    "..hidden.mkv",
    "x" * 251 + ".mkv",
]


async def test_a_directory_is_listed_with_kinds_sizes_and_times_and_proved_whole(world: World) -> None:
    world.shelf.put("/Movies/Heat.mkv", b"12345")
    world.shelf.mkdir("/Movies/Extras")
    listing = await world.source.list("/Movies")
    assert listing.complete, listing.why
    found = {entry.name: entry for entry in listing.entries}
    assert set(found) == {"Heat.mkv", "Extras"}
    assert (found["Heat.mkv"].is_dir, found["Extras"].is_dir) == (False, True)
    assert found["Heat.mkv"].size_bytes == 5
    assert found["Heat.mkv"].path == "/Movies/Heat.mkv"
    modified = found["Heat.mkv"].modified
    assert modified is not None
    assert datetime(2024, 1, 1, tzinfo=UTC) < modified


async def test_the_root_is_listed(world: World) -> None:
    world.shelf.put("/a.mkv")
    world.shelf.mkdir("/b")
    listing = await world.source.list("/")
    assert listing.complete, listing.why
    assert sorted(entry.path for entry in listing.entries) == ["/a.mkv", "/b"]


async def test_an_empty_directory_is_whole_and_empty(world: World) -> None:
    world.shelf.mkdir("/Movies/Empty")
    listing = await world.source.list("/Movies/Empty")
    assert listing.complete, listing.why
    assert listing.entries == ()


async def test_a_missing_directory_is_not_found_and_never_empty(world: World) -> None:
    world.shelf.mkdir("/Movies")
    with pytest.raises(NotFound):
        await world.source.list("/Movies/Gone")


async def test_a_file_is_no_directory(world: World) -> None:
    world.shelf.put("/Movies/Heat.mkv")
    with pytest.raises(ProviderError):
        await world.source.list("/Movies/Heat.mkv")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_a_name_is_listed_found_and_read_as_it_is(world: World, name: str) -> None:
    world.shelf.put(f"/Movies/{name}", name.encode())
    listing = await world.source.list("/Movies")
    (entry,) = listing.entries
    assert entry.name == name
    assert (await world.source.stat(f"/Movies/{name}")).name == name
    assert b"".join([piece async for piece in world.source.read(entry)]) == name.encode()


async def test_a_hostile_directory_name_is_descended_into(world: World) -> None:
    world.shelf.put("/50% off? #1 & more/é/x.mkv")
    assert await world.names("/50% off? #1 & more") == ["é"]
    assert await world.names("/50% off? #1 & more/é") == ["x.mkv"]


async def test_two_thousand_entries_are_all_there(world: World) -> None:
    for number in range(2000):
        world.shelf.put(f"/Show/{number:04}.mkv")
    listing = await world.source.list("/Show")
    assert listing.complete, listing.why
    assert len({entry.name for entry in listing.entries}) == 2000


async def test_what_was_removed_is_no_longer_listed_and_not_found(world: World) -> None:
    world.shelf.put("/Movies/a.mkv")
    world.shelf.put("/Movies/b.mkv")
    assert await world.names("/Movies") == ["a.mkv", "b.mkv"]
    world.shelf.remove("/Movies/a.mkv")
    assert await world.names("/Movies") == ["b.mkv"]
    with pytest.raises(NotFound):
        await world.source.stat("/Movies/a.mkv")


async def test_a_directory_has_a_status_too(world: World) -> None:
    world.shelf.mkdir("/Movies/Extras")
    entry = await world.source.stat("/Movies/Extras")
    assert (entry.path, entry.is_dir) == ("/Movies/Extras", True)
    assert (await world.source.stat("/")).is_dir


async def test_a_working_source_says_that_it_can_be_used(world: World) -> None:
    info = await world.source.test_connection()
    assert info.logged_in
    assert info.product


async def test_every_source_can_prove_a_listing_whole(world: World) -> None:
    assert world.source.capabilities.proves_complete_listing


async def test_equal_fingerprints_are_of_equal_listings(world: World) -> None:
    world.shelf.put("/Movies/Heat.mkv", b"12345")
    before, again = await world.source.list("/Movies"), await world.source.list("/Movies")
    assert (again.entries, again.fingerprint) == (before.entries, before.fingerprint)
    seen = {before.fingerprint}
    shelf = world.shelf
    changes: list[Callable[[], None]] = [
        lambda: shelf.put("/Movies/Ronin.mkv"),
        lambda: shelf.put("/Movies/Heat.mkv", b"1234567"),
        lambda: shelf.remove("/Movies/Heat.mkv"),
        lambda: shelf.mkdir("/Movies/Extras"),
    ]
    for change in changes:
        change()
        fingerprint = (await world.source.list("/Movies")).fingerprint
        assert not fingerprint or fingerprint not in seen
        seen.add(fingerprint)
