"""Which addresses the depot connects to."""

from __future__ import annotations

import socket

import pytest
from yarl import URL

from pantograph.depot.errors import FetchForbidden
from pantograph.depot.policy import FetchPolicy

CLUSTER = FetchPolicy(cluster_networks=("10.96.0.0/12", "fd00:10:96::/112"))


@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.1.1", "172.16.0.1", "fd12::1", "93.184.216.34", "2606::1"])
def test_public_and_private_addresses_are_allowed(address: str) -> None:
    CLUSTER.check_address(address)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("0.0.0.0", "this host itself"),
        ("::", "this host itself"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("fd00:ec2::254", "metadata"),
        ("10.100.0.1", "the cluster's own network"),
        ("::ffff:10.100.0.1", "the cluster's own network"),
        ("fd00:10:96::1", "the cluster's own network"),
    ],
)
def test_what_lies_inside_is_refused_and_named(address: str, what: str) -> None:
    with pytest.raises(FetchForbidden, match=what) as caught:
        CLUSTER.check_address(address)
    assert address in caught.value.message
    assert "outside the cluster" in caught.value.remedy


def test_the_flag_lifts_loopback_and_nothing_else() -> None:
    lifted = FetchPolicy(allow_loopback=True)
    lifted.check_address("127.0.0.1")
    lifted.check_address("::1")
    with pytest.raises(FetchForbidden):
        lifted.check_address("169.254.169.254")


@pytest.mark.parametrize(
    ("address", "what"), [("10.244.0.7", "own pod"), ("10.43.0.1", "API server"), ("::ffff:10.43.0.1", "API server")]
)
def test_without_any_range_the_own_pod_and_the_api_server_are_refused_all_the_same(address: str, what: str) -> None:
    inside = FetchPolicy(pod_address="10.244.0.7", api_address="10.43.0.1")
    with pytest.raises(FetchForbidden, match=what):
        inside.check_address(address)
    inside.check_address("10.244.0.8")


def test_the_flag_lifts_the_own_pod_like_loopback_but_not_the_api_server() -> None:
    lifted = FetchPolicy(pod_address="10.244.0.7", api_address="10.43.0.1", allow_loopback=True)
    lifted.check_address("10.244.0.7")
    with pytest.raises(FetchForbidden):
        lifted.check_address("10.43.0.1")


def test_no_socket_is_made_for_a_refused_address() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))
    with pytest.raises(FetchForbidden):
        FetchPolicy().open_socket(info)
    FetchPolicy(allow_loopback=True).open_socket(info).close()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/x", "gopher://a", "/x"])
def test_only_http_and_https_are_schemes(url: str) -> None:
    with pytest.raises(FetchForbidden, match="only http and https"):
        FetchPolicy().check_url(URL(url))


def test_a_malformed_range_is_found_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        FetchPolicy(cluster_networks=("10.0.0.0/99",))
