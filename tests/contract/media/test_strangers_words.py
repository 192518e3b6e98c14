"""What the endpoint of a DataServer answers, that is no media server at all: none of its words is shown to users."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from pantograph.api.dataserver import DataServer
from pantograph.api.declaration import InvalidObject
from pantograph.clock import SystemClock
from pantograph.providers.errors import ProviderError
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.settings import ServerSettings
from pantograph.providers.media.sources import Driver, open_server

WORD = "hunter2"
ANSWERS = {
    "a body": f"HTTP/1.1 500 Oops\r\nContent-Length: 7\r\n\r\n{WORD}",
    "a refusal": f"HTTP/1.1 403 No\r\nContent-Length: 7\r\n\r\n{WORD}",
    "a reason": f"HTTP/1.1 418 {WORD}\r\nContent-Length: 0\r\n\r\n",
    "a success": f"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{WORD}",
    "a page": f"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html>{WORD}",
    "XML": f"HTTP/1.1 207 OK\r\nContent-Length: 9\r\n\r\n<{WORD}>",
    "a code": f'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{{"code":"{WORD}"}}',
    "another protocol": f"SSH-2.0-{WORD}\r\n",
}


@asynccontextmanager
async def answering(answer: str) -> AsyncIterator[str]:
    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer.encode())
        writer.close()

    server = await asyncio.start_server(answer_all, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("driver", [Driver.OPENLIST, Driver.WEBDAV])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_no_word_of_a_stranger_is_shown(driver: Driver, answer: str) -> None:
    clock = SystemClock()
    async with answering(ANSWERS[answer]) as endpoint:
        bucket = RateBucket("nas", clock, Random(1), per_second=100, burst=10, concurrent=2, cooldown_s=1)
        settings = ServerSettings(name="nas", endpoint=endpoint, credentials={"token": "t"})
        source = open_server(driver, settings, bucket=bucket, clock=clock)
        try:
            with pytest.raises(ProviderError) as refused:
                await source.list("/")
        finally:
            await source.close()
    assert "nas" in refused.value.message
    assert WORD not in f"{refused.value.message} {refused.value.remedy}"


@pytest.mark.parametrize("endpoint", ["http://anna:hunter2@nas", "https://token@nas:5244/dav"])
def test_credentials_are_no_part_of_an_endpoint(endpoint: str) -> None:
    with pytest.raises(InvalidObject):
        DataServer.parse(_server(endpoint))


def test_an_at_sign_in_the_path_of_an_endpoint_is_nobodys_password() -> None:
    assert DataServer.parse(_server("http://nas/dav/anna@home")).spec.endpoint == "http://nas/dav/anna@home"


def _server(endpoint: str) -> dict[str, object]:
    return {
        "apiVersion": "pantograph.dev/v1alpha1",
        "kind": "DataServer",
        "metadata": {"name": "nas", "namespace": "films", "uid": "1"},
        "spec": {"driver": "WebDAV", "endpoint": endpoint},
    }
