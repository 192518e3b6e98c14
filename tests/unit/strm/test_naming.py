"""What remote names become on disk."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pantograph.strm.naming import (
    MAX_NAME_BYTES,
    STATE_DIR,
    NameRules,
    RefusedName,
    extension_of,
    sidecar_name,
    split_extension,
    strm_name,
)

POSIX, PORTABLE = NameRules(), NameRules(profile="Portable")
CUT = NameRules(on_long="TruncateHash")


@pytest.mark.parametrize(
    ("name", "posix", "portable"),
    [
        ("Film.mkv", "Film.strm", "Film.strm"),
        ("Film-CD1.WMV", "Film-CD1.strm", "Film-CD1.strm"),
        ("a.b.c.mkv", "a.b.c.strm", "a.b.c.strm"),
        ("What? A <film>: 1|2*.mkv", "What? A <film>: 1|2*.strm", "What_ A _film__ 1_2_.strm"),
        ("back\\slash.mkv", "back\\slash.strm", "back_slash.strm"),
        ("CON.mkv", "CON.strm", "_CON.strm"),
        ("console.mkv", "console.strm", "console.strm"),
        ("no extension", "no extension.strm", "no extension.strm"),
        (".hidden", ".hidden.strm", ".hidden.strm"),
    ],
)
def test_a_film_keeps_its_stem(name: str, posix: str, portable: str) -> None:
    assert strm_name(name, POSIX, keep_extension=False) == posix
    assert strm_name(name, PORTABLE, keep_extension=False) == portable


def test_trailing_dots_and_spaces_are_replaced_where_windows_would_drop_them() -> None:
    assert PORTABLE.local("Season 1. ") == "Season 1__"
    assert POSIX.local("Season 1. ") == "Season 1. "


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\0b", "a\nb", "a\x9fb", "\ud800", ".pantograph", ".Pantograph"]
)
def test_names_that_no_target_takes_are_refused(name: str) -> None:
    with pytest.raises(RefusedName):
        POSIX.local(name)


@given(st.text(alphabet=st.characters() | st.sampled_from("./\x7f\x85\u2028\u3000\xad"), max_size=MAX_NAME_BYTES // 4))
def test_a_name_is_refused_for_what_breaks_a_line_or_a_path_and_nothing_else(name: str) -> None:
    """A soft hyphen or a wide space is not printable either, and stays as it is."""
    breaks = any(
        char in "/\u2028\u2029\x7f" or char < " " or "\x80" <= char <= "\x9f" or "\ud800" <= char <= "\udfff"
        for char in name
    )
    with pytest.raises(RefusedName) if breaks or name.casefold() in ("", ".", "..", STATE_DIR) else nullcontext():
        assert POSIX.local(name) == name


@pytest.mark.parametrize(
    ("name", "stem", "extension"),
    [
        ("a.b.MKV", "a.b", ".MKV"),
        ("a..mkv", "a.", ".mkv"),
        ("a.", "a.", ""),
        (".mkv", ".mkv", ""),
        ("..mkv", ".", ".mkv"),
        ("..", "..", ""),
        ("mkv", "mkv", ""),
        ("", "", ""),
    ],
)
def test_an_extension_follows_the_last_dot_if_anything_stands_on_both_sides(
    name: str, stem: str, extension: str
) -> None:
    assert split_extension(name) == (stem, extension)
    assert extension_of(name) == extension.removeprefix(".").lower()


def test_the_most_characters_that_surely_fit_are_not_one_more() -> None:
    assert POSIX.local("\U0001f3ac" * 63) == "\U0001f3ac" * 63
    with pytest.raises(RefusedName, match="256 bytes"):
        POSIX.local("\U0001f3ac" * 64)


def test_length_is_counted_in_bytes_with_the_suffix_that_is_added() -> None:
    assert strm_name("é" * 125 + ".mkv", POSIX, keep_extension=False) == "é" * 125 + ".strm"
    with pytest.raises(RefusedName, match="256 bytes"):
        strm_name("x" * 251 + ".mkv", POSIX, keep_extension=False)


def test_a_long_film_and_its_subtitle_are_cut_to_one_stem() -> None:
    stem = "影" * 100
    film, subtitle = strm_name(f"{stem}.mkv", CUT, keep_extension=False), sidecar_name(f"{stem}.srt", CUT)
    assert len(film.encode()) <= 255
    assert film.encode().decode() == film, "cut between characters"
    assert film.removesuffix(".strm")[-9:] == subtitle.removesuffix(".srt")[-9:]
    other = strm_name(f"{stem}2.mkv", CUT, keep_extension=False)
    assert other != film


def test_portable_names_of_equal_fold_are_one() -> None:
    assert PORTABLE.fold("Ame\u0301lie") == PORTABLE.fold("AMÉLIE")
    assert POSIX.fold("a") != POSIX.fold("A")
