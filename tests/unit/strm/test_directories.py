"""What the records say of directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantograph.strm.manifest import Manifest


@pytest.mark.parametrize("chosen", [[], [3], [5, 0, 1, 8], [2, 4, 6], [9, 8, 7, 7], list(range(10))])
def test_exactly_the_directories_that_are_named_are_proved(tmp_path: Path, chosen: list[int]) -> None:
    with Manifest(tmp_path / "manifest.sqlite", durable=False) as manifest:
        known = manifest.directories
        ids = [known.add(f"d{number}", f"d{number}", parent=None, mount=False) for number in range(10)]
        known.prove(7, [ids[number] for number in chosen])
        manifest.commit()
        rows = [known.at(f"d{number}") for number in range(10)]
        assert {row.path for row in rows if row and row.proved_run == 7} == {f"d{number}" for number in chosen}


def test_who_claims_a_directory_is_told_what_it_lies_in(tmp_path: Path) -> None:
    with Manifest(tmp_path / "manifest.sqlite", durable=False) as manifest:
        known = manifest.directories
        above = known.add("a", "a", parent=None, mount=False)
        inside = known.add("a/b", "a/b", parent=above, mount=False)
        assert (known.claim(inside), known.last()) == (above, inside)
        manifest.commit()
        rows = known.at("a"), known.at("a/b")
        assert [row.made for row in rows if row] == [False, True]
