"""Where the depot may fetch from: a URL comes from a tenant, the connection from the operator inside the cluster.

Private ranges are allowed (images live on internal mirrors); what reaches the operator's own pod, its node's metadata
service or the cluster's Services is not. The rule is applied where the socket is made, so that the address that was
checked is the one connected to, whatever the name resolved to before, and for every redirect.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import AddrInfoType
from yarl import URL

from pantograph.depot.errors import FetchForbidden
from pantograph.depot.model import redacted

Address = IPv4Address | IPv6Address

_ALWAYS_FORBIDDEN = {
    "the address of this host itself": ("0.0.0.0/8", "::/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast or broadcast": ("224.0.0.0/4", "255.255.255.255/32", "ff00::/8"),
    # Metadata services outside the link-local range: AWS (IPv6) and Alibaba Cloud.
    "a cloud's metadata service": ("fd00:ec2::254/128", "100.100.100.200/32"),
}
_LOOPBACK = ("127.0.0.0/8", "::1/128")
# RFC 6052 §2.1: a translator turns these into the IPv4 address in their last 32 bits.
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """`allow_loopback` is for the demo and tests only. Raises ValueError for a malformed address or CIDR."""

    cluster_networks: tuple[str, ...] = ()
    """The CIDRs of Pods and Services."""
    pod_address: str | None = None
    """The operator's own: its metrics and its ports for runs are nobody's business."""
    api_address: str | None = None
    """Where Pods reach the Kubernetes API server."""
    allow_loopback: bool = False
    """Allow this host's own addresses."""

    def __post_init__(self) -> None:
        for networks in self._forbidden().values():
            for network in networks:
                ip_network(network)

    def check_url(self, url: URL) -> None:
        """Raise FetchForbidden unless `url` is http or https and names a host."""
        if url.scheme not in ("http", "https") or not url.host:
            raise FetchForbidden(
                f"{redacted(url)} cannot be fetched: only http and https URLs with a host are",
                remedy="set spec.source.http.url to an http or https URL",
            )

    def check_address(self, address: str) -> None:
        """Raise FetchForbidden if `address` (numeric) is not one to connect to."""
        parsed = _unwrapped(ip_address(address.partition("%")[0]))
        for what, networks in self._forbidden().items():
            if any(parsed in ip_network(network) for network in networks):
                raise FetchForbidden(
                    f"the address {address} is {what}, which the fetch policy refuses",
                    remedy="serve the image from an address outside the cluster, and point spec.source.http.url there",
                )

    def open_socket(self, info: AddrInfoType) -> socket.socket:
        """Make the socket for one resolved address, or raise FetchForbidden: the socket factory of our connector."""
        family, kind, protocol, _, address = info
        self.check_address(str(address[0]))
        return socket.socket(family=family, type=kind, proto=protocol)

    def _forbidden(self) -> dict[str, tuple[str, ...]]:
        own = {"loopback": _LOOPBACK, "the operator's own pod": _if_known(self.pod_address)}
        return {
            **_ALWAYS_FORBIDDEN,
            **({} if self.allow_loopback else own),
            "the Kubernetes API server": _if_known(self.api_address),
            "inside the cluster's own network": self.cluster_networks,
        }


def _if_known(address: str | None) -> tuple[str, ...]:
    return (address,) if address else ()


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does: mapped, 6to4, NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
