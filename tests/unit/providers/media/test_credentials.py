"""Credentials from files, and one login for everybody."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pantograph.providers.errors import Rejected, Unauthorized
from pantograph.providers.media.credentials import CredentialFiles, Credentials, Session

RFC_SEED = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


class Server:
    """Takes the passwords in `good`, and forgets sessions when told."""

    def __init__(self) -> None:
        self.good = {"secret"}
        self.logins = 0
        self.sessions: set[str] = set()

    async def log_in(self, credentials: Credentials) -> str:
        self.logins += 1
        await asyncio.sleep(0)
        if credentials.password not in self.good:
            raise Unauthorized("wrong password")
        token = f"session-{self.logins}"
        self.sessions.add(token)
        return token

    async def work(self, token: str) -> str:
        await asyncio.sleep(0)
        if token not in self.sessions:
            raise Unauthorized("the session has ended")
        return token


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "username").write_text("kodi\n")
    (tmp_path / "password").write_text("secret\n")
    return tmp_path


def session(server: Server, directory: Path) -> Session:
    return Session("the server", CredentialFiles(directory), server.log_in)


async def test_many_callers_cost_one_login_at_first_and_one_when_the_session_ends(files: Path) -> None:
    server = Server()
    opened = session(server, files)
    assert set(await asyncio.gather(*(opened.call(server.work) for _ in range(20)))) == {"session-1"}
    server.sessions.clear()
    assert set(await asyncio.gather(*(opened.call(server.work) for _ in range(20)))) == {"session-2"}
    assert server.logins == 2


async def test_who_is_cancelled_in_the_login_leaves_it_to_the_next(files: Path) -> None:
    server = Server()
    opened = session(server, files)
    first = asyncio.create_task(opened.call(server.work))
    await asyncio.sleep(0)
    first.cancel()
    assert await opened.call(server.work) == "session-2"


async def test_refused_credentials_are_used_again_only_when_they_have_changed(files: Path) -> None:
    server = Server()
    server.good = {"new"}
    opened = session(server, files)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await opened.call(server.work)
    assert server.logins == 1
    (files / "password").write_text("new")
    assert await opened.call(server.work) == "session-2"


async def test_a_session_that_is_refused_at_once_is_not_opened_over_and_over(files: Path) -> None:
    server = Server()
    opened = session(server, files)

    async def refuse(_: str) -> None:
        raise Unauthorized("no")

    for _ in range(5):
        with pytest.raises(Unauthorized):
            await opened.call(refuse)
    assert server.logins == 2


def test_a_newline_at_the_end_of_a_secret_is_not_part_of_it_but_a_blank_is(files: Path) -> None:
    (files / "password").write_text(" secret \r\n")
    assert CredentialFiles(files).read() == Credentials(username="kodi", password=" secret ")


def test_a_secret_without_anything_useful_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="neither `token` nor") as caught:
        CredentialFiles(tmp_path).read()
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("kubectl create secret")


def test_no_directory_means_a_guest() -> None:
    assert CredentialFiles(None).read() == Credentials()


def test_credentials_do_not_show_themselves() -> None:
    shown = repr(Credentials(token="t0ken", username="kodi", password="hunter2", otp="SEED"))
    assert "kodi" in shown
    for hidden in ("t0ken", "hunter2", "SEED"):
        assert hidden not in shown


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_one_time_passwords_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert Credentials(otp=RFC_SEED).otp_code(moment) == code
    assert Credentials(otp="gezd gnbv gy3t qojq gezd gnbv gy3t qojq").otp_code(moment) == code


def test_a_code_in_the_place_of_the_seed_is_explained() -> None:
    with pytest.raises(Rejected, match="not base32"):
        Credentials(otp="123456").otp_code(datetime.fromtimestamp(59, UTC))
