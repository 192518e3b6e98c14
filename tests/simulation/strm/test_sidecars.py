"""Subtitles, nfo and images beside the films: copied, kept current, and never at a person's cost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes.mediatree import WHEN, MediaFile, MediaTree
from tests.simulation.strm.bench import ROOT, Stage


def library(content: bytes = b"first") -> MediaTree:
    return MediaTree().add(f"{ROOT}/film.mkv").add(f"{ROOT}/film.srt", content=content)


def replace(tree: MediaTree, content: bytes, *, later_s: float) -> None:
    tree.files[f"{ROOT}/film.srt"] = MediaFile(len(content), WHEN + timedelta(seconds=later_s), content=content)


@pytest.mark.parametrize(
    ("policy", "ours", "edited", "theirs"),
    [
        ("IfMissing", b"first", b"edited", b"theirs"),
        ("IfNewer", b"second", b"edited", b"theirs"),
        ("Overwrite", b"second", b"second", b"second"),
    ],
)
async def test_a_policy_decides_what_is_replaced(
    tmp_path: Path, policy: str, ours: bytes, edited: bytes, theirs: bytes
) -> None:
    for name, expected in (("ours", ours), ("edited", edited), ("theirs", theirs)):
        stage = Stage(tmp_path / name, library(), sidecars={"policy": policy})
        file = stage.target / "film.srt"
        if name == "theirs":
            file.write_bytes(b"theirs")
        await stage.run()
        if name == "edited":
            file.write_bytes(b"edited")
        replace(stage.tree, b"second", later_s=60)
        await stage.run()
        assert file.read_bytes() == expected, name
        before = stage.digest()
        await stage.run()
        assert stage.digest() == before, "and then there is peace"


@pytest.mark.parametrize(
    ("tolerance", "within", "beyond"),
    [
        ({"timeTolerance": "2s"}, (b"FIRST", 2), (b"FIRST", 3)),
        ({"sizeTolerance": "2"}, (b"1234567", 0), (b"12345678", 0)),
    ],
)
async def test_what_is_within_the_tolerance_is_the_same(
    tmp_path: Path, tolerance: dict[str, str], within: tuple[bytes, int], beyond: tuple[bytes, int]
) -> None:
    stage = Stage(tmp_path, library(), sidecars={"policy": "IfNewer", **tolerance})
    await stage.run()
    before = stage.digest()
    replace(stage.tree, within[0], later_s=within[1])
    await stage.run()
    assert stage.digest() == before
    replace(stage.tree, beyond[0], later_s=beyond[1])
    assert (await stage.run()).updated == 1


async def test_what_comes_short_is_not_kept(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library(), sidecars={})
    stage.tree.files[f"{ROOT}/film.srt"].size = 500
    report = await stage.run()
    assert (report.result, report.failed, report.unfinished) == ("Degraded", 1, [""])
    assert stage.names() == {"film.strm"}
    assert "5 bytes came, 500 were listed" in report.samples[0].message
    stage.tree.files[f"{ROOT}/film.srt"].size = 5
    assert (await stage.run()).created == 1


async def test_sidecars_keep_the_extension_of_their_film_where_films_do(tmp_path: Path) -> None:
    tree = MediaTree().add(f"{ROOT}/a.mkv", f"{ROOT}/b.mkv", f"{ROOT}/b.mp4", f"{ROOT}/b.part2.mkv")
    names = ("a.zh.srt", "a-poster.jpg", "b.srt", "b.part2.nfo", "a.mkv.ass", "folder.jpg", "abc.srt")
    tree.add(*(f"{ROOT}/{name}" for name in names), content=b"text")
    keep = {"root": {"name": "media"}, "onCollision": "KeepExt"}
    stage = Stage(tmp_path, tree, sidecars={}, target=keep, prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    assert stage.names() == {
        "a.mkv.strm",
        "a.mkv.zh.srt",
        "a.mkv-poster.jpg",
        "a.mkv.ass",
        "b.mkv.strm",
        "b.mkv.srt",
        "b.mp4.strm",
        "b.mp4.srt",
        "b.part2.mkv.strm",
        "b.part2.mkv.nfo",
        "folder.jpg",
        "abc.srt",
    }
    before = stage.digest()
    assert ((await stage.run()).unchanged, stage.digest()) == (12, before)


async def test_a_renamed_sidecar_goes_with_its_film(tmp_path: Path) -> None:
    tree = MediaTree().add(*(f"{ROOT}/film{n}.mkv" for n in range(40)))
    tree.add(f"{ROOT}/film1.srt", f"{ROOT}/film2.srt", content=b"text")
    keep = {"root": {"name": "media"}, "onCollision": "KeepExt"}
    stage = Stage(tmp_path, tree, sidecars={}, target=keep, prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    for gone in ("film1.mkv", "film1.srt", "film2.srt"):
        tree.remove(f"{ROOT}/{gone}")
    assert (await stage.run()).pruned == 2
    assert {name for name in stage.names() if name.endswith("srt")} == {"film2.mkv.srt"}
