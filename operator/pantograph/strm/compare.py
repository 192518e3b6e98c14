"""Whether an existing `.strm` may stay: equal bytes first, then the few differences that do not matter, each named.

Every needless rewrite makes the media server probe the remote file again, and a hundred thousand probes get a cloud
account banned; so a link that plays stays, even if it would be written otherwise today.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

from pantograph.providers.media.links import normal_base, sign_expiry


@dataclass(frozen=True, slots=True)
class Verdict:
    """`same`: leave the file. `reason`: why it stays although its bytes differ, or why it does not."""

    same: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Parts:
    base: str
    path: str
    """As written, still encoded."""
    pickcode: str
    sign: str
    rest: str


def compare(
    existing: bytes,
    wanted: bytes,
    *,
    equivalent_bases: Iterable[str],
    now: datetime,
    renew_before_s: float,
) -> Verdict:
    """Judge the file's content `existing` against the one that would be written."""
    if existing == wanted:
        return Verdict(True, "Identical")
    text = existing.decode(errors="surrogateescape").strip("\ufeff \t\r\n")
    want = wanted.decode()
    if text == want:
        return Verdict(True, "EqualButForWhitespace")
    have_parts, want_parts = _split(text, equivalent_bases), _split(want, equivalent_bases)
    if have_parts is None or want_parts is None:
        return Verdict(False, "ContentChanged")
    return _compare(have_parts, want_parts, now=now, renew_before_s=renew_before_s, bases=set(equivalent_bases))


def sign_of(content: bytes) -> str:
    """The signature in a `.strm`; empty if there is none."""
    if b"sign=" not in content:
        return ""
    return _raw_sign(content.decode(errors="replace").strip().partition("?")[2])


def pickcode_of(content: bytes) -> str:
    """The pickcode in a `.strm`; empty if there is none."""
    if b"pickcode=" not in content:
        return ""
    query = content.decode(errors="replace").strip().partition("?")[2]
    return parse_qs(query).get("pickcode", [""])[0]


def _compare(have: _Parts, want: _Parts, *, now: datetime, renew_before_s: float, bases: set[str]) -> Verdict:
    equivalent = have.base != want.base
    if equivalent and have.base not in bases:
        return Verdict(False, "BaseChanged")
    if have.path != want.path:
        return Verdict(False, "EncodingChanged" if unquote(have.path) == unquote(want.path) else "PathChanged")
    if have.pickcode != want.pickcode:
        return Verdict(False, "PickcodeChanged")
    if have.rest != want.rest:
        return Verdict(False, "ContentChanged")
    same = "EquivalentBase" if equivalent else "Identical"
    if have.sign == want.sign:
        return Verdict(True, same)
    return _compare_signs(have.sign, want.sign, now=now, renew_before_s=renew_before_s)


def _compare_signs(have: str, want: str, *, now: datetime, renew_before_s: float) -> Verdict:
    if not have:
        return Verdict(False, "SignMissing")
    expiry = sign_expiry(have)
    if expiry is not None and expiry - now <= timedelta(seconds=renew_before_s):
        return Verdict(False, "SignExpiring")
    if not want:
        return Verdict(True, "SignNotNeeded")
    if expiry is None or sign_expiry(want) is None:
        return Verdict(False, "SignChanged")
    return Verdict(True, "SignStillValid")


def _split(text: str, equivalent_bases: Iterable[str]) -> _Parts | None:
    try:
        parts = urlsplit(text)
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    sign = _raw_sign(parts.query)
    pickcode = query.pop("pickcode", [""])[0]
    query.pop("sign", None)
    url = f"{parts.scheme}://{parts.netloc}{parts.path}"
    base = normal_base(f"{parts.scheme}://{parts.netloc}")
    for each in equivalent_bases:  # a base may end in a path of its own
        if url == each or url.startswith(f"{each}/"):
            base = each
            break
    path = url[len(base) :] if url.startswith(base) else parts.path
    return _Parts(base, path, pickcode, sign, f"{sorted(query.items())}#{parts.fragment}")


def _raw_sign(query: str) -> str:
    # Not by parse_qs, which would turn a `+` of the signature into a space.
    return f"&{query}".partition("&sign=")[2].partition("&")[0]
