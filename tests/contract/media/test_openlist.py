"""OpenList's own ways: codes inside successes, sessions that end, pages, bans, and links that must be signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pantograph.clock import SystemClock
from pantograph.providers.errors import (
    Busy,
    MissingPrivilege,
    ProtocolError,
    ProviderError,
    Rejected,
    Unauthorized,
    Unreachable,
)
from pantograph.providers.media.bucket import UPSTREAM_FAILED
from pantograph.providers.media.links import Encoding, http_line
from pantograph.providers.media.openlist import OpenList
from pantograph.providers.media.port import Listing, SignMode, Unread
from tests.contract.media.test_every_source import HOSTILE_NAMES
from tests.contract.media.worlds import PASSWORD, USER, bucket, fetch, secret, settings
from tests.fakes.library import Library
from tests.fakes.openlist import FakeOpenList, Fault, serving
from tests.fakes.openlist.accounts import User
from tests.simulation.strm.bench import HandClock
from tests.unit.providers.clocks import ManualClock

PLACES = ("/", "/115/Movies", "/115/Movies/Heat")


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenList]:
    library = Library()
    for number in range(40):
        library.put(f"/115/Movies/Heat/{number:02}.mkv")
    library.put("/115/Movies/Ronin/Ronin.mkv")
    library.put("/115/Movies/readme.txt")
    library.put("/start.mkv")
    library.mkdir("/115/Movies/cloud")
    found = FakeOpenList(library)
    found.mounts = {"/115", "/115/Movies/cloud"}
    found.accounts.add(User(USER, PASSWORD))
    async with serving(found):
        yield found


@pytest.fixture
async def source(fake: FakeOpenList, tmp_path: Path) -> AsyncIterator[OpenList]:
    found = OpenList(settings(tmp_path, fake.base_url), bucket=bucket(), clock=SystemClock())
    yield found
    await found.close()


def library_of(fake: FakeOpenList) -> Library:
    assert isinstance(fake.library, Library)
    return fake.library


async def outcome(source: OpenList, path: str) -> Listing | ProviderError:
    try:
        return await source.list(path)
    except ProviderError as error:
        return error


RAISES: dict[Fault, type[ProviderError]] = {
    Fault.ERROR_500: Unreachable,
    Fault.STORAGE_GONE: Unreachable,
    Fault.BAN_IN_MESSAGE: Busy,
    Fault.BAN_PAGE: Busy,
    Fault.STATUS_405: Busy,
    Fault.STATUS_429: Busy,
    Fault.STATUS_502: Unreachable,
    Fault.FORBIDDEN: MissingPrivilege,
    Fault.CODE_ZERO: ProtocolError,
    Fault.NO_CONTENT_KEY: ProtocolError,
    Fault.NULL_DATA: ProtocolError,
    Fault.WRONG_TYPES: ProtocolError,
    Fault.CUT: Unreachable,
    Fault.TOKEN_EXPIRED: Unauthorized,
}
PARTIAL = (Fault.SHORT_PAGE, Fault.TOTAL_TOO_HIGH, Fault.TOTAL_CHANGES)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", RAISES)
async def test_a_failed_answer_is_an_error_and_never_a_listing(
    fake: FakeOpenList, source: OpenList, fault: Fault, place: str
) -> None:
    fake.faults.begin(fault, place)
    result = await outcome(source, place)
    assert isinstance(result, RAISES[fault]), result


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", PARTIAL)
async def test_a_partial_answer_is_never_called_whole(
    fake: FakeOpenList, source: OpenList, fault: Fault, place: str
) -> None:
    fake.faults.begin(fault, place)
    listing = await source.list(place)
    assert not listing.complete
    assert listing.why


@pytest.mark.parametrize("place", PLACES)
async def test_after_a_fault_the_same_directory_is_whole_again(
    fake: FakeOpenList, source: OpenList, place: str
) -> None:
    fake.faults.begin(Fault.ERROR_500, place, times=1)
    assert isinstance(await outcome(source, place), Unreachable)
    listing = await source.list(place)
    assert listing.complete, listing.why


async def test_a_directory_of_which_only_mounted_storages_came_is_not_whole_and_says_so(
    fake: FakeOpenList, source: OpenList
) -> None:
    fake.faults.begin(Fault.MOUNTS_ONLY, "/115/Movies")
    listing = await source.list("/115/Movies")
    assert (listing.complete, listing.mounts_only) == (False, True)
    assert [entry.name for entry in listing.entries] == ["cloud"]


async def test_a_directory_with_a_mount_beside_its_own_entries_is_whole(source: OpenList) -> None:
    listing = await source.list("/115/Movies")
    assert (listing.complete, listing.mounts_only) == (True, False)
    assert [entry.name for entry in listing.entries if entry.is_mount] == ["cloud"]


@pytest.mark.parametrize("place", PLACES[1:])
async def test_the_listing_of_an_ancestor_is_not_taken_for_another_directory(
    fake: FakeOpenList, source: OpenList, place: str
) -> None:
    await source.list("/")
    fake.faults.begin(Fault.ROOT_ECHO, place)
    with pytest.raises(ProtocolError, match="with the listing of /"):
        await source.list(place)


async def test_a_server_that_hangs_is_unreachable_when_its_time_is_up(fake: FakeOpenList, tmp_path: Path) -> None:
    hasty = replace(settings(tmp_path, fake.base_url), list_timeout_s=0.3)
    source = OpenList(hasty, bucket=bucket(), clock=SystemClock())
    await source.list("/")
    fake.faults.begin(Fault.HANG, "/115")
    with pytest.raises(Unreachable, match="no whole answer in time"):
        await source.list("/115")
    await source.close()


@pytest.mark.parametrize("cap", [1, 7, 39])
async def test_a_server_that_caps_its_pages_is_read_to_the_end(fake: FakeOpenList, source: OpenList, cap: int) -> None:
    fake.page_cap = cap
    listing = await source.list("/115/Movies/Heat")
    assert listing.complete, listing.why
    assert len({entry.name for entry in listing.entries}) == 40


async def test_one_question_a_directory_when_nothing_is_wrong(fake: FakeOpenList, source: OpenList) -> None:
    for place in ("/", "/115", "/115/Movies", "/115/Movies/Heat"):
        await source.list(place)
    assert fake.requests == {"login": 1, "me": 1, "list": 4}


async def test_an_answer_that_is_known_is_not_read_and_can_be(source: OpenList) -> None:
    listing = await source.list("/115/Movies/Heat")
    answer = await source.list_unless_known("/115/Movies/Heat", listing.fingerprint)
    assert isinstance(answer, Unread)
    assert (answer.path, answer.fingerprint) == (listing.path, listing.fingerprint)
    assert answer.read() == listing
    assert answer.most_entries >= len(listing.entries)


async def test_an_answer_that_differs_from_the_known_one_is_read(fake: FakeOpenList, source: OpenList) -> None:
    known = (await source.list("/115/Movies/Heat")).fingerprint
    assert await source.list_unless_known("/115/Movies/Heat", b"") == await source.list("/115/Movies/Heat")
    library_of(fake).put("/115/Movies/Heat/new.mkv")
    assert await source.list_unless_known("/115/Movies/Heat", known) == await source.list("/115/Movies/Heat")


async def test_an_answer_that_holds_directories_is_read_though_it_is_known(
    fake: FakeOpenList, source: OpenList
) -> None:  # fmt: skip
    library_of(fake).put("/115/Movies/Ronin/Extras/trailer.mkv")
    listing = await source.list("/115/Movies/Ronin")
    assert await source.list_unless_known("/115/Movies/Ronin", listing.fingerprint) == listing


@pytest.mark.parametrize("fault", RAISES)
async def test_a_failed_answer_is_never_taken_for_the_known_one(
    fake: FakeOpenList, source: OpenList, fault: Fault
) -> None:
    known = (await source.list("/115/Movies/Heat")).fingerprint
    fake.faults.begin(fault, "/115/Movies/Heat")
    with pytest.raises(RAISES[fault]):
        await source.list_unless_known("/115/Movies/Heat", known)


async def test_what_lies_above_all_that_is_listed_is_asked_for_once_in_ten_minutes(
    fake: FakeOpenList, tmp_path: Path
) -> None:
    clock = HandClock()
    source = OpenList(settings(tmp_path, fake.base_url), bucket=bucket(clock), clock=clock)
    for _ in range(3):
        await source.list("/115/Movies")
    assert fake.requests["list"] == 3 + 2
    clock.seconds += 700
    for _ in range(3):
        await source.list("/115/Movies")
    assert fake.requests["list"] == 6 + 4
    await source.close()


async def test_a_restart_of_the_server_costs_one_login_however_many_ask_at_once(
    fake: FakeOpenList, source: OpenList
) -> None:
    await source.list("/")
    fake.restart()
    listings = await asyncio.gather(*(source.list("/115/Movies") for _ in range(8)))
    assert all(listing.complete for listing in listings)
    assert fake.accounts.logins == 2


async def test_refused_credentials_are_tried_once_and_not_again_before_they_change(
    fake: FakeOpenList, tmp_path: Path
) -> None:
    source = OpenList(
        settings(tmp_path, fake.base_url, username=USER, password="old"), bucket=bucket(), clock=SystemClock()
    )
    for _ in range(6):
        with pytest.raises(Unauthorized):
            await source.list("/")
    assert fake.accounts.logins == 1
    secret(tmp_path / "secret", password=PASSWORD)
    assert (await source.list("/")).complete
    await source.close()


async def test_a_fresh_session_that_is_refused_does_not_log_in_again_and_again(
    fake: FakeOpenList, source: OpenList
) -> None:
    fake.faults.begin(Fault.TOKEN_EXPIRED)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await source.list("/")
    assert fake.accounts.logins == 2


async def test_no_message_holds_a_secret(fake: FakeOpenList, tmp_path: Path) -> None:
    source = OpenList(
        settings(tmp_path, fake.base_url, username=USER, password="hunter2"), bucket=bucket(), clock=SystemClock()
    )
    with pytest.raises(Unauthorized) as caught:
        await source.list("/")
    assert "hunter2" not in f"{caught.value!r} {caught.value.remedy} {caught.value.__cause__!r}"
    await source.close()


class FirstMinute(ManualClock):
    """The moment of RFC 6238's first test vector (appendix B): 59 s, whose code ends in 287082."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(59, UTC)


