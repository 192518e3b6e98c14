"""What a signature opens, and until when."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pantograph.depot.signing import Signer

NOW = datetime(2026, 11, 26, tzinfo=UTC)
EXPIRES = int(NOW.timestamp()) + 900
SIGNER = Signer(b"0123456789abcdef")


def verdict(digest: str, *, expires: str = str(EXPIRES), signature: str = "", now: datetime = NOW) -> str:
    signature = signature or SIGNER.sign("sha256:aa", expires=EXPIRES)
    return SIGNER.check(digest, expires=expires, signature=signature, now=now)


def test_it_opens_its_digest_until_the_second_of_its_expiry() -> None:
    assert verdict("sha256:aa") == "Valid"
    assert verdict("sha256:aa", now=datetime.fromtimestamp(EXPIRES - 1, UTC)) == "Valid"
    assert verdict("sha256:aa", now=datetime.fromtimestamp(EXPIRES, UTC)) == "Expired"


def test_it_opens_no_other_digest_and_no_later_time() -> None:
    assert verdict("sha256:bb") == "BadSignature"
    assert verdict("sha256:aa", expires=str(EXPIRES + 1)) == "BadSignature"
    assert verdict("sha256:aa", signature=Signer(b"another key, also long").sign("sha256:aa", expires=EXPIRES)) == (
        "BadSignature"
    )


@pytest.mark.parametrize("expires", ["", "-1", "1e9", "٣", "9" * 40])
def test_an_expiry_that_is_no_number_is_a_bad_signature(expires: str) -> None:
    assert verdict("sha256:aa", expires=expires) == "BadSignature"


def test_a_signature_that_is_no_ascii_is_a_bad_signature() -> None:
    assert verdict("sha256:aa", signature="é") == "BadSignature"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Signer(b"short")
