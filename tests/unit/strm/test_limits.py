"""How many files may go."""

from __future__ import annotations

import pytest

from pantograph.strm.limits import Situation, allowed, blocked
from pantograph.strm.spec import PruneRules


@pytest.mark.parametrize(
    ("inventory", "percent", "count", "limit"),
    [
        (100_000, 5, 500, 500),
        (1000, 5, 500, 50),
        (1000, 5, 3, 3),
        (20, 5, 500, 1),
        (39, 5, 500, 1),
        (19, 100, 500, 1),
        (19, 0, 500, 0),
        (0, 5, 500, 1),
        (1000, 0, 500, 0),
        (1000, 5, 0, 0),
    ],
)
def test_the_smaller_limit_holds(inventory: int, percent: int, count: int, limit: int) -> None:
    assert allowed(PruneRules(max_percent=percent, max_count=count), inventory=inventory) == limit


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        (Situation(inventory=100, candidates=5, ready=5), ""),
        (Situation(inventory=100, candidates=6, ready=6), "6 of 100 files would be removed; the limits allow 5"),
        (Situation(inventory=100, candidates=60, ready=0), ""),
        (Situation(inventory=97, candidates=3, ready=3, recent=3), "after 3 removed lately"),
        (Situation(inventory=100, candidates=100, ready=0, source_is_empty=True), "the source is empty"),
        (Situation(inventory=0, candidates=0, ready=0, source_is_empty=True), ""),
        (Situation(inventory=1, candidates=1, ready=1), "nothing would be left of 1 files"),
    ],
)
def test_what_blocks_says_why(situation: Situation, why: str) -> None:
    said = blocked(PruneRules(), situation)
    assert why in said if why else said == ""


def test_an_empty_source_that_may_be_believed_still_has_limits() -> None:
    rules = PruneRules(allow_empty_source=True)
    situation = Situation(inventory=100, candidates=100, ready=100, source_is_empty=True)
    assert blocked(rules, situation) == "100 of 100 files would be removed; the limits allow 5"
