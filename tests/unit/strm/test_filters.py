"""Which paths a pattern takes out."""

from __future__ import annotations

import pytest

from pantograph.strm.filters import Excludes, FileFilter, PathFilter


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


@pytest.mark.parametrize(
    ("patterns", "taken", "left", "entered", "passed"),
    [
        (["Movies"], ["Movies/a.mkv", "x/Movies/a.mkv"], ["a.mkv", "Movies2/a.mkv"], ["x", "Movies", "x/y"], []),
        (["Shows/*/S1"], ["Shows/A/S1/e.mkv"], ["Shows/A/S2/e.mkv", "Shows/A/e.mkv"], ["Shows/A", "Shows/A/S1/x"],
         ["Films", "Shows/A/S2"]),
        (["Shows/**", "*.iso"], ["Shows/a.mkv", "x/y.iso"], ["x/y.mkv"], ["x", "Shows/A"], []),
        (["A/**/4K"], ["A/4K/f.mkv", "A/b/c/4K/f.mkv"], ["A/f.mkv", "B/4K/f.mkv"], ["A", "A/b/c"], ["B", "B/4K"]),
        (["**"], ["a.mkv", "b/c.mkv"], [], ["a"], []),
        ([], ["a.mkv"], [], ["a"], []),
    ],
)  # fmt: skip
def test_only_what_is_included_is_taken_and_only_where_it_may_be_is_looked(
    patterns: list[str], taken: list[str], left: list[str], entered: list[str], passed: list[str]
) -> None:
    paths = PathFilter(include=patterns)
    assert [path for path in taken if not paths.takes(path)] == []
    assert [path for path in left if paths.takes(path)] == []
    assert [path for path in entered if not paths.enters(path)] == []
    assert [path for path in passed if paths.enters(path)] == []


def test_every_path_is_taken_unasked_only_where_no_pattern_is() -> None:
    assert PathFilter().takes_all
    assert not PathFilter(include=["Movies"]).takes_all
    assert not PathFilter(exclude=["Sample"]).takes_all


def test_what_is_excluded_is_not_included() -> None:
    paths = PathFilter(include=["Movies"], exclude=["Sample"])
    assert paths.takes("Movies/a.mkv")
    assert not paths.takes("Movies/Sample")
    assert not paths.enters("Movies/Sample")
