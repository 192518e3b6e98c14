"""A server of https:// is asked only if its certificate is signed by whom the `DataServer` trusts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pantograph.clock import SystemClock
from pantograph.providers.errors import Rejected, Unreachable
from pantograph.providers.media.port import MediaSource
from pantograph.providers.media.settings import ServerSettings
from pantograph.providers.media.sources import Driver, open_server
from tests.contract.media.worlds import PASSWORD, USER, CachedFolder, Rclone, bucket
from tests.fakes import clouddrive2, openlist
from tests.fakes.certificates import Certificate, self_signed
from tests.fakes.library import Library
from tests.fakes.openlist.accounts import User

Open = Callable[[str | None], MediaSource]
"""The server's source, which trusts these authorities."""


@asynccontextmanager
async def behind_tls(url: str, certificate: Certificate) -> AsyncIterator[str]:
    """An https:// address of the server at `url`."""
    to = urlsplit(url)
    certificate.context.set_alpn_protocols(["h2", "http/1.1"])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(to.hostname, to.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}{to.path}"


@asynccontextmanager
async def served(driver: Driver, rclone: Callable[[], Rclone]) -> AsyncIterator[str]:
    """A server that the driver speaks to, with `heat.mkv` at its root."""
    if driver is Driver.OPENLIST:
        list_server = openlist.FakeOpenList()
        list_server.accounts.add(User(USER, PASSWORD))
        assert isinstance(list_server.library, Library)
        list_server.library.put("/heat.mkv")
        async with openlist.serving(list_server):
            yield list_server.base_url
    elif driver is Driver.CLOUDDRIVE2:
        drive = clouddrive2.FakeCloudDrive2()
        assert isinstance(drive.library, Library)
        drive.library.put("/heat.mkv")
        async with clouddrive2.serving(drive):
            yield drive.base_url
    else:
        running = rclone()
        CachedFolder(running.root, running.control).put("/heat.mkv")
        yield running.address


@pytest.fixture(params=list(Driver))
async def opened(request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate) -> AsyncIterator[Open]:
    driver: Driver = request.param
    sources: list[MediaSource] = []
    async with (
        served(driver, lambda: request.getfixturevalue("rclone")) as url,
        behind_tls(url, certificate) as endpoint,
    ):

        def open_it(ca_pem: str | None) -> MediaSource:
            settings = ServerSettings(
                name="DataServer media/server",
                endpoint=endpoint,
                credentials={"username": USER, "password": PASSWORD},
                ca_pem=ca_pem,
                list_timeout_s=20,
            )
            sources.append(open_server(driver, settings, bucket=bucket(), clock=SystemClock()))
            return sources[-1]

        yield open_it
        for source in sources:
            await source.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return self_signed(tmp_path)


async def test_a_server_that_signed_itself_is_used_if_its_certificate_is_named(
    opened: Open, certificate: Certificate
) -> None:
    listing = await opened(certificate.pem).list("/")
    assert listing.complete, listing.why
    assert "heat.mkv" in {entry.name for entry in listing.entries}


@pytest.mark.parametrize("named", [False, True], ids=["no authority", "another authority"])
async def test_any_other_is_refused_before_it_hears_a_password_and_the_error_says_what_to_name(
    opened: Open, tmp_path: Path, named: bool
) -> None:
    (tmp_path / "other").mkdir()
    source = opened(self_signed(tmp_path / "other").pem if named else None)
    with pytest.raises(Unreachable) as refused:
        await source.test_connection()
    assert refused.value.reason == "CertificateRefused"
    assert "spec.tls.caRef" in (refused.value.remedy or "")


async def test_what_is_no_certificate_is_refused_at_once(opened: Open) -> None:
    with pytest.raises(Rejected, match="no PEM certificate") as refused:
        opened("-----BEGIN NOTHING-----")
    assert refused.value.reason == "InvalidCA"
