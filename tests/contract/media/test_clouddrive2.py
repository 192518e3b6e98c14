"""CloudDrive2's own ways: streams that break off, a server that lost its cloud, and a watch that reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from clouddrive2_client.proto import clouddrive_pb2 as pb

from pantograph.clock import SystemClock
from pantograph.providers.errors import (
    Busy,
    MissingPrivilege,
    ProtocolError,
    ProviderError,
    Unauthorized,
    Unreachable,
)
from pantograph.providers.media import endless
from pantograph.providers.media.clouddrive2 import CloudDrive2
from pantograph.providers.media.links import Encoding, http_line
from pantograph.providers.media.port import Hint, HintKind
from tests.contract.media.test_every_source import HOSTILE_NAMES
from tests.contract.media.worlds import PASSWORD, USER, bucket, fetch, secret, settings
from tests.fakes.clouddrive2 import FakeCloudDrive2, Fault, serving
from tests.fakes.library import Library

PLACES = ("/", "/115/Movies", "/115/Movies/Heat")


class Hasty(SystemClock):
    """Does not wait between two attempts to reconnect."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)


@pytest.fixture
async def fake() -> AsyncIterator[FakeCloudDrive2]:
    library = Library()
    for number in range(40):
        library.put(f"/115/Movies/Heat/{number:02}.mkv")
    library.put("/115/Movies/Ronin/Ronin.mkv")
    library.put("/start.mkv")
    found = FakeCloudDrive2(library)
    async with serving(found):
        yield found


@pytest.fixture
async def source(fake: FakeCloudDrive2, tmp_path: Path) -> AsyncIterator[CloudDrive2]:
    found = CloudDrive2(settings(tmp_path, fake.base_url), bucket=bucket(), clock=Hasty())
    yield found
    await found.close()


