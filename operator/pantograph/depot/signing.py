"""Signed URLs: who holds one may read one image until it expires, and nothing else."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Literal

Verdict = Literal["Valid", "Expired", "BadSignature"]


class Signer:
    """HMAC-SHA256 over digest and expiry. The key is the installation's own, at least 16 bytes (else ValueError)."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the depot's signing key must have at least 16 bytes")
        self._key = key

    def sign(self, image_digest: str, *, expires: int) -> str:
        """The signature of `image_digest` until `expires`, in seconds since the epoch."""
        return hmac.new(self._key, f"{image_digest}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def check(self, image_digest: str, *, expires: str, signature: str, now: datetime) -> Verdict:
        """Whether this signature opens this digest now. Signature first: nobody learns from an unsigned expiry."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            return "BadSignature"
        expected = self.sign(image_digest, expires=int(expires))
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return "BadSignature"
        return "Valid" if now.timestamp() < int(expires) else "Expired"
