"""The node's cluster DNS: the address of a Service by its name, as pods of any cluster find it.

The part of https://github.com/kubernetes/dns/blob/master/docs/specification.md that is used here: A records of Services
that have an address. There is no name of anything else, because there is no way out to it either.
"""

import threading
from collections.abc import Callable
from typing import Final

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

DOMAIN: Final = "cluster.local"
PORT: Final = 53
_TTL_S: Final = 5

AddressOf = Callable[[str, str], str | None]
"""Namespace and name of a Service → its address; None: there is no such Service, or it has none."""


class Names:
    """Answers at `address` until `stop()`; a thread of this process."""

    def __init__(self, address: str, address_of: AddressOf) -> None:
        self._server = DNSServer(
            _Resolver(address_of), address=address, port=PORT, logger=DNSLogger(log="error", prefix=False)
        )
        self._thread = threading.Thread(target=self._server.server.serve_forever, name="names", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.server.shutdown()
        self._server.server.server_close()
        self._thread.join()


class _Resolver(BaseResolver):  # type: ignore[misc]  # dnslib has no types
    def __init__(self, address_of: AddressOf) -> None:
        self._address_of = address_of

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        """The answer: the Service's address, nothing for another type of record, or that there is no such name."""
        reply = request.reply()
        service = _service(str(request.q.qname))
        address = self._address_of(*service) if service else None
        if address is None:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype in (QTYPE.A, QTYPE.ANY):
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=_TTL_S))
        return reply


def _service(name: str) -> tuple[str, str] | None:
    """Namespace and name, of `<name>.<namespace>.svc.cluster.local.`"""
    parts = name.rstrip(".").lower().removesuffix(f".{DOMAIN}").split(".")
    return (parts[1], parts[0]) if len(parts) == 3 and parts[2] == "svc" else None
