"""The same content is known again; what only resembles it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pantograph.providers.media.port import Entry, Listing
from pantograph.strm.likeness import Likeness

FILM = Entry("film.mkv", "/", False, 7, datetime(2026, 1, 1, tzinfo=UTC), sign="a:0")
SHOWS = Entry("shows", "/", True)
TWIN = replace(FILM, size_bytes=9)
"""Clouds keep two files of one name in one folder."""


def listing(*entries: Entry) -> Listing:
    return Listing("/", entries, True, "complete")


def elsewhere(*entries: Entry) -> Listing:
    """The same things as the answer for another directory, in another order, each with a new signature."""
    return listing(*(replace(each, parent="/lost", sign="b:0") for each in reversed(entries)))


@pytest.mark.parametrize("entries", [(FILM,), (FILM, SHOWS), (FILM, TWIN, SHOWS)])
def test_the_same_things_are_known_again(entries: tuple[Entry, ...]) -> None:
    assert Likeness.of(listing(*entries)).is_of(elsewhere(*entries))


@pytest.mark.parametrize("others", [(), (FILM,), (TWIN, SHOWS), (FILM, SHOWS, TWIN)])
def test_other_things_are_not(others: tuple[Entry, ...]) -> None:
    assert not Likeness.of(listing(FILM, SHOWS)).is_of(elsewhere(*others))


def test_nothing_is_like_nothing() -> None:
    assert not Likeness.of(listing()).is_of(elsewhere())
