"""Listings that want other files have other digests; a signature that expires is no such difference."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pantograph.providers.media.port import Entry, Listing, Skipped
from pantograph.strm.wanted import listing_digest

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 1500
"""More than are made ready for a digest together."""


def entry(number: int, **more: Any) -> Entry:
    return Entry(f"film {number:04}.mkv", "/lib", False, 1000 + number, WHEN, **more)


def digest(*entries: Entry, with_times: bool = False, shape: str = "shape") -> bytes:
    return listing_digest(Listing("/lib", entries, True, "complete"), shape=shape, with_times=with_times)


@pytest.mark.parametrize("position", [0, MANY // 2, MANY - 1])
@pytest.mark.parametrize(
    "change",
    [
        {"name": "film"},
        {"is_dir": True},
        {"size_bytes": 1},
        {"size_bytes": None},
        {"sign": "a:0"},
        {"sign": "b:1700000000"},
        {"pickcode": "p"},
        {"is_mount": True},
        {"is_locked": True},
    ],
    ids=lambda change: " ".join(f"{name} {value}" for name, value in change.items()),
)
def test_every_fact_of_every_entry_counts(change: dict[str, Any], position: int) -> None:
    before = [entry(number) for number in range(MANY)]
    after = [*before]
    after[position] = replace(before[position], **change)
    assert digest(*before) != digest(*after)


def test_a_time_counts_where_files_take_theirs_from_it() -> None:
    later = replace(entry(1), modified=WHEN + timedelta(seconds=1))
    assert digest(entry(0), entry(1)) == digest(entry(0), later)
    assert digest(entry(0), entry(1), with_times=True) != digest(entry(0), later, with_times=True)


def test_a_signature_that_expires_may_be_another_one() -> None:
    assert digest(entry(0, sign="a:1700000000")) == digest(entry(0, sign="b:1800000000"))
    assert digest(entry(0, sign="a:0")) != digest(entry(0, sign="b:0"))


def test_which_entry_a_signature_belongs_to_counts() -> None:
    assert digest(entry(0, sign="a:0"), entry(1)) != digest(entry(0), entry(1, sign="a:0"))


def test_a_name_that_nobody_can_address_counts() -> None:
    whole = Listing("/lib", (entry(0),), True, "complete")
    lacking = replace(whole, skipped=(Skipped("a\udcff", "is not UTF-8"),))
    assert listing_digest(whole, shape="", with_times=False) != listing_digest(lacking, shape="", with_times=False)


def test_where_its_parts_lie_in_memory_does_not_count() -> None:
    shared, number = "film", 10**6
    once = Entry(shared, "/lib", False, number, pickcode=shared)
    again = Entry("".join(shared), "/lib", False, int("1000000"), pickcode="".join([*"film"]))
    assert again.name is not again.pickcode
    assert digest(once) == digest(again)


def test_the_order_of_the_answer_does_not_count_and_the_spec_does() -> None:
    assert digest(entry(0), entry(1)) == digest(entry(1), entry(0))
    assert digest(entry(0)) != digest(entry(0), shape="another")
