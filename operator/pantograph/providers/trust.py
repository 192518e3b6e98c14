"""Whom a connection trusts, when its declaration names an authority of its own."""

from __future__ import annotations

import ssl
from typing import Final

from pantograph.providers.errors import Rejected

CA_KEY: Final = "ca.crt"
"""Of the Secret that a `caRef` names; as in those of type kubernetes.io/tls that cert-manager writes."""


def trusting(ca_pem: str, *, remedy: str) -> ssl.SSLContext:
    """A context that trusts these authorities and no other. Raises `Rejected` (`InvalidCA`) if they cannot be read."""
    try:
        return ssl.create_default_context(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise Rejected(f"the CA is no PEM certificate: {error}", reason="InvalidCA", remedy=remedy) from None
