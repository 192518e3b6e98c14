"""Which differences of a link matter, and what they are called."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pantograph.strm.compare import compare, sign_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOON, LATE = int(NOW.timestamp()) + 3600, int(NOW.timestamp()) + 10**6
W = "http://s:5244/d/a/b%20c.mkv"


@pytest.mark.parametrize(
    ("existing", "wanted", "same", "reason"),
    [
        (W, W, True, "Identical"),
        (f"{W}\n", W, True, "EqualButForWhitespace"),
        (f"\ufeff{W}\r\n", W, True, "EqualButForWhitespace"),
        ("http://old/d/a/b%20c.mkv", W, False, "BaseChanged"),
        ("http://cdn/d/a/b%20c.mkv", W, True, "EquivalentBase"),
        ("http://cdn.evil/d/a/b%20c.mkv", W, False, "BaseChanged"),
        ("http://S:5244/d/a/b%20c.mkv", W, True, "Identical"),
        ("HTTP://s:80/d/a", "http://s/d/a", True, "Identical"),
        ("http://s:5244/d/a\n/b%20c.mkv", W, False, "PathChanged"),
        ("http://s:5244 /d/a/b%20c.mkv", W, False, "ContentChanged"),
        ("http://s:5244\u3000/d/a/b%20c.mkv", W, False, "ContentChanged"),
        ("http://s:5244\n/d/a/b%20c.mkv", W, False, "ContentChanged"),
        ("http://s:52\n44/d/a/b%20c.mkv", W, False, "ContentChanged"),
        (f"{W}#t=1", W, False, "ContentChanged"),
        ("http:///d/a/b%20c.mkv", W, False, "ContentChanged"),
        ("http://s:5244", W, False, "PathChanged"),
        ("http://s:5244/d/a/b c.mkv", W, False, "EncodingChanged"),
        ("http://s:5244/d/a/other.mkv", W, False, "PathChanged"),
        ("http://s:5244/a/b%20c.mkv", W, False, "PathChanged"),
        ("/mnt/a/b c.mkv", W, False, "ContentChanged"),
        (W, "/mnt/a/b c.mkv", False, "ContentChanged"),
        ("", W, False, "ContentChanged"),
        ("http://[broken", W, False, "ContentChanged"),
        (W, f"{W}?sign=a:0", False, "SignMissing"),
        (f"{W}?sign=b:0", f"{W}?sign=a:0", False, "SignChanged"),
        (f"{W}?sign=b:{LATE}", f"{W}?sign=a:{LATE + 9}", True, "SignStillValid"),
        (f"{W}?sign=b:{SOON}", f"{W}?sign=a:{LATE}", False, "SignExpiring"),
        (f"{W}?sign=b:1", f"{W}?sign=a:{LATE}", False, "SignExpiring"),
        (f"{W}?sign=b:0", W, True, "SignNotNeeded"),
        (f"{W}?sign=b:{SOON}", W, False, "SignExpiring"),
        (f"{W}?pickcode=1", f"{W}?pickcode=2", False, "PickcodeChanged"),
        (f"{W}?x=1", W, False, "ContentChanged"),
    ],
)
def test_a_difference_has_a_name(existing: str, wanted: str, same: bool, reason: str) -> None:
    verdict = compare(existing.encode(), wanted.encode(), equivalent_bases=["http://cdn"], now=NOW, renew_before_s=7200)
    assert (verdict.same, verdict.reason) == (same, reason)


def test_bytes_that_are_no_text_are_another_content() -> None:
    assert not compare(b"\xff\xfe\0", W.encode(), equivalent_bases=[], now=NOW, renew_before_s=0).same


def test_the_signature_is_read_as_it_stands() -> None:
    assert sign_of(f"{W}?a=1&sign=x+y/z==:0\n".encode()) == "x+y/z==:0"


@pytest.mark.parametrize(
    ("query", "sign"),
    [
        ("sign=a:0", "a:0"),
        ("sign=a:0&sign=b:0", "a:0"),
        ("pickcode=1&sign=a:0&x=2", "a:0"),
        ("design=1&sign=a:0", "a:0"),
        ("design=1", ""),
        ("sign", ""),
        ("sign=", ""),
        ("x=?sign=a", ""),
    ],
)
def test_a_signature_is_the_first_parameter_of_that_name(query: str, sign: str) -> None:
    assert sign_of(f"{W}?{query}".encode()) == sign


@given(st.lists(st.sampled_from(["sign=", "sign", "=", "&", "&&", "a:0", "de"])).map("".join))
def test_a_signature_is_found_where_the_parameters_are_taken_apart_one_by_one(query: str) -> None:
    parameters = query.split("&")
    assert sign_of(f"{W}?{query}".encode()) == next((each[5:] for each in parameters if each.startswith("sign=")), "")
