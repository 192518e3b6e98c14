"""What Emby and Jellyfin are told, and what is said of them when they do not listen."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from pantograph.api.notify import MediaServer
from pantograph.providers.errors import (
    MissingPrivilege,
    NotFound,
    ProtocolError,
    ProviderError,
    Rejected,
    Unauthorized,
    Unreachable,
)
from pantograph.providers.notify.mediaservers import HttpMediaServer, open_media_server
from pantograph.providers.notify.port import FolderChange
from tests.fakes.receivers import TOKEN, Receivers

CHANGES = [FolderChange("/media/strm/films/A", "Created"), FolderChange("/media/strm/films/Ü 100%", "Deleted")]
PRODUCTS = ("Emby", "Jellyfin")


def server(
    receivers: Receivers, tmp_path: Path, product: str = "Jellyfin", token: str = TOKEN, timeout_s: float = 20.0
) -> HttpMediaServer:
    (tmp_path / "token").write_text(f"{token}\n")
    sub_path = "" if product == "Emby" else "/jellyfin/"
    body = {
        "name": "den",
        "type": product,
        "url": receivers.base_url + sub_path,
        "secretRef": {"name": "den"},
        "pathMap": [{"from": "/", "to": "/media"}],
    }
    return open_media_server(MediaServer.model_validate(body), tmp_path, timeout_s=timeout_s)


@pytest.mark.parametrize("product", PRODUCTS)
async def test_changed_folders_are_told_in_one_message(receivers: Receivers, tmp_path: Path, product: str) -> None:
    await server(receivers, tmp_path, product).tell(CHANGES)
    assert receivers.updates == [[("/media/strm/films/A", "Created"), ("/media/strm/films/Ü 100%", "Deleted")]]


@pytest.mark.parametrize("product", PRODUCTS)
async def test_looking_says_who_it_is_and_where_its_libraries_are_and_tells_nothing(
    receivers: Receivers, tmp_path: Path, product: str
) -> None:
    info = await server(receivers, tmp_path, product).look()
    assert (info.product.split()[0], info.version, info.folders) == (product, "10.11.2", ("/media/strm/films",))
    assert receivers.updates == []
    assert not any(asked.startswith("POST") for asked in receivers.asked)


async def test_embys_api_is_found_whether_its_sub_path_was_written_or_not(receivers: Receivers, tmp_path: Path) -> None:
    short = server(receivers, tmp_path, "Emby")
    long = HttpMediaServer(name="it", product="Emby", url=f"{receivers.base_url}/emby/", secret=tmp_path)
    for each in (short, long):
        await each.tell(CHANGES)
    assert receivers.asked == ["POST /emby/Library/Media/Updated"] * 2


@pytest.mark.parametrize("product", PRODUCTS)
async def test_a_wrong_token_is_refused_credentials(receivers: Receivers, tmp_path: Path, product: str) -> None:
    media_server = server(receivers, tmp_path, product, token="f" * 32)
    for call in (media_server.tell(CHANGES), media_server.look()):
        with pytest.raises(Unauthorized, match=f"den \\({product}\\) answered 401") as error:
            await call
        assert "API key" in (error.value.remedy or "")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, MissingPrivilege, "lack the right"),
        (404, NotFound, "no such service"),
        (302, ProtocolError, "a redirect"),
        (500, Unreachable, "answered 500"),
        (503, Unreachable, "answered 503"),
        (400, Rejected, "answered 400"),
    ],
)
async def test_a_status_is_said_in_words_of_our_own(
    receivers: Receivers, tmp_path: Path, status: int, kind: type[ProviderError], words: str
) -> None:
    receivers.status, receivers.echo = status, True
    with pytest.raises(kind, match=words) as error:
        await server(receivers, tmp_path).tell(CHANGES)
    assert TOKEN not in "".join(traceback.format_exception(error.value))
    assert len(receivers.asked) == 1, "neither repeated nor redirected"


async def test_a_server_that_does_not_answer_is_waited_for_so_long_and_no_longer(
    receivers: Receivers, tmp_path: Path
) -> None:
    receivers.hangs = True
    with pytest.raises(Unreachable, match=r"no whole answer within 0\.2 s"):
        await server(receivers, tmp_path, timeout_s=0.2).tell(CHANGES)


async def test_a_closed_port_is_said_without_its_address(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    nobody = HttpMediaServer(name="den", product="Jellyfin", url="http://127.0.0.1:1", secret=tmp_path)
    with pytest.raises(Unreachable) as error:
        await nobody.tell(CHANGES)
    assert str(error.value) == "den does not answer: connection refused"


async def test_something_else_that_answers_is_not_taken_for_a_media_server(
    receivers: Receivers, tmp_path: Path
) -> None:
    receivers.status = 200
    with pytest.raises(ProtocolError, match="is no Jellyfin"):
        await server(receivers, tmp_path).look()


@pytest.mark.parametrize("token", ["", "two words", 'quo"ted', "line\nbreak"])
async def test_what_is_no_token_is_not_sent(receivers: Receivers, tmp_path: Path, token: str) -> None:
    with pytest.raises(Rejected, match="holds no token") as error:
        await server(receivers, tmp_path, token=token).tell(CHANGES)
    assert not token or token not in str(error.value)
    assert receivers.asked == []


async def test_a_secret_without_the_key_is_named_with_what_makes_one(receivers: Receivers, tmp_path: Path) -> None:
    media_server = server(receivers, tmp_path)
    (tmp_path / "token").unlink()
    with pytest.raises(Rejected, match="the key `token` of its Secret cannot be read") as error:
        await media_server.tell(CHANGES)
    assert "--from-file=token=" in (error.value.remedy or "")


async def test_a_token_that_was_changed_is_used_at_once(receivers: Receivers, tmp_path: Path) -> None:
    media_server = server(receivers, tmp_path, token="f" * 32)
    with pytest.raises(Unauthorized):
        await media_server.tell(CHANGES)
    (tmp_path / "token").write_text(TOKEN)
    await media_server.tell(CHANGES)
    assert len(receivers.updates) == 1


async def test_no_log_and_no_repr_holds_the_token(
    receivers: Receivers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    media_server = server(receivers, tmp_path)
    await media_server.tell(CHANGES)
    receivers.status = 500
    with pytest.raises(Unreachable):
        await media_server.tell(CHANGES)
    assert TOKEN not in caplog.text + repr(media_server)