async def test_a_one_time_password_is_made_from_its_seed(fake: FakeOpenList, tmp_path: Path) -> None:
    fake.accounts.add(User("otp", PASSWORD, otp_code="287082"))
    source = OpenList(
        settings(tmp_path, fake.base_url, username="otp", password=PASSWORD, otp="GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"),
        bucket=bucket(),
        clock=FirstMinute(),
    )
    assert (await source.list("/")).complete
    await source.close()


async def test_a_ban_cools_the_whole_server_for_every_job(fake: FakeOpenList, tmp_path: Path) -> None:
    clock = ManualClock()
    shared = bucket(clock)
    one, other = (OpenList(settings(tmp_path, fake.base_url), bucket=shared, clock=clock) for _ in range(2))
    await one.list("/")
    await other.list("/")
    fake.faults.begin(Fault.STATUS_429, "/115", times=1)
    with pytest.raises(Busy) as caught:
        await one.list("/115")
    assert caught.value.retry_after_s is not None
    assert 90 <= caught.value.retry_after_s <= 99
    assert shared.cooldown is not None
    asked = fake.requests.copy()
    with pytest.raises(Busy, match="left alone"):
        await other.list("/115/Movies")
    assert fake.requests == asked
    await clock.advance(100)
    assert (await other.list("/115/Movies")).complete
    assert shared.cooldown is None
    for source in (one, other):
        await source.close()


