"""Which folders a media server is told of, and as what it sees them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pantograph.api.notify import MediaServer
from pantograph.providers.notify.port import ChangeKind
from pantograph.strm.folders import MediaServerRules


def rules(sub_path: str = "", **more: Any) -> MediaServerRules:
    body: dict[str, Any] = {"name": "den", "type": "Emby", "url": "http://den:8096", "secretRef": {"name": "den"}}
    body |= {"pathMap": [{"from": "/", "to": "/media"}]} | more
    return MediaServerRules.of(MediaServer.model_validate(body), sub_path)


def test_what_the_spec_leaves_out_is_a_minute_and_two_hundred_folders() -> None:
    assert (rules().debounce_s, rules().max_paths) == (60, 200)
    assert (rules(debounce="1h", maxPaths=16).debounce_s, rules(maxPaths=16).max_paths) == (3600, 16)


@pytest.mark.parametrize(
    ("sub_path", "start", "to", "local", "seen"),
    [
        ("", "/", "/media/strm", "Films/A", "/media/strm/Films/A"),
        ("", "/", "/", "Films/A", "/Films/A"),
        ("", "/", "/", "", "/"),
        ("lib/films", "/lib", "/media/", "A", "/media/films/A"),
        ("lib//films/", "/lib/films", "/media", "", "/media"),
        ("lib/films", "/lib/fil", "/media", "A", None),
        ("lib/films", "/lib/films/A", "/a", "A/b", "/a/b"),
        ("lib/films", "/lib/films/A", "/a", "B", None),
        ("", "/Films", "D:\\strm", "Films/A/b", "D:\\strm\\A\\b"),
        ("", "/Films", "D:/", "Films/A", "D:\\A"),
        ("", "/", "\\\\nas\\strm", "Films", "\\\\nas\\strm\\Films"),
    ],
)
def test_a_folder_is_named_as_the_media_server_sees_it(
    sub_path: str, start: str, to: str, local: str, seen: str | None
) -> None:
    assert rules(sub_path, pathMap=[{"from": start, "to": to}]).place(local) == seen


def test_the_first_mapping_that_fits_holds() -> None:
    both = rules(pathMap=[{"from": "/Films", "to": "/f"}, {"from": "/", "to": "/all"}])
    assert [both.place(local) for local in ("Films/A", "Shows/A")] == ["/f/A", "/all/Shows/A"]


def fold(of: MediaServerRules, *changes: tuple[str, ChangeKind]) -> dict[str, str]:
    folders, _ = of.fold(sorted(changes))
    return {each.path: each.kind for each in folders}


def test_what_lies_in_a_folder_that_came_or_went_goes_without_saying() -> None:
    told = fold(
        rules(),
        ("A", "Created"),
        ("A/b/c", "Created"),
        ("A b", "Modified"),
        ("B", "Deleted"),
        ("B/c", "Deleted"),
        ("C", "Modified"),
        ("C/d", "Modified"),
    )
    assert told == {
        "/media/A": "Created",
        "/media/A b": "Modified",
        "/media/B": "Deleted",
        "/media/C": "Modified",
        "/media/C/d": "Modified",
    }


def test_of_too_many_the_folders_that_hold_them_are_told() -> None:
    deep: list[tuple[str, ChangeKind]] = [(f"s{n % 2}/x/d{n}", "Created") for n in range(40)]
    assert fold(rules(maxPaths=16), *deep, ("s0", "Modified"), ("t", "Deleted")) == {
        "/media/s0": "Modified",
        "/media/s0/x": "Modified",
        "/media/s1/x": "Modified",
        "/media/t": "Deleted",
    }


def test_a_flat_library_of_very_many_is_told_as_one_folder() -> None:
    assert fold(rules("lib"), *((f"film{n}", "Created") for n in range(5000))) == {"/media/lib": "Modified"}


def test_folders_that_nothing_maps_are_named_a_few_of_them() -> None:
    told, unmapped = rules(pathMap=[{"from": "/Films", "to": "/f"}]).fold([(f"S{n}", "Created") for n in range(9)])
    assert (told, unmapped) == ([], ["S0", "S1", "S2"])


NAMES = st.lists(st.sampled_from(["a", "b", "b c", "ä", "a-"]), max_size=5).map("/".join)
KINDS = st.sampled_from(["Created", "Modified", "Deleted"])


@given(st.dictionaries(NAMES, KINDS, max_size=120))
def test_every_change_is_led_to_by_few_folders_and_none_that_is_not_above_one(changes: dict[str, ChangeKind]) -> None:
    told = fold(rules(maxPaths=16), *changes.items())
    assert len(told) <= 16
    paths = {f"/media/{local}".rstrip("/"): kind for local, kind in changes.items()}
    for path in paths:
        assert any(f"{path}/".startswith(f"{each}/") for each in told), path
    for each, kind in told.items():
        assert any(f"{path}/".startswith(f"{each}/") for path in paths)
        assert kind == paths.get(each, "Modified")