RAISES: dict[Fault, type[ProviderError]] = {
    Fault.INTERNAL: Unreachable,
    Fault.BAN: Busy,
    Fault.EXHAUSTED: Busy,
    Fault.DENIED: MissingPrivilege,
    Fault.TOKEN_EXPIRED: Unauthorized,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", RAISES)
async def test_a_failed_stream_is_an_error_and_never_a_listing(
    fake: FakeCloudDrive2, source: CloudDrive2, fault: Fault, place: str
) -> None:
    fake.begin(fault, place)
    with pytest.raises(RAISES[fault]) as caught:
        await source.list(place)
    assert caught.value.message.startswith(f"DataServer media/server could not list {place}: ")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", [Fault.CUT, Fault.CANCELLED, Fault.HANG])
async def test_a_stream_that_breaks_off_gives_what_came_and_is_not_whole(
    fake: FakeCloudDrive2, tmp_path: Path, fault: Fault, place: str
) -> None:
    source = CloudDrive2(
        replace(settings(tmp_path, fake.base_url), list_timeout_s=1.0), bucket=bucket(), clock=SystemClock()
    )
    fake.begin(fault, place)
    listing = await source.list(place)
    assert not listing.complete
    assert listing.why.startswith("the stream broke off")
    assert listing.entries
    await source.close()


async def test_a_stream_without_end_is_given_up_and_never_whole(
    source: CloudDrive2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endless, "MAX_ENTRIES", 30)
    listing = await source.list("/115/Movies/Heat")
    assert not listing.complete
    assert "more than 30 entries in one directory" in listing.why


async def test_a_stream_that_breaks_off_before_anything_came_is_unreachable(
    fake: FakeCloudDrive2, source: CloudDrive2
) -> None:
    assert isinstance(fake.library, Library)
    fake.library.mkdir("/Empty")
    fake.begin(Fault.CUT, "/Empty")
    with pytest.raises(Unreachable):
        await source.list("/Empty")


async def test_the_listing_of_the_root_is_not_taken_for_another_directory(
    fake: FakeCloudDrive2, source: CloudDrive2
) -> None:
    fake.begin(Fault.ROOT_ECHO, "/115/Movies")
    with pytest.raises(ProtocolError, match="which is not in it"):
        await source.list("/115/Movies")


@pytest.mark.parametrize("lost", ["ready", "logged_in"])
async def test_a_server_that_has_lost_its_cloud_is_never_empty(
    fake: FakeCloudDrive2, source: CloudDrive2, lost: str
) -> None:
    await source.list("/115")
    # It answers on, for a while, as if nothing had ever been there.
    fake.begin(Fault.EMPTY)
    setattr(fake, lost, False)
    with pytest.raises(Unreachable) as caught:
        await source.list("/115/Movies")
    assert caught.value.reason == "ServerNotReady"


async def test_one_reply_may_be_larger_than_grpcs_own_limit(fake: FakeCloudDrive2, source: CloudDrive2) -> None:
    assert isinstance(fake.library, Library)
    for number in range(30_000):
        fake.library.put(f"/Big/{number:05}-{'x' * 60}.mkv", 1)
    fake.reply_size = 30_000
    listing = await source.list("/Big")
    assert listing.complete, listing.why
    assert len(listing.entries) == 30_000


async def test_a_restart_costs_one_login_however_many_ask_at_once(fake: FakeCloudDrive2, source: CloudDrive2) -> None:
    await source.list("/")
    fake.restart()
    listings = await asyncio.gather(*(source.list("/115/Movies") for _ in range(8)))
    assert all(listing.complete for listing in listings)
    assert fake.requests["GetToken"] == 2


async def test_a_refused_login_is_not_repeated_before_the_secret_changes(fake: FakeCloudDrive2, tmp_path: Path) -> None:
    stale = settings(tmp_path, fake.base_url, username=USER, password="old")
    source = CloudDrive2(stale, bucket=bucket(), clock=SystemClock())
    with pytest.raises(Unauthorized, match="invalid username or password"):
        await source.list("/")
    for _ in range(4):
        with pytest.raises(Unauthorized):
            await source.list("/")
    assert fake.requests["GetToken"] == 1
    secret(tmp_path / "secret", password=PASSWORD)
    assert (await source.list("/")).complete
    await source.close()


async def test_an_api_token_is_used_as_it_is_and_what_it_lacks_is_told(fake: FakeCloudDrive2, tmp_path: Path) -> None:
    fake.api_tokens["api-1"] = pb.TokenPermissions(allow_list=True, allow_read=True)
    source = CloudDrive2(settings(tmp_path, fake.base_url, token="api-1"), bucket=bucket(), clock=SystemClock())
    assert (await source.list("/")).complete
    info = await source.test_connection()
    assert (info.version, info.logged_in) == ("0.9.12", True)
    assert info.notes == ("the API token 'pantograph' lacks allow_push_message: it cannot be watched",)
    assert fake.requests["GetToken"] == 0
    await source.close()


async def test_a_server_that_does_not_listen_is_unreachable(tmp_path: Path) -> None:
    source = CloudDrive2(settings(tmp_path, "http://127.0.0.1:9"), bucket=bucket(), clock=SystemClock())
    with pytest.raises(Unreachable) as caught:
        await source.list("/")
    expected = "DataServer media/server could not say whether it is ready: it does not answer at http://127.0.0.1:9"
    assert caught.value.message == f"{expected} (nobody listens there)"
    await source.close()


async def test_an_address_where_something_else_answers_is_told_with_the_remedy(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        source = CloudDrive2(settings(tmp_path, endpoint), bucket=bucket(), clock=SystemClock())
        with pytest.raises(Unreachable, match="what answers there is not gRPC") as caught:
            await source.list("/")
        assert caught.value.remedy is not None
        assert f"see that {endpoint} is CloudDrive2 itself" in caught.value.remedy
        await source.close()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_a_link_plays_as_it_is_written(fake: FakeCloudDrive2, source: CloudDrive2, name: str) -> None:
    assert isinstance(fake.library, Library)
    fake.library.put(f"/Names/{name}", b"film")
    (entry,) = (await source.list("/Names")).entries
    assert await fetch(http_line(source.link(entry), encoding=Encoding.PATH)) == b"film"


async def test_changes_are_heard_and_a_rename_is_two_of_them(fake: FakeCloudDrive2, source: CloudDrive2) -> None:
    watch = source.watch("/115")
    assert (await anext(watch)).kind is HintKind.RESCAN
    fake.push("CREATE", "/elsewhere/x.mkv")
    fake.push("CREATE", "/115/new.mkv")
    fake.push("DELETE", "/115/Movies/Ronin", is_dir=True)
    fake.push("RENAME", "/115/old.mkv", new_path="/115/newer.mkv")
    heard = [await anext(watch) for _ in range(4)]
    assert [(hint.kind, hint.path, hint.is_dir) for hint in heard] == [
        (HintKind.CHANGED, "/115/new.mkv", False),
        (HintKind.DELETED, "/115/Movies/Ronin", True),
        (HintKind.DELETED, "/115/old.mkv", False),
        (HintKind.CHANGED, "/115/newer.mkv", False),
    ]
    await close(watch)


@pytest.mark.parametrize("how", ["ended", "cut", "restarted"])
async def test_every_reconnect_of_the_watch_is_followed_by_a_rescan(
    fake: FakeCloudDrive2, source: CloudDrive2, how: str
) -> None:
    watch = source.watch("/115")
    assert (await anext(watch)).kind is HintKind.RESCAN
    if how == "cut":
        assert fake.front is not None
        fake.front.cut()
    elif how == "ended":
        fake.drop_watchers()
    else:
        fake.restart()
    heard = [await anext(watch)]
    while heard[-1].kind is not HintKind.RESCAN:
        heard.append(await anext(watch))
    assert {hint.kind for hint in heard[:-1]} == {HintKind.LOST}
    fake.push("CREATE", "/115/new.mkv")
    assert await anext(watch) == Hint(HintKind.CHANGED, "/115/new.mkv", is_dir=False)
    await close(watch)


async def test_a_watch_without_valid_credentials_ends_with_that(fake: FakeCloudDrive2, tmp_path: Path) -> None:
    source = CloudDrive2(settings(tmp_path, fake.base_url, token="revoked"), bucket=bucket(), clock=Hasty())
    with pytest.raises(Unauthorized):
        await anext(source.watch("/"))
    await source.close()


async def close(watch: AsyncIterator[Hint]) -> None:
    assert isinstance(watch, AsyncGenerator)
    await watch.aclose()