async def test_a_cloud_that_fails_behind_the_server_does_not_cut_off_the_others(
    fake: FakeOpenList, source: OpenList
) -> None:
    fake.faults.begin(Fault.ERROR_500, "/115")
    for _ in range(10):
        result = await outcome(source, "/115")
        assert isinstance(result, Unreachable)
        assert result.reason == UPSTREAM_FAILED
    assert [entry.name for entry in (await source.list("/115/Movies")).entries] != []


async def test_a_listing_that_may_be_that_of_a_directory_above_which_does_not_come_proves_nothing(
    fake: FakeOpenList, tmp_path: Path
) -> None:
    """Clouds give the root's for what they do not know. One that hangs is not waited for again and again."""
    clock = HandClock()
    source = OpenList(settings(tmp_path, fake.base_url), bucket=bucket(clock), clock=clock)
    fake.faults.begin(Fault.ERROR_500, "/115")
    for _ in range(5):
        listing = await source.list("/115/Movies")
        assert not listing.complete
        assert listing.why.startswith("it may be the listing of /115, which does not come: ")
    assert fake.requests["list"] == 5 + 2
    fake.faults.end()
    clock.seconds += 700
    assert (await source.list("/115/Movies")).complete
    await source.close()


async def test_refresh_needs_the_right_to_write_and_says_so(fake: FakeOpenList, source: OpenList) -> None:
    with pytest.raises(MissingPrivilege) as caught:
        await source.list("/115", refresh=True)
    assert caught.value.remedy == "let the user write below this path"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_a_link_plays_as_it_is_written(fake: FakeOpenList, source: OpenList, name: str) -> None:
    assert isinstance(fake.library, Library)
    fake.library.put(f"/115/Movies/Names/{name}", b"film")
    (entry,) = (await source.list("/115/Movies/Names")).entries
    line = http_line(source.link(entry), encoding=Encoding.PATH)
    assert await fetch(line) == b"film"
    assert line.isascii()


