"""WebDAV's own ways to answer less than everything; a real server never shows them, so they are scripted."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from pantograph.clock import SystemClock
from pantograph.providers.errors import Busy, NotFound, ProtocolError, ProviderError, Unauthorized, Unreachable
from pantograph.providers.media import endless
from pantograph.providers.media.links import Encoding, http_line
from pantograph.providers.media.webdav import WebDav
from tests.contract.media.test_every_source import HOSTILE_NAMES
from tests.contract.media.worlds import PASSWORD, USER, Rclone, bucket, fetch, settings
from tests.fakes.openlist.faults import BAN_PAGE
from tests.fakes.webdav import ScriptedWebDav, multistatus, refused, response, scripted_webdav

PLACES = ("/", "/Movies", "/Movies/Heat")


@pytest.fixture
async def fake() -> AsyncIterator[ScriptedWebDav]:
    async with scripted_webdav() as found:
        yield found


@pytest.fixture
async def source(fake: ScriptedWebDav, tmp_path: Path) -> AsyncIterator[WebDav]:
    guest = replace(settings(tmp_path, f"{fake.base_url}/dav"), credentials=None)
    found = WebDav(guest, bucket=bucket(), clock=SystemClock())
    yield found
    await found.close()


def asked(place: str) -> str:
    """How a directory is addressed."""
    return "/dav/" if place == "/" else f"/dav{place}/"


def whole(place: str, *names: str) -> str:
    base = asked(place).rstrip("/")
    return multistatus(response(f"{base}/", is_dir=True), *(response(f"{base}/{name}") for name in names))


@pytest.mark.parametrize("place", PLACES)
async def test_a_whole_document_is_a_whole_directory(fake: ScriptedWebDav, source: WebDav, place: str) -> None:
    fake.answer(asked(place), whole(place, "a.mkv", "b.mkv"))
    listing = await source.list(place)
    assert listing.complete, listing.why
    assert [entry.name for entry in listing.entries] == ["a.mkv", "b.mkv"]
    assert fake.asked == [(asked(place), "1")]


async def test_a_directory_without_end_is_given_up_and_never_whole(
    fake: ScriptedWebDav, source: WebDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endless, "MAX_ENTRIES", 3)
    fake.answer(asked("/115"), whole("/115", *(f"{number}.mkv" for number in range(9))))
    listing = await source.list("/115")
    assert not listing.complete
    assert "more than 3 entries in one directory" in listing.why


@pytest.mark.parametrize("place", PLACES)
async def test_a_document_that_breaks_off_is_not_whole(fake: ScriptedWebDav, source: WebDav, place: str) -> None:
    fake.answer(asked(place), whole(place, "a.mkv", "b.mkv", "c.mkv"))
    fake.cut.add(asked(place))
    listing = await source.list(place)
    assert not listing.complete
    names = [entry.name for entry in listing.entries]
    assert names[:1] == ["a.mkv"]
    assert "c.mkv" not in names


async def test_a_document_without_its_end_is_not_whole_though_the_answer_is(
    fake: ScriptedWebDav, source: WebDav
) -> None:
    fake.answer("/dav/Movies/", whole("/Movies", "a.mkv").removesuffix("</D:multistatus>"))
    listing = await source.list("/Movies")
    assert (len(listing.entries), listing.complete) == (1, False)
    assert "XML that is not whole" in listing.why


async def test_an_entry_that_the_server_could_not_look_at_makes_it_partial(
    fake: ScriptedWebDav, source: WebDav
) -> None:
    text = multistatus(response("/dav/Movies/", is_dir=True), refused("/dav/Movies/a.mkv", "HTTP/1.1 403 Forbidden"))
    fake.answer("/dav/Movies/", text)
    listing = await source.list("/Movies")
    assert (listing.complete, listing.why) == (False, "a.mkv answered HTTP/1.1 403 Forbidden")


UNTOLD = "HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_directory_that_is_refused_and_told_at_once_is_not_whole(
    fake: ScriptedWebDav, source: WebDav, is_first: bool
) -> None:
    own = [refused("/dav/Movies/", "HTTP/1.1 507 Insufficient Storage"), response("/dav/Movies/", is_dir=True)]
    fake.answer("/dav/Movies/", multistatus(*(own if is_first else own[::-1]), response("/dav/Movies/a.mkv")))
    listing = await source.list("/Movies")
    assert (listing.complete, len(listing.entries)) == (False, 1)
    assert "507 Insufficient Storage" in listing.why


async def test_an_entry_without_properties_is_no_file_and_makes_it_partial(
    fake: ScriptedWebDav, source: WebDav
) -> None:
    """Whether it is a directory, with all that lies below it, nobody was told."""
    text = multistatus(response("/dav/Movies/", is_dir=True), response("/dav/Movies/Heat.mkv", status=UNTOLD))
    fake.answer("/dav/Movies/", text)
    listing = await source.list("/Movies")
    assert (listing.complete, listing.entries) == (False, ())
    assert listing.why == "Heat.mkv answered without properties"


async def test_a_status_without_properties_is_none(fake: ScriptedWebDav, source: WebDav) -> None:
    fake.answer("/dav/Movies/Heat.mkv", multistatus(response("/dav/Movies/Heat.mkv", status=UNTOLD)))
    with pytest.raises(NotFound):
        await source.stat("/Movies/Heat.mkv")


async def test_a_directory_without_properties_is_not_whole(fake: ScriptedWebDav, source: WebDav) -> None:
    fake.answer("/dav/Movies/", multistatus(response("/dav/Movies/", status=UNTOLD), response("/dav/Movies/a.mkv")))
    assert not (await source.list("/Movies")).complete


async def test_an_answer_without_the_directory_itself_is_not_whole(fake: ScriptedWebDav, source: WebDav) -> None:
    fake.answer("/dav/Movies/", multistatus(response("/dav/Movies/a.mkv")))
    assert not (await source.list("/Movies")).complete
    fake.answer("/dav/Movies/", multistatus())
    assert not (await source.list("/Movies")).complete


@pytest.mark.parametrize("place", PLACES[1:])
async def test_the_root_is_not_taken_for_another_directory(fake: ScriptedWebDav, source: WebDav, place: str) -> None:
    fake.answer(asked(place), whole("/", "a.mkv"))
    with pytest.raises(ProtocolError, match="which is not in it"):
        await source.list(place)


@pytest.mark.parametrize(
    ("status", "text", "headers", "error"),
    [
        (200, BAN_PAGE, {}, Busy),
        (405, BAN_PAGE, {}, Busy),
        (429, "", {"Retry-After": "90"}, Busy),
        (503, "", {"Retry-After": "90"}, Busy),
        (200, "hello", {}, ProtocolError),
        (405, "", {"Allow": "GET, HEAD"}, ProtocolError),
        (301, "", {"Location": "/login"}, ProtocolError),
        (401, "", {}, Unauthorized),
        (404, "", {}, NotFound),
        (500, "", {}, Unreachable),
        (207, "<html/>", {}, ProtocolError),
        (207, '<!DOCTYPE x [<!ENTITY a "b">]><x/>', {}, ProtocolError),
        (207, "", {}, ProtocolError),
    ],
)
async def test_what_is_no_listing_is_an_error(
    fake: ScriptedWebDav, source: WebDav, status: int, text: str, headers: dict[str, str], error: type[ProviderError]
) -> None:
    fake.answer("/dav/Movies/", text, status=status, headers=headers)
    with pytest.raises(error) as caught:
        await source.list("/Movies")
    if "Retry-After" in headers:
        assert isinstance(caught.value, Busy)
        assert caught.value.retry_after_s is not None
        assert 90 <= caught.value.retry_after_s <= 99


async def test_names_that_nobody_can_address_are_left_out_and_told(fake: ScriptedWebDav, source: WebDav) -> None:
    hostile = "".join(
        f"<D:response><D:href>/dav/Movies/{name}</D:href></D:response>" for name in ("%2E%2E", "a%2Fb", "%FF", "%00")
    )
    fake.answer("/dav/Movies/", multistatus(response("/dav/Movies/", is_dir=True), hostile))
    listing = await source.list("/Movies")
    assert listing.entries == ()
    assert [skipped.why for skipped in listing.skipped] == [
        "not the name of an entry",
        "holds a slash",
        "is not UTF-8",
        "holds a NUL",
    ]


async def test_wrong_credentials_are_refused_by_a_real_server(rclone: Rclone, tmp_path: Path) -> None:
    wrong = settings(tmp_path, rclone.address, username=USER, password="wrong")
    source = WebDav(wrong, bucket=bucket(), clock=SystemClock())
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await source.list("/")
    await source.close()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_a_link_to_a_real_server_plays_as_it_is_written(rclone: Rclone, tmp_path: Path, name: str) -> None:
    async with rclone.world(tmp_path) as world:
        world.shelf.put(f"/Movies/{name}", b"film")
        (entry,) = (await world.source.list("/Movies")).entries
        line = http_line(world.source.link(entry), encoding=Encoding.PATH)
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        assert await fetch(line, Authorization=f"Basic {basic}") == b"film"
