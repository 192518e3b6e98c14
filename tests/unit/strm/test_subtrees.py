"""Which directories a run over parts of the source lists."""

from __future__ import annotations

import pytest

from pantograph.strm.subtrees import Subtrees


@pytest.mark.parametrize("paths", [("", "Films"), ("Films", "")])
def test_a_directory_that_was_named_is_listed_although_one_above_it_was_named_too(paths: tuple[str, ...]) -> None:
    hints = Subtrees(paths, shallow=True)
    assert hints.covers("Films", known=True)
    assert not hints.covers("Shows", known=True)
    assert hints.covers("Shows", known=False)


def test_what_lies_on_the_way_and_below_is_listed_and_nothing_beside_it() -> None:
    part = Subtrees(("Films/New",))
    assert part.covers("Films", known=True)
    assert part.covers("Films/New/2026", known=True)
    assert not part.covers("Films/Newer", known=True)
    assert not part.covers("Shows", known=False)