async def test_paths_are_below_the_users_base_path_and_links_are_not(fake: FakeOpenList, tmp_path: Path) -> None:
    fake.accounts.add(User("below", PASSWORD, base_path="/115/Movies"))
    source = OpenList(
        settings(tmp_path, fake.base_url, username="below", password=PASSWORD), bucket=bucket(), clock=SystemClock()
    )
    (entry,) = (await source.list("/Ronin")).entries
    assert entry.path == "/Ronin/Ronin.mkv"
    assert source.link(entry).path == "/115/Movies/Ronin/Ronin.mkv"
    assert await fetch(http_line(source.link(entry), encoding=Encoding.PATH)) == b"x"
    assert (await source.test_connection()).base_path == "/115/Movies"
    await source.close()


async def test_a_base_path_that_changes_under_way_stops_everything(fake: FakeOpenList, source: OpenList) -> None:
    await source.list("/115")
    fake.accounts.change(USER, base_path="/115")
    fake.restart()
    for path in ("/115", "/Movies"):
        with pytest.raises(Rejected, match="base path changed from / to /115"):
            await source.list(path)


async def test_a_signature_can_be_made_with_the_admin_token_and_is_the_servers_own(
    fake: FakeOpenList, tmp_path: Path
) -> None:
    source = OpenList(
        settings(tmp_path, fake.base_url, token=fake.accounts.admin_token), bucket=bucket(), clock=SystemClock()
    )
    (entry,) = (await source.list("/115/Movies/Ronin")).entries
    assert source.link(entry, sign=SignMode.COMPUTE) == source.link(entry, sign=SignMode.FROM_LISTING)
    assert source.link(entry, sign=SignMode.NONE).sign == ""
    assert fake.accounts.logins == 0
    await source.close()


async def test_without_the_admin_token_no_signature_is_made(source: OpenList) -> None:
    (entry,) = (await source.list("/115/Movies/Ronin")).entries
    with pytest.raises(Rejected, match="hold none"):
        source.link(entry, sign=SignMode.COMPUTE)


async def test_an_address_that_is_not_the_apis_is_named(fake: FakeOpenList, tmp_path: Path) -> None:
    source = OpenList(settings(tmp_path, f"{fake.base_url}/elsewhere"), bucket=bucket(), clock=SystemClock())
    with pytest.raises(ProviderError):
        await source.test_connection()
    await source.close()


async def test_a_test_of_the_connection_tells_version_and_user(source: OpenList) -> None:
    info = await source.test_connection()
    assert (info.product, info.version, info.user, info.logged_in) == ("OpenList", "v4.1.9", USER, True)


async def test_a_guest_is_told_of(fake: FakeOpenList, tmp_path: Path) -> None:
    fake.accounts.allow_guests()
    source = OpenList(
        replace(settings(tmp_path, fake.base_url), credentials=None), bucket=bucket(), clock=SystemClock()
    )
    info = await source.test_connection()
    assert info.user == "guest"
    assert info.notes
    await source.close()
