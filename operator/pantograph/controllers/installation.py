"""This installation's identity and key, kept in one Secret that the operator makes once in its own namespace."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from pantograph.api.meta import SECRETS, Body
from pantograph.engine.kube import Conflict, KubeApi, NotFound, OutcomeUnknown

SECRET_NAME: Final = "pantograph-installation"  # noqa: S105 - a name, not a secret


@dataclass(frozen=True, slots=True)
class Installation:
    """Who we are outside (in marks), and the key that signs depot URLs and fingerprints secrets."""

    id: str
    key: bytes = field(repr=False)

    def fingerprint(self, secret: str) -> str:
        """An HMAC that changes with `secret` and tells nothing about it; for status and hashes."""
        return hmac.new(self.key, secret.encode(), hashlib.sha256).hexdigest()[:32]


async def load_installation(kube: KubeApi, namespace: str, name: str = SECRET_NAME) -> Installation:
    """The installation of this namespace; made now if it never was. Raises KubeError."""
    try:
        return _read(await kube.get(SECRETS, namespace, name))
    except NotFound:
        pass
    body: Body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": {"id": _encode(secrets.token_hex(8).encode()), "key": _encode(secrets.token_bytes(32))},
    }
    try:
        return _read(await kube.create(SECRETS, namespace, body))
    except (Conflict, OutcomeUnknown):
        # Another process was first, or it was ours and the answer is lost: what is stored decides.
        return _read(await kube.get(SECRETS, namespace, name))


def _read(secret: Body) -> Installation:
    data = secret["data"]
    return Installation(id=base64.b64decode(data["id"]).decode(), key=base64.b64decode(data["key"]))


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()
