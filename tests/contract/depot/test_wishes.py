"""Whose fetch it is, what it may answer, and when it ends."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pantograph.depot import Depot, FetchRequest, Patience
from pantograph.depot.store import Store
from tests.contract.depot.conftest import OWNER, QUICK, Lab, begun, failure, fetched, files_of, sha256
from tests.contract.depot.fetching import brought
from tests.fakes.images import qcow2

IMAGE = qcow2(payload=random.Random(7).randbytes(1 << 20))
OTHER = qcow2(payload=random.Random(8).randbytes(1 << 20))
CUT = 600_000
DATE = "Thu, 26 Nov 2026 00:00:00 GMT"


@pytest.mark.parametrize("validators", [{"etag": '"v1"'}, {"etag": None, "last_modified": DATE}])
async def test_a_later_wish_for_an_unchanged_url_asks_the_origin_and_moves_no_byte(
    lab: Lab, validators: dict[str, str | None]
) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE, **validators))
    image = await fetched(await lab.depot(), request)
    restarted = await lab.depot()
    assert begun(restarted, request).phase == "Running"
    assert await fetched(restarted, request) == image
    assert [answered.status for answered in lab.origin.requests] == [200, 304]
    assert lab.origin.sent("x") == len(IMAGE)


async def test_a_later_wish_gets_what_the_origin_serves_by_then(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    depot = await lab.depot()
    await fetched(depot, request)
    lab.origin.put("x", OTHER, etag='"v2"')
    assert (await fetched(depot, request)).image_digest == sha256(OTHER)
    assert depot.find(sha256(IMAGE)) is not None


async def test_content_that_nothing_tells_apart_is_fetched_again(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE, etag=None))
    depot = await lab.depot()
    await fetched(depot, request)
    lab.origin.put("x", OTHER, etag=None)
    assert (await fetched(depot, request)).image_digest == sha256(OTHER)


async def test_a_server_that_looks_at_no_condition_is_left_before_the_body(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    depot = await lab.depot()
    image = await fetched(depot, request)
    lab.origin["x"].ignores_conditions = True
    inode = depot.path(image).stat().st_ino
    assert await fetched(depot, request) == image
    assert depot.path(image).stat().st_ino == inode
    lab.origin.put("x", OTHER, etag='"v2"')
    lab.origin["x"].ignores_conditions = True
    assert (await fetched(depot, request)).image_digest == sha256(OTHER)


async def test_what_is_stored_does_not_answer_for_an_origin_that_cannot_be_asked(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    depot = await lab.depot()
    await fetched(depot, request)
    lab.origin["x"].answers = [503] * 10
    assert (await failure(depot, request)).reason == "SourceUnreachable"
    lab.origin["x"].answers = [503]
    assert (await fetched(depot, request)).image_digest == sha256(IMAGE)


async def test_an_image_answers_after_a_restart_for_wishes_from_before_it_was_fetched_only(lab: Lab) -> None:
    wished_at = datetime.now(UTC)
    request = FetchRequest(lab.origin.put("x", IMAGE))
    await fetched(await lab.depot(), request)
    restarted = await lab.depot()
    assert restarted.begin(request, owner=OWNER, since=wished_at).phase == "Done"
    assert restarted.find_fetched(request, since=datetime.now(UTC)) is None
    assert len(lab.origin.requests) == 1


async def test_a_newer_content_that_came_in_part_is_continued_after_a_restart(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    depot = await lab.depot()
    await fetched(depot, request)
    lab.origin.put("x", OTHER, etag='"v2"')
    lab.origin["x"].stall_at = CUT
    await brought(depot, request, CUT)
    await depot.close()
    lab.origin["x"].stall_at = None
    lab.origin.requests.clear()
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(OTHER)
    assert lab.origin.requests[-1].headers["Range"] == f"bytes={CUT}-"


async def test_a_fetch_ends_with_its_last_owner_and_goes_on_for_the_next(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].stall_at = CUT
    depot = await lab.depot(patience=Patience())
    begun(depot, request, owner="one")
    await brought(depot, request, CUT)
    depot.abandon(request.key)  # as `brought` calls itself
    assert begun(depot, request, owner="two").bytes_done == CUT
    depot.abandon("one")
    assert begun(depot, request, owner="two").phase == "Running"
    lab.origin["x"].stall_at = None
    depot.abandon("two")
    assert await depot.finished(request, since=datetime.now(UTC)) is None
    assert (await fetched(depot, request)).image_digest == sha256(IMAGE)
    assert lab.origin.sent("x") == len(IMAGE)


async def test_a_corrected_url_takes_the_place_of_the_wrong_one(lab: Lab) -> None:
    wrong = FetchRequest(lab.origin.put("wrong", OTHER), checksum=sha256(IMAGE))
    lab.origin["wrong"].stall_at = CUT
    depot = await lab.depot(parallel_fetches=1, patience=Patience())
    begun(depot, wrong)
    await lab.origin.stalled.wait()
    right = FetchRequest(lab.origin.put("right", IMAGE), checksum=sha256(IMAGE))
    assert (await fetched(depot, right)).image_digest == sha256(IMAGE)
    state = depot.state(wrong, since=datetime.now(UTC))
    assert state is not None
    assert (state.phase, state.image) == ("Done", depot.find(sha256(IMAGE)))


async def test_who_declares_a_checksum_first_with_a_wrong_url_fails_alone(lab: Lab) -> None:
    depot = await lab.depot()
    wrong = FetchRequest(lab.origin.put("wrong", OTHER), checksum=sha256(IMAGE))
    assert (await failure(depot, wrong)).reason == "ChecksumMismatch"
    right = FetchRequest(lab.origin.put("right", IMAGE), checksum=sha256(IMAGE))
    state = begun(depot, right, owner="default/second")
    assert (state.phase, state.error) == ("Running", None)
    assert (await fetched(depot, right, owner="default/second")).image_digest == sha256(IMAGE)


async def test_a_fetch_that_waits_for_its_turn_ends_when_another_brings_its_image(lab: Lab) -> None:
    depot = await lab.depot(parallel_fetches=1)
    first = FetchRequest(lab.origin.put("first", IMAGE), checksum=sha256(IMAGE))
    second = FetchRequest(lab.origin.put("second", IMAGE), checksum=sha256(IMAGE))
    begun(depot, first, owner="first")
    await fetched(depot, second, owner="second")
    assert [request.path for request in lab.origin.requests] == ["first"]


async def test_a_stopped_fetch_lets_its_step_on_the_disk_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    depot = await lab.depot()
    add, storing = Store.add, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*arguments: object) -> None:
        loop.call_soon_threadsafe(storing.set)
        add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "add", slow)
    wished_at = datetime.now(UTC)
    begun(depot, request)
    await storing.wait()
    depot.abandon(OWNER)
    state = await depot.finished(request, since=wished_at)
    assert state is not None
    assert depot.path(state.image).read_bytes() == IMAGE  # type: ignore[arg-type]


PICKY = Patience(connect_s=5, stall_s=5, retries=3, backoff_s=0.001, backoff_max_s=0.002, pace_window_s=0.2)


async def test_an_origin_that_drips_is_given_up_though_it_never_stops(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].drips = (1, 0.01)
    error = await failure(await lab.depot(patience=PICKY), request)
    assert (error.reason, error.transient) == ("SourceStalled", True)
    assert "sends less than 32.0 KiB a second" in error.message


async def test_an_origin_that_breaks_off_after_each_drop_is_given_up(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].drips = (10, 0.01)
    lab.origin["x"].cut_at = list(range(10, len(IMAGE), 10))
    error = await failure(await lab.depot(patience=PICKY), request)
    assert "sends less than 32.0 KiB a second" in error.message
    assert len(lab.origin.requests) > QUICK.retries + 1


async def test_a_failed_fetch_is_forgotten_with_who_wanted_it(lab: Lab) -> None:
    request = FetchRequest(f"{lab.origin.base_url}/nothing")
    depot = await lab.depot()
    await failure(depot, request)
    depot.abandon(OWNER)
    assert depot.state(request, since=datetime.now(UTC)) is None


def read_only(path: Path, content: bytes) -> None:
    raise OSError(30, "Read-only file system", str(path))


async def test_a_volume_that_takes_no_note_refuses_a_pin_and_never_a_release(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot = await lab.depot(quota_bytes=2 << 20)
    image = await fetched(depot, FetchRequest(lab.origin.put("a", IMAGE)))
    depot.pin(OWNER, {image.image_digest})
    with monkeypatch.context() as broken:
        broken.setattr("pantograph.depot.space.write_atomically", read_only)
        with pytest.raises(Exception, match="Read-only file system") as caught:
            depot.pin("default/other", {image.image_digest})
        assert type(caught.value).__name__ == "DepotUnusable"
        depot.pin(OWNER, ())
        depot.keep_owners(())
    await fetched(depot, FetchRequest(lab.origin.put("b", OTHER)))
    assert depot.find(image.image_digest) is None, "its place was taken"
    assert not [name for name in files_of(lab.root) if name.endswith(".tmp")]


async def test_a_volume_that_cannot_be_written_serves_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    depot = await lab.depot()
    image = await fetched(depot, FetchRequest(lab.origin.put("a", IMAGE)))

    def refuse(path: Path, times: tuple[float, float]) -> None:
        read_only(path, b"")

    monkeypatch.setattr("pantograph.depot.store.os.utime", refuse)
    assert depot.url_for(image.image_digest, base_url="http://depot.example").startswith("http://depot.example/images/")
    assert depot.path(image).read_bytes() == IMAGE


async def test_a_release_that_was_not_noted_is_made_good_by_the_next_note_and_by_the_next_start(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot: Depot = await lab.depot()
    for owner in ("one", "two"):
        depot.pin(owner, {sha256(IMAGE)})
    with monkeypatch.context() as broken:
        broken.setattr("pantograph.depot.space.write_atomically", read_only)
        depot.pin("one", ())
    assert '"one"' in (lab.root / "pins.json").read_text()
    depot.pin("three", {sha256(IMAGE)})
    assert '"one"' not in (lab.root / "pins.json").read_text()
    restarted = await lab.depot()
    restarted.keep_owners({"three"})
    assert '"two"' not in (lab.root / "pins.json").read_text()
