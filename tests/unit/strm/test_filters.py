"""Which paths a pattern takes out."""

from __future__ import annotations

import pytest

from pantograph.strm.filters import Excludes, FileFilter


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("Sample", ["Sample", "a/Sample", "a/b/Sample"], ["Samples", "a/Sample2", "MySample"]),
        ("**/Sample/**", ["Sample", "a/Sample", "a/b/Sample"], ["a/Samples"]),
        ("a/b", ["a/b"], ["a/bc", "x/a/b", "a"]),
        ("a/*/c", ["a/x/c"], ["a/x/y/c", "a/c"]),
        ("a/**/c", ["a/c", "a/x/c", "a/x/y/c"], ["ab/c", "a/xc"]),
        ("*.tmp", ["x.tmp", "a/b/x.tmp"], ["x.tmp.mkv"]),
        ("Season ?", ["Season 1", "s/Season 2"], ["Season 10", "Season "]),
        ("[0-9]*", ["1x", "a/2"], ["x1"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_patterns_match_whole_segments(pattern: str, taken: list[str], left: list[str]) -> None:
    excludes = Excludes([pattern])
    assert [path for path in taken if not excludes.match(path)] == []
    assert [path for path in left if excludes.match(path)] == []


def test_no_pattern_takes_nothing() -> None:
    assert not Excludes([]).match("anything")
    assert not Excludes(["**"]).match("anything")


def test_extension_and_size() -> None:
    chosen = FileFilter(("mkv",), 100, frozenset({"srt"}), 1000)
    assert [chosen.is_media(*each) for each in [("a.MKV", 100), ("a.mkv", 99), ("a.mkv", None), ("a.mkv", 0)]] == [
        True,
        False,
        True,
        True,
    ]
    assert not chosen.is_media("mkv", 100)
    assert [chosen.is_sidecar("a.srt", size) for size in (1, 1001, None)] == [True, False, False]
