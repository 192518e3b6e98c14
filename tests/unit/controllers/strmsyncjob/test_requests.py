"""What a person may write into `run-path`."""

from __future__ import annotations

import pytest

from pantograph.controllers.strmsyncjob.requests import BadPath, run_path
from pantograph.strm.subtrees import Subtrees


@pytest.mark.parametrize(
    ("text", "source", "parts"),
    [
        ("", "/115/Films", ()),
        ("/", "/115/Films", ()),
        ("/115/Films", "/115/Films", ()),
        ("/115/Films/", "/115/Films", ()),
        ("/115/Films/New", "/115/Films/", ("New",)),
        ("New/2026/", "/115/Films", ("New/2026",)),
        ("115/Films", "/115/Films", ("115/Films",)),
        ("/New", "/", ("New",)),
        ("Was ist das? #1", "/115", ("Was ist das? #1",)),
    ],
)
def test_a_path_is_below_the_source_or_the_servers_own(text: str, source: str, parts: tuple[str, ...]) -> None:
    assert run_path(text, source=source) == Subtrees(parts)


@pytest.mark.parametrize("text", ["/Shows", "/115/Films2", "../x", "/115/Films/../x", "a\nb", "a\0b", "x" * 2000])
def test_a_path_that_leads_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(BadPath):
        run_path(text, source="/115/Films")
