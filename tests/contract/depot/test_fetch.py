"""From an origin that behaves, and from one that does not, into the depot."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import hashlib
import lzma
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from pantograph.depot import FetchPolicy, FetchRequest, Patience, SourceRefused
from tests.contract.depot.conftest import EVER, Lab, begun, failure, fetched, files_of, sha256
from tests.contract.depot.fetching import brought
from tests.fakes.certificates import self_signed
from tests.fakes.images import iso, qcow2, raw, vmdk
from tests.fakes.origin import running_origin

NOISE = random.Random(7).randbytes(768 << 10)
IMAGE = qcow2(payload=NOISE)


async def test_an_image_is_stored_by_its_digest_with_what_its_header_says(lab: Lab) -> None:
    url = lab.origin.put("debian.qcow2", IMAGE)
    depot = await lab.depot()
    image = await fetched(depot, FetchRequest(url, checksum=sha256(IMAGE)))
    assert (image.served_digest, image.image_digest) == (sha256(IMAGE), sha256(IMAGE))
    assert (image.format, image.virtual_size_bytes, image.size_bytes) == ("qcow2", 1 << 30, len(IMAGE))
    assert image.file_name == f"pantograph-{hashlib.sha256(IMAGE).hexdigest()[:16]}.qcow2"
    assert depot.path(image).read_bytes() == IMAGE
    assert depot.find(sha256(IMAGE)) == image
    assert not [name for name in files_of(lab.root) if name.startswith("partial/")]


async def test_a_second_template_with_the_same_checksum_moves_no_byte(lab: Lab) -> None:
    url = lab.origin.put("debian.qcow2", IMAGE)
    depot = await lab.depot()
    first = await fetched(depot, FetchRequest(url, checksum=sha256(IMAGE)))
    state = begun(depot, FetchRequest(lab.origin.put("mirror.qcow2", IMAGE), checksum=sha256(IMAGE)))
    assert (state.phase, state.image) == ("Done", first)
    assert len(lab.origin.requests) == 1


async def test_two_begins_of_one_key_are_one_download(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("debian.qcow2", IMAGE))
    depot = await lab.depot()
    assert begun(depot, request).phase == begun(depot, request, owner="default/again").phase == "Running"
    await fetched(depot, request)
    assert len(lab.origin.requests) == 1


async def test_a_fetched_image_is_found_after_a_restart(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("debian.qcow2", IMAGE))
    image = await fetched(await lab.depot(), request)
    restarted = await lab.depot()
    assert restarted.find_fetched(request, since=EVER) == restarted.find(image.image_digest) == image
    state = restarted.state(request, since=EVER)
    assert state is not None
    assert (state.phase, state.image) == ("Done", image)


async def test_what_nobody_asked_for_has_no_state(lab: Lab) -> None:
    depot = await lab.depot()
    assert depot.state(FetchRequest("http://origin.example/x"), since=EVER) is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_checksum_may_be_sha256_or_sha512_in_any_case(lab: Lab, algorithm: str) -> None:
    declared = f"{algorithm}:{hashlib.new(algorithm, IMAGE).hexdigest().upper()}"
    image = await fetched(await lab.depot(), FetchRequest(lab.origin.put("x", IMAGE), checksum=declared))
    assert image.served_digest == sha256(IMAGE)


async def test_a_wrong_checksum_names_both_and_shows_no_image(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x.qcow2", IMAGE), checksum=f"sha256:{'0' * 64}")
    depot = await lab.depot()
    error = await failure(depot, request)
    assert (error.reason, error.transient) == ("ChecksumMismatch", False)
    assert sha256(IMAGE) in error.message
    assert f"sha256:{'0' * 64}" in error.message
    assert "spec.source.http.checksum" in error.remedy
    assert depot.find(sha256(IMAGE)) is depot.find_fetched(request, since=EVER) is None


async def test_judging_a_wrong_file_again_moves_no_byte_until_the_origin_changes(lab: Lab) -> None:
    right = qcow2(payload=b"right")
    request = FetchRequest(lab.origin.put("x.qcow2", IMAGE), checksum=sha256(right))
    depot = await lab.depot()
    for _ in range(3):
        assert (await failure(depot, request)).reason == "ChecksumMismatch"
    assert lab.origin.sent("x.qcow2") == len(IMAGE)
    lab.origin.put("x.qcow2", right, etag='"v2"')
    assert (await fetched(depot, request)).served_digest == sha256(right)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "bz2": bz2.compress,
    "zst": zstd.compress,
}


@pytest.mark.parametrize("packer", PACKERS)
async def test_a_compressed_image_is_known_by_content_and_checked_as_served(lab: Lab, packer: str) -> None:
    packed = PACKERS[packer](IMAGE)
    request = FetchRequest(lab.origin.put("image.bin", packed), checksum=sha256(packed))
    depot = await lab.depot()
    image = await fetched(depot, request)
    assert (image.served_digest, image.image_digest) == (sha256(packed), sha256(IMAGE))
    assert depot.path(image).read_bytes() == IMAGE
    assert not [name for name in files_of(lab.root) if name.startswith("partial/")]


async def test_one_image_in_two_wrappings_is_stored_once(lab: Lab) -> None:
    depot = await lab.depot()
    plain = await fetched(depot, FetchRequest(lab.origin.put("a", IMAGE)))
    packed = await fetched(depot, FetchRequest(lab.origin.put("b", gzip.compress(IMAGE))))
    assert plain.image_digest == packed.image_digest
    assert len([name for name in files_of(lab.root) if name.endswith(".qcow2")]) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (qcow2(backing_file="/etc/passwd"), "backing_file"),
        (qcow2(incompatible_features=1 << 2), "data_file"),
        (qcow2(3 << 40), "3.0 TiB, more than the allowed 2.0 TiB"),
        (vmdk(create_type="monolithicFlat"), "Unsupported subformat"),
        (vmdk(extent="/dev/sda"), "not safe"),
        (iso(), "iso images cannot become templates"),
        (b"<!DOCTYPE html><title>Sign in</title>".ljust(1024), "web page"),
        (b"", "0 bytes"),
        (raw()[:-100], "no whole number of 512-byte sectors"),
        (gzip.compress(NOISE)[:-20], "gz stream is damaged"),
        (gzip.compress(gzip.compress(IMAGE)), "gz file (inside"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_no_safe_disk_image_is_refused_and_never_seen(lab: Lab, content: bytes, said: str) -> None:
    request = FetchRequest(lab.origin.put("x", content))
    depot = await lab.depot()
    error = await failure(depot, request)
    assert (error.reason, error.transient) == ("UnsupportedImage", False)
    assert said in error.message
    assert error.remedy
    assert depot.find(sha256(content)) is None
    assert not [name for name in files_of(lab.root) if name.startswith(("sha256/", "fetched/"))]


async def test_a_bomb_is_refused_at_the_limit_and_leaves_nothing_unpacked(lab: Lab) -> None:
    bomb = zstd.compress(b"\0" * (64 << 20))
    error = await failure(await lab.depot(image_limit_bytes=4 << 20), FetchRequest(lab.origin.put("x", bomb)))
    assert "unpacks to more than the allowed 4.0 MiB" in error.message
    assert not [name for name in files_of(lab.root) if name.endswith(".unpacked")]


@pytest.mark.parametrize(
    ("status", "reason", "transient"),
    [
        (404, "SourceRefused", False),
        (403, "SourceRefused", False),
        (429, "SourceUnreachable", True),
        (500, "SourceUnreachable", True),
    ],
)
async def test_an_answer_without_a_file_says_whether_waiting_can_help(
    lab: Lab, status: int, reason: str, transient: bool
) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].answers = [status] * 10
    error = await failure(await lab.depot(), request)
    assert (error.reason, error.transient) == (reason, transient)
    assert f"{request.source} answered {status}" in error.message


async def test_a_refusal_is_not_repeated_and_carries_its_code(lab: Lab) -> None:
    error = await failure(await lab.depot(), FetchRequest(f"{lab.origin.base_url}/nothing"))
    assert isinstance(error, SourceRefused)
    assert error.code == 404
    assert len(lab.origin.requests) == 1


async def test_a_passing_server_error_is_overcome(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].answers = [500, 503]
    assert (await fetched(await lab.depot(), request)).image_digest == sha256(IMAGE)


async def test_a_failed_fetch_is_begun_anew_and_completes_once_the_origin_is_mended(lab: Lab) -> None:
    request = FetchRequest(f"{lab.origin.base_url}/x")
    depot = await lab.depot()
    assert (await failure(depot, request)).reason == "SourceRefused"
    state = depot.state(request, since=EVER)
    assert state is not None
    assert state.phase == "Failed"
    lab.origin.put("x", IMAGE)
    assert (await fetched(depot, request)).image_digest == sha256(IMAGE)


async def test_nobody_listening_is_unreachable_with_host_and_cause(lab: Lab) -> None:
    error = await failure(await lab.depot(), FetchRequest("http://127.0.0.1:1/x.qcow2"))
    assert (error.reason, error.transient) == ("SourceUnreachable", True)
    assert "no connection to 127.0.0.1: Connect" in error.message


async def test_credentials_reach_the_origin_but_not_where_it_redirects(lab: Lab) -> None:
    lab.origin.put("real", IMAGE)
    url = lab.origin.put("gate", b"")
    lab.origin["gate"].required_headers = {"X-Token": "hunter2"}
    lab.origin["gate"].redirect_to = f"{lab.origin.base_url.replace('127.0.0.1', 'localhost')}/real"
    request = FetchRequest(url, headers={"X-Token": "hunter2\n"}, scope="team-a")
    await fetched(await lab.depot(), request)
    gate, real = lab.origin.requests
    assert gate.headers["X-Token"] == "hunter2"
    assert (real.path, "X-Token" in real.headers) == ("real", False)


async def test_what_credentials_opened_is_not_found_by_another_namespace(lab: Lab) -> None:
    url = lab.origin.put("secret.qcow2", IMAGE)
    lab.origin["secret.qcow2"].required_headers = {"X-Token": "hunter2"}
    depot = await lab.depot()
    opened = FetchRequest(url, checksum=sha256(IMAGE), headers={"X-Token": "hunter2"}, scope="team-a")
    await fetched(depot, opened)
    stranger = FetchRequest(url, checksum=sha256(IMAGE))
    other_team = FetchRequest(url, checksum=sha256(IMAGE), headers={"X-Token": "guess"}, scope="team-b")
    for request in (stranger, other_team):
        assert depot.find_fetched(request, since=EVER) is None
        error = await failure(depot, request)
        assert (error.reason, "headersFrom" in error.remedy) == ("SourceRefused", True)


async def test_no_secret_stands_in_errors_logs_reprs_or_on_disk(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    depot = await lab.depot()
    told = []
    for path, port in (("none", lab.origin.base_url.rpartition(":")[2]), ("none", "1")):
        request = FetchRequest(
            f"http://bob:hunter2@127.0.0.1:{port}/{path}?token=hunter2",
            headers={"X-Token": "hunter2"},
            scope="team-a",
        )
        error = await failure(depot, request)
        state = depot.state(request, since=EVER)
        told += [error.message, error.remedy, repr(error), repr(request), request.key, repr(state)]
    told += [caplog.text, *files_of(lab.root)]
    told += [path.read_text(errors="replace") for path in lab.root.rglob("*") if path.is_file()]
    assert not [text for text in told if "hunter2" in text]
    assert "127.0.0.1" in told[0]


async def test_a_redirect_into_a_forbidden_address_is_refused_there(lab: Lab) -> None:
    url = lab.origin.put("x", IMAGE)
    lab.origin["x"].redirect_to = "http://169.254.169.254/latest/meta-data"
    error = await failure(await lab.depot(), FetchRequest(url))
    assert (error.reason, error.transient) == ("FetchForbidden", False)
    assert "169.254.169.254 is link-local" in error.message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_loopback_is_refused_by_default_by_name_and_by_number(lab: Lab, host: str) -> None:
    lab.origin.put("x", IMAGE)
    port = lab.origin.base_url.rpartition(":")[2]
    depot = await lab.depot(policy=FetchPolicy())
    error = await failure(depot, FetchRequest(f"http://{host}:{port}/x"))
    assert error.reason == "FetchForbidden"
    assert "spec.source.http.url" in error.remedy
    assert lab.origin.requests == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://mirror.example/x", "http://127.1/x", "http://[::1/x"])
async def test_a_url_that_is_not_plain_http_is_forbidden(lab: Lab, url: str) -> None:
    assert (await failure(await lab.depot(), FetchRequest(url))).reason == "FetchForbidden"


async def test_redirects_without_end_are_given_up(lab: Lab) -> None:
    url = lab.origin.put("x", IMAGE)
    lab.origin["x"].redirect_to = url
    error = await failure(await lab.depot(), FetchRequest(url))
    assert (error.reason, "redirects more than 10 times" in error.message) == ("SourceRefused", True)


async def test_progress_tells_stage_bytes_and_total_while_it_runs(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].stall_at = 512 << 10
    depot = await lab.depot()
    await brought(depot, request, 512 << 10)
    state = depot.state(request, since=EVER)
    assert state is not None
    assert state.bytes_done == 512 << 10
    assert (state.phase, state.stage, state.bytes_total) == ("Running", "Downloading", len(IMAGE))
    assert depot.find(sha256(IMAGE)) is None


async def test_why_it_is_tried_again_is_told_meanwhile(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].answers = [503]
    depot = await lab.depot(patience=Patience(backoff_s=3600, backoff_max_s=3600))
    begun(depot, request)
    async with asyncio.timeout(60):
        while (state := depot.state(request, since=EVER)) is not None and state.error is None:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert state is not None
    assert (state.phase, "answered 503" in str(state.error)) == ("Running", True)


async def test_a_fault_is_told_no_longer_once_bytes_come(lab: Lab) -> None:
    request = FetchRequest(lab.origin.put("x", IMAGE))
    lab.origin["x"].answers = [503]
    lab.origin["x"].stall_at = 512 << 10
    depot = await lab.depot(patience=Patience(backoff_s=0.001))
    await brought(depot, request, 512 << 10)
    state = depot.state(request, since=EVER)
    assert state is not None
    assert (state.phase, state.error) == ("Running", None)


async def test_a_name_that_does_not_resolve_is_unreachable_and_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    depot = await lab.depot()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    error = await failure(depot, FetchRequest("http://mirror.example/x.qcow2"))
    assert (error.reason, error.transient) == ("SourceUnreachable", True)
    assert "the name mirror.example cannot be resolved" in error.message


async def test_a_name_that_comes_to_mean_loopback_is_refused_at_the_connection(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rebound(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    port = lab.origin.base_url.rpartition(":")[2]
    depot = await lab.depot(policy=FetchPolicy())
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebound)
    error = await failure(depot, FetchRequest(f"http://mirror.example:{port}/x"))
    assert error.reason == "FetchForbidden"
    assert f"http://mirror.example:{port}/x cannot be fetched: the address 127.0.0.1 is loopback" in error.message
    assert lab.origin.requests == []


async def test_a_certificate_that_nobody_trusts_is_said_to_be_so(lab: Lab, tmp_path: Path) -> None:
    async with running_origin(tls=self_signed(tmp_path).context) as origin:
        error = await failure(await lab.depot(), FetchRequest(origin.put("x", IMAGE)))
    assert (error.reason, error.transient) == ("SourceUnreachable", True)
    assert "TLS with 127.0.0.1 failed: self-signed certificate" in error.message


@pytest.mark.parametrize("headers", [{"X Token": "hunter2"}, {"X-Token": "hunter2\nX-Other: b"}])
async def test_a_header_that_is_no_header_is_refused_without_showing_it(lab: Lab, headers: dict[str, str]) -> None:
    error = await failure(await lab.depot(), FetchRequest(lab.origin.put("x", IMAGE), headers=headers, scope="a"))
    assert error.reason == "FetchForbidden"
    assert "headersFrom is malformed" in error.message
    assert not [value for value in headers.values() if value in error.message + error.remedy]
    assert lab.origin.requests == []


async def test_a_fault_that_nobody_foresaw_is_transient_and_its_trace_is_in_the_log(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    depot = await lab.depot()
    monkeypatch.setattr("pantograph.depot.depot.inspect", lambda *_, **__: 1 // 0)
    error = await failure(depot, FetchRequest(lab.origin.put("x", IMAGE)))
    assert (error.reason, error.transient) == ("DepotUnusable", True)
    assert "failed unexpectedly (ZeroDivisionError)" in error.message
    assert "Traceback" in caplog.text
