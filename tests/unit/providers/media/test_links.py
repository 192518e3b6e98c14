"""The one line of a .strm file: golden cases."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pantograph.providers.errors import Rejected
from pantograph.providers.media.links import (
    Encoding,
    encode_path,
    http_line,
    mount_line,
    normal_base,
    openlist_sign,
    sign_expiry,
)
from pantograph.providers.media.port import Link

OPENLIST = Link("/115/a b.mkv", base="http://openlist:5244", prefix="/d", sign="abc=:0")
CLOUDDRIVE2 = Link("/115/a.mkv", base="http://cd2:19798", prefix="/static/{scheme}/{host}/False")


@pytest.mark.parametrize(
    ("path", "as_path", "as_minimal"),
    [
        ("/a/b c.mkv", "/a/b%20c.mkv", "/a/b c.mkv"),
        ("/100%.mkv", "/100%25.mkv", "/100%25.mkv"),
        ("/%41.mkv", "/%2541.mkv", "/%2541.mkv"),
        ("/what?#1.mkv", "/what%3F%231.mkv", "/what%3F%231.mkv"),
        ("/$&+=:@.mkv", "/$&+=:@.mkv", "/$&+=:@.mkv"),
        ("/a;b,c!'()*.mkv", "/a%3Bb%2Cc%21%27%28%29%2A.mkv", "/a;b,c!'()*.mkv"),
        ("/é.mkv", "/%C3%A9.mkv", "/é.mkv"),
        ("/e\u0301.mkv", "/e%CC%81.mkv", "/e\u0301.mkv"),
        ("/-_.~.mkv", "/-_.~.mkv", "/-_.~.mkv"),
    ],
)
def test_a_path_is_encoded_as_gos_path_escape_does_or_as_little_as_can_be(
    path: str, as_path: str, as_minimal: str
) -> None:
    assert encode_path(path, Encoding.PATH) == as_path
    assert encode_path(path, Encoding.MINIMAL) == as_minimal
    assert encode_path(path, Encoding.NONE) == path


@given(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1), st.sampled_from(Encoding))
def test_what_is_encoded_once_is_decoded_once(name: str, encoding: Encoding) -> None:
    encoded = encode_path(f"/{name}", encoding)
    assert (encoded if encoding is Encoding.NONE else unquote(encoded)) == f"/{name}"


@given(st.text(min_size=1), st.text())
def test_every_text_is_encoded_as_quote_does_it_whatever_came_before(name: str, before: str) -> None:
    encode_path(before, Encoding.PATH)
    assert encode_path(f"/d/{name}", Encoding.PATH) == quote(f"/d/{name}", safe="$&+=:@/")


def test_what_is_no_unicode_is_not_encoded_the_second_time_either() -> None:
    for _ in range(2):
        with pytest.raises(UnicodeEncodeError):
            encode_path("/a\ud800", Encoding.PATH)


def test_a_pickcode_stands_before_the_signature_and_ends_where_it_ends() -> None:
    link = OPENLIST._replace(pickcode="a&b=1")
    assert http_line(link, encoding=Encoding.PATH).endswith("/a%20b.mkv?pickcode=a%26b%3D1&sign=abc=:0")
    assert http_line(link._replace(sign=""), encoding=Encoding.PATH).endswith("/a%20b.mkv?pickcode=a%26b%3D1")


def test_the_signature_stands_literally_behind_the_path() -> None:
    assert http_line(OPENLIST, encoding=Encoding.PATH) == "http://openlist:5244/d/115/a%20b.mkv?sign=abc=:0"


def test_no_signature_leaves_no_question_mark() -> None:
    assert "?" not in http_line(OPENLIST._replace(sign=""), encoding=Encoding.PATH)


@pytest.mark.parametrize("base", ["https://Media.Example.org:443/sub/", "https://media.example.org/sub"])
def test_players_may_see_another_base_however_it_is_written(base: str) -> None:
    line = http_line(OPENLIST, encoding=Encoding.PATH, base=base, prefix="p/")
    assert line == "https://media.example.org/sub/p/115/a%20b.mkv?sign=abc=:0"


def test_clouddrive2_names_its_host_twice_and_a_new_base_changes_both() -> None:
    assert http_line(CLOUDDRIVE2, encoding=Encoding.PATH) == ("http://cd2:19798/static/http/cd2:19798/False/115/a.mkv")
    assert http_line(CLOUDDRIVE2, encoding=Encoding.PATH, base="https://nas.lan:8443") == (
        "https://nas.lan:8443/static/https/nas.lan:8443/False/115/a.mkv"
    )


def test_a_base_is_compared_in_one_form_only() -> None:
    assert normal_base(" HTTP://Host:80/ ") == normal_base("http://host") == "http://host"
    assert normal_base("http://host:8080/a/") == "http://host:8080/a"


def test_a_mounted_file_is_its_path_unencoded() -> None:
    assert mount_line(OPENLIST, mount_prefix="/mnt/media/") == "/mnt/media/115/a b.mkv"
    assert mount_line(OPENLIST._replace(mount_prefix="/data")) == "/data/115/a b.mkv"
    assert mount_line(OPENLIST, mount_prefix="/") == "/115/a b.mkv"


def test_a_mounted_file_whose_place_nobody_knows_is_refused() -> None:
    with pytest.raises(Rejected, match=r"set link\.mountPrefix"):
        mount_line(OPENLIST)


def test_a_file_without_an_address_is_refused() -> None:
    with pytest.raises(Rejected, match=r"set link\.publicBase"):
        http_line(Link("/a.mkv", mount_prefix="/data"), encoding=Encoding.PATH)


@pytest.mark.parametrize("char", ["\n", "\r", "\t", "\x7f"])
def test_a_control_character_never_breaks_the_line(char: str) -> None:
    link = OPENLIST._replace(path=f"/a{char}b.mkv")
    with pytest.raises(Rejected, match="control character"):
        mount_line(link, mount_prefix="/mnt")
    with pytest.raises(Rejected, match="control character"):
        http_line(link, encoding=Encoding.MINIMAL)
    assert char not in http_line(link, encoding=Encoding.PATH)


@given(st.text() | st.text(alphabet="ab\n\x1f\x7f\x80\u2028\u3000"))
def test_only_a_control_character_is_refused(name: str) -> None:
    """Not every other character that is not printable."""
    link = OPENLIST._replace(path=f"/{name}")
    breaks = any(char < " " or char == "\x7f" for char in name)
    with pytest.raises(Rejected) if breaks else nullcontext():
        assert http_line(link, encoding=Encoding.NONE) == f"http://openlist:5244/d/{name}?sign=abc=:0"


def test_a_signature_is_openlists_own() -> None:
    # HMAC-SHA256 of "/a/b c.mkv:0" under the key "token", by openssl.
    assert openlist_sign("/a/b c.mkv", key="token") == "pwS9WIYgXG9EYNEB5tPbILh86-OjYXN3fhPyucKoKX4=:0"


def test_a_signature_tells_when_it_ends() -> None:
    assert sign_expiry("abc=:1790000000") == datetime.fromtimestamp(1790000000, UTC)
    assert sign_expiry("abc=:0") is None
    assert sign_expiry("") is None
    assert sign_expiry("abc:99999999999999999999") is None
