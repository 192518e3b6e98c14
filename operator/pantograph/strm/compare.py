"""Whether an existing `.strm` may stay: equal bytes first, then the few differences that do not matter, each named.

Every needless rewrite makes the media server probe the remote file again, and a hundred thousand probes get a cloud
account banned; so a link that plays stays, even if it would be written otherwise today.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from pantograph.providers.media.links import normal_base, sign_expiry


class Verdict(NamedTuple):
    """`same`: leave the file. `reason`: why it stays although its bytes differ, or why it does not."""

    same: bool
    reason: str


class _Parts(NamedTuple):
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
    equivalent_bases: Collection[str],
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
    return _compare(have_parts, want_parts, now=now, renew_before_s=renew_before_s, bases=equivalent_bases)


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


def _compare(have: _Parts, want: _Parts, *, now: datetime, renew_before_s: float, bases: Collection[str]) -> Verdict:
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


def _split(text: str, equivalent_bases: Collection[str]) -> _Parts | None:
    address, _, fragment = text.partition("#")
    address, _, query = address.partition("?")
    scheme, _, rest = address.partition("://")
    host = rest.partition("/")[0]
    if scheme.lower() not in ("http", "https") or host.split() != [host]:
        return None
    url = f"{scheme.lower()}://{rest}"
    try:
        base = normal_base(f"{scheme}://{host}")
        values = parse_qs(query, keep_blank_values=True, strict_parsing=True) if query else {}
    except ValueError:
        return None
    path = rest[len(host) :]
    for each in equivalent_bases:  # a base may end in a path of its own
        if url == each or url.startswith(f"{each}/"):
            base, path = each, url[len(each) :]
            break
    pickcode = values.pop("pickcode", [""])[0]
    values.pop("sign", None)
    return _Parts(base, path, pickcode, _raw_sign(query), f"{sorted(values.items())}#{fragment}")


def _raw_sign(query: str) -> str:
    # Not by parse_qs, which would turn a `+` of the signature into a space.
    return f"&{query}".partition("&sign=")[2].partition("&")[0]
