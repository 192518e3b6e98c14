"""A download that breaks goes on where it was, and never mixes two contents."""

from __future__ import annotations

import random

from pantograph.depot import FetchRequest
from pantograph.depot.fetch import READ_BUFFER_BYTES
from tests.contract.depot.conftest import QUICK, Lab, begun, failure, fetched, sha256
from tests.contract.depot.fetching import brought
from tests.fakes.images import qcow2

IMAGE = qcow2(payload=random.Random(7).randbytes(1 << 20))
OTHER = qcow2(payload=random.Random(8).randbytes(1 << 20))
CUT = 600_000  # beyond the header, which both images share


async def broken_off(lab: Lab, request: FetchRequest) -> None:
    """A depot fetched the first CUT bytes, and then stopped."""
    lab.origin["x"].stall_at = CUT
    depot = await lab.depot()
    await brought(depot, request, CUT)
    await depot.close()
    lab.origin["x"].stall_at = None
    lab.origin.requests.clear()
    assert [path.stat().st_size for path in (lab.root / "partial").glob("*.part")] == [CUT]


async def test_a_cut_connection_is_resumed_and_at_most_the_read_buffer_comes_twice(lab: Lab) -> None:
    image = qcow2(payload=random.Random(7).randbytes(16 << 20))
    request = FetchRequest(lab.origin.put("x", image))
    cuts = [4 << 20, 8 << 20, 12 << 20]
    lab.origin["x"].cut_at = list(cuts)
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(image)
    assert lab.origin.sent("x") <= len(image) + len(cuts) * 3 * READ_BUFFER_BYTES
    assert [r.status for r in lab.origin.requests] == [200, 206, 206, 206]
    assert lab.origin.requests[1].headers["If-Range"] == '"v1"'


async def test_a_connection_that_breaks_often_but_always_brings_bytes_is_never_given_up(lab: Lab) -> None:
    image = qcow2(payload=random.Random(7).randbytes(32 << 20))
    request = FetchRequest(lab.origin.put("x", image))
    lab.origin["x"].cut_at = list(range(2 << 20, len(image), 2 << 20))
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(image)
    assert len(lab.origin.requests) > QUICK.retries + 10


async def test_a_stalled_origin_is_left_after_the_stall_time_and_said_so(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].stall_at = CUT
    error = await failure(await lab.depot(), request)
    assert (error.reason, error.transient) == ("SourceStalled", True)
    assert "sent nothing for 0.3 s" in error.message


async def test_after_a_stop_the_fetch_goes_on_from_the_partial_file(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    await broken_off(lab, request)
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(IMAGE)
    assert lab.origin.sent("x") == len(IMAGE) - CUT


async def test_content_changed_meanwhile_is_fetched_anew(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    await broken_off(lab, request)
    lab.origin.put("x", OTHER, etag='"v2"')
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(OTHER)


async def test_a_server_that_ignores_if_range_cannot_mix_two_contents(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    await broken_off(lab, request)
    lab.origin.put("x", OTHER, etag='"v2"')
    lab.origin["x"].ignores_if_range = True
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(OTHER)


async def test_a_server_that_ignores_range_starts_anew(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    await broken_off(lab, request)
    lab.origin["x"].ignores_range = True
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(IMAGE)
    assert lab.origin.sent("x") == len(IMAGE)


async def test_a_date_serves_where_there_is_no_etag(lab: Lab) -> None:
    date = "Thu, 26 Nov 2026 00:00:00 GMT"
    request = FetchRequest(lab.origin.put("x", IMAGE, etag=None, last_modified=date))
    await broken_off(lab, request)
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(IMAGE)
    assert (lab.origin.sent("x"), lab.origin.requests[0].headers["If-Range"]) == (len(IMAGE) - CUT, date)


async def test_without_validator_and_checksum_nothing_is_resumed(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE, etag=None))
    await broken_off(lab, request)
    lab.origin.put("x", OTHER, etag=None)
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(OTHER)


async def test_without_validator_a_checksum_allows_to_resume(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE, etag=None), checksum=sha256(IMAGE))
    await broken_off(lab, request)
    await fetched(await lab.depot(), request)
    assert lab.origin.sent("x") == len(IMAGE) - CUT


async def test_a_partial_file_that_was_damaged_is_fetched_anew_in_one_piece(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE), checksum=sha256(IMAGE))
    await broken_off(lab, request)
    (damaged,) = (lab.root / "partial").glob("*.part")
    damaged.write_bytes(b"\0" * CUT)
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(IMAGE)
    assert [r.headers.get("Range") for r in lab.origin.requests] == [f"bytes={CUT}-", None]


async def test_bytes_from_before_a_reboot_are_not_trusted_without_a_checksum(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    await broken_off(lab, request)
    (row,) = (lab.root / "partial").glob("*.json")
    row.write_text(row.read_text().replace('"boot_id": "', '"boot_id": "earlier-'))
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(IMAGE)
    assert lab.origin.sent("x") == len(IMAGE)


async def test_a_length_that_promises_more_than_comes_is_an_error_that_may_pass(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].promised_beyond = 1000
    error = await failure(await lab.depot(), request)
    assert (error.reason, error.transient) == ("SourceUnreachable", True)


async def test_a_file_of_unknown_length_is_fetched_whole(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].tells_length = False
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(IMAGE)


async def test_two_processes_do_not_write_one_partial_file(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].stall_at = CUT
    first, second = await lab.depot(), await lab.depot()
    begun(first, request)
    await lab.origin.stalled.wait()
    error = await failure(second, request)
    assert (error.reason, error.transient) == ("DepotUnusable", True)
    assert "another process" in error.message
