"""Keys, names and what may be shown."""

from __future__ import annotations

import pytest

from pantograph.depot.model import FetchRequest, file_name, human_size, redacted

DECLARED = f"sha256:{'ab' * 32}"


def test_an_image_of_a_declared_checksum_is_found_whatever_the_url() -> None:
    assert FetchRequest("http://a/x", checksum=DECLARED.upper().replace("SHA", "sha")).image_key == DECLARED
    assert FetchRequest("http://b/y", checksum=DECLARED, scope="team-a").image_key == DECLARED


def test_a_fetch_is_shared_only_by_who_declares_the_same_url_and_the_same_checksum() -> None:
    keys = {
        FetchRequest(url, checksum=checksum).key
        for url in ("http://a/x", "http://b/x")
        for checksum in (None, DECLARED)
    }
    assert len(keys) == 4
    assert FetchRequest("http://a/x", checksum=DECLARED).key in keys


def test_without_checksum_the_key_is_of_the_url_and_does_not_show_it() -> None:
    one, other = FetchRequest("http://a/secret"), FetchRequest("http://a/other")
    assert one.key == one.image_key == FetchRequest("http://a/secret").key != other.key
    assert "secret" not in one.key


@pytest.mark.parametrize("url", ["http://origin.example/x", "http://bob:pw@origin.example/x"])
def test_credentials_part_the_namespaces(url: str) -> None:
    headers = {} if "@" in url else {"Authorization": "Bearer t"}
    one, other = (FetchRequest(url, checksum=DECLARED, headers=headers, scope=scope) for scope in ("a", "b"))
    assert (one.image_key, other.image_key) == (f"{DECLARED}@a", f"{DECLARED}@b")
    assert one.key != other.key


def test_an_at_sign_in_the_path_is_no_credential() -> None:
    assert not FetchRequest("http://origin.example/x@2.qcow2").has_credentials


def test_credentials_without_a_namespace_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="needs a scope"):
        FetchRequest("http://a/x", headers={"Authorization": "Bearer t"})


@pytest.mark.parametrize("checksum", ["abc", "md5:" + "0" * 32, "sha256:" + "0" * 63, "sha512:" + "g" * 128])
def test_a_malformed_checksum_is_a_mistake_of_the_caller(checksum: str) -> None:
    with pytest.raises(ValueError, match="neither sha256"):
        FetchRequest("http://a/x", checksum=checksum)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://bob:pw@origin.example:8443/a/b.qcow2?sig=1#f", "https://origin.example:8443/a/b.qcow2?…"),
        ("http://origin.example/x", "http://origin.example/x"),
        ("http://bob:pw@[::1/x", "(malformed URL)"),
    ],
)
def test_a_url_is_shown_without_user_query_and_fragment(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_a_file_is_named_by_digest_and_format() -> None:
    assert file_name(f"sha256:{'0123456789abcdef' * 4}", "vmdk") == "pantograph-0123456789abcdef.vmdk"


@pytest.mark.parametrize(("size", "text"), [(0, "0 bytes"), (1536, "1.5 KiB"), (2 << 40, "2.0 TiB")])
def test_sizes_read_well(size: int, text: str) -> None:
    assert human_size(size) == text
