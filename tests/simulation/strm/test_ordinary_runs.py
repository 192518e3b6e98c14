"""An ordinary day: files appear, a second run writes nothing, changes arrive, strangers' files stay."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pantograph.providers.errors import Busy
from pantograph.providers.media.port import Entry, Listing
from tests.fakes import mediatree
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import ROOT, Stage, films
from tests.simulation.strm.older import make_older


async def test_a_media_tree_becomes_a_tree_of_links(tmp_path: Path) -> None:
    stage = Stage(tmp_path, MediaTree().add(f"{ROOT}/Films/Amélie (2001)/Amélie 100%.mkv", f"{ROOT}/Top?.mp4"))
    report = await stage.run()
    assert report.result == "Succeeded", report
    assert (report.created, report.remote_requests) == (2, 3)
    assert stage.files() == {
        "Films/Amélie (2001)/Amélie 100%.strm": (
            b"http://player.lan/d/lib/Films/Am%C3%A9lie%20%282001%29/Am%C3%A9lie%20100%25.mkv"
        ),
        "Top?.strm": b"http://player.lan/d/lib/Top%3F.mp4",
    }


async def test_a_run_that_finds_nothing_new_touches_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await stage.run()
    before = stage.digest()
    for _ in range(3):
        report = await stage.run()
        assert (report.created, report.updated, report.unchanged, report.failed) == (0, 0, 300, 0)
        assert report.remote_requests == 1 + 6 + 30
    assert stage.digest() == before


async def test_a_new_file_is_made_and_its_neighbours_are_left(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(60))
    await stage.run()
    before = {row[0]: row for row in stage.digest()}
    stage.tree.add(f"{ROOT}/shelf0/show0/extra.mkv")
    report = await stage.run()
    assert (report.created, report.unchanged) == (1, 60)
    after = {row[0]: row for row in stage.digest()}
    changed = {path for path, row in after.items() if before.get(path) != row}
    assert {Path(path).name for path in changed} == {"extra.strm", "show0"}


async def test_a_quiet_run_commits_a_few_times_and_not_once_a_directory(tmp_path: Path, commits: list[int]) -> None:
    stage = Stage(tmp_path, films(1500))
    for _ in range(3):
        report = await stage.run()
    assert report.remote_requests == 1 + 30 + 150
    assert commits[-1] == 4, "it begins, lists less than a thousand directories, prunes, ends"


class WideTree(MediaTree):
    """25 shelves of 100 shows, one film in each, told without a search: a run over it takes no longer than it must."""

    def entries(self, path: str) -> tuple[Entry, ...]:
        level = path.removeprefix(ROOT).count("/")
        if level == 2:
            return (Entry("film.mkv", path, False, 1_000_000, mediatree.WHEN),)
        name, count = (("shelf", 25), ("show", 100))[level]
        return tuple(Entry(f"{name}{number:02}", path, True, None, mediatree.WHEN) for number in range(count))


async def test_a_quiet_run_commits_once_more_for_every_thousand_directories(tmp_path: Path, commits: list[int]) -> None:
    tree = WideTree()
    tree.dirs |= {f"{ROOT}/shelf{shelf:02}" for shelf in range(25)}
    tree.dirs |= {f"{ROOT}/shelf{shelf:02}/show{show:02}" for shelf in range(25) for show in range(100)}
    stage = Stage(tmp_path, tree)
    for _ in range(3):
        report = await stage.run()
    assert (report.unchanged, report.remote_requests) == (2500, 1 + 25 + 2500)
    assert commits[-1] == 6, "two thousand directories are two commits more than a few have"


async def test_a_quiet_run_that_takes_long_commits_every_ten_seconds(tmp_path: Path, commits: list[int]) -> None:
    stage = Stage(tmp_path, films(1500))
    for _ in range(2):
        await stage.run()

    def pass_time(_: str) -> None:
        stage.clock.seconds += 25 / 181

    stage.tree.on_list = pass_time
    report = await stage.run()
    assert report.remote_requests == 1 + 30 + 150
    assert commits[-1] == 6, "25 seconds are two commits more than none"


async def test_a_run_can_be_stopped_and_the_next_one_does_the_rest(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    report = await stage.run(cancelled=lambda: len(stage.tree.listed) > 10)
    assert report.result == "Cancelled"
    assert 0 < len(stage.names()) < 300
    assert (await stage.run()).result == "Succeeded"
    assert len(stage.names()) == 300


async def test_a_run_that_a_ban_cut_short_goes_on_where_it_stopped(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    stage.tree.faults[f"{ROOT}/shelf4"] = mediatree.banned
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "RateLimited")
    stage.tree.heal()
    stage.tree.listed.clear()
    assert (await stage.run()).result == "Succeeded"
    assert len(stage.names()) == 300


async def test_a_lost_manifest_is_made_anew_from_equal_files(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(60))
    await stage.run()
    before = stage.digest()
    (tmp_path / ".pantograph/manifest.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "ManifestUnreadable")
    assert "--rebuild-manifest" in report.remedy
    report = await stage.run(rebuild_manifest=True)
    assert (report.result, report.unchanged, report.inventory_strm) == ("Succeeded", 60, 60)
    assert stage.digest() == before


async def test_a_file_that_somebody_removed_comes_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(60))
    for _ in range(2):
        await stage.run()
    (tmp_path / "shelf0/show1/film 0011.strm").unlink()
    assert (await stage.run()).created == 1
    assert len(stage.names()) == 60


async def test_another_name_profile_moves_directories_new_ones_first(tmp_path: Path) -> None:
    tree = MediaTree().add(*(f"{ROOT}/What?/s{n % 2}/film{n}.mkv" for n in range(30)))
    stage = Stage(tmp_path, tree, prune={"mode": "Delete", "maxPercent": 100})
    await stage.run()
    stage.spec["target"] = {"root": {"name": "media"}, "nameProfile": "Portable"}
    report = await stage.run()
    assert (report.created, report.pruned) == (30, 30)
    assert stage.names() == {f"What_/s{n % 2}/film{n}.strm" for n in range(30)}
    assert not (tmp_path / "What?").exists()
    assert (await stage.run()).unchanged == 30


async def test_a_run_that_waits_out_a_ban_says_until_when(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(60))
    bans = [30.0]

    def ban_once(tree: MediaTree, path: str, honest: Listing) -> Listing:
        if bans:
            raise Busy("429 slow down", retry_after_s=bans.pop())
        return honest

    stage.tree.faults[f"{ROOT}/shelf1"] = ban_once
    seen: list[datetime | None] = []
    until = stage.clock.now() + timedelta(seconds=30)
    report = await stage.run(on_progress=lambda progress: seen.append(progress.rate_limited_until))
    assert (report.result, report.created) == ("Succeeded", 60)
    assert report.rate_limited_until == until
    assert report.as_json()["rateLimitedUntil"] == until.isoformat()
    assert seen[0] is None
    assert until in seen
    assert seen[-1] is None


async def test_a_run_that_waits_for_the_server_can_be_stopped(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(60))
    stage.tree.faults[f"{ROOT}/shelf1"] = mediatree.banned
    asked: list[float] = []

    def cancelled() -> bool:
        asked.append(stage.clock.seconds)
        return stage.clock.seconds >= 5

    report = await stage.run(cancelled=cancelled)
    assert (report.result, stage.clock.seconds) == ("Cancelled", 5.0)


async def test_directories_that_could_not_be_listed_are_named_however_much_else_there_is_to_say(tmp_path: Path) -> None:
    tree = MediaTree().add(*(f"{ROOT}/a/bad\x01{n}.mkv" for n in range(20)), f"{ROOT}/z/film.mkv")
    tree.faults[f"{ROOT}/z"] = mediatree.server_error
    report = await Stage(tmp_path, tree).run()
    assert {each.reason for each in report.samples} == {"NameRefused"}
    assert report.as_json()["incompleteSamples"] == [
        {"reason": "Incomplete", "path": "/z", "message": "500 failed get objs: /lib/z"}
    ]


async def test_modes_hold_whatever_the_umask_says(tmp_path: Path) -> None:
    for mode, umask in (("0644", 0o022), ("0664", 0o022), ("0640", 0o077), ("0666", 0o000)):
        before = os.umask(umask)
        try:
            stage = Stage(tmp_path / f"{mode}{umask}", films(3), target={"root": {"name": "media"}, "fileMode": mode})
            await stage.run()
        finally:
            os.umask(before)
        modes = {stat.S_IMODE((stage.target / name).stat().st_mode) for name in stage.names()}
        assert modes == {int(mode, 8)}


async def test_modes_of_directories_hold_whatever_the_umask_says(tmp_path: Path) -> None:
    for mode, umask in (("0750", 0o022), ("0775", 0o077), ("0700", 0o000)):
        before = os.umask(umask)
        try:
            stage = Stage(tmp_path / f"{mode}{umask}", films(3), target={"root": {"name": "media"}, "dirMode": mode})
            await stage.run()
        finally:
            os.umask(before)
        # One is made with its films, one on the way to it.
        modes = {stat.S_IMODE((stage.target / name).stat().st_mode) for name in ("shelf0", "shelf0/show0")}
        assert modes == {int(mode, 8)}


async def test_files_below_the_least_size_are_left_out_and_those_of_unknown_size_are_not(tmp_path: Path) -> None:
    tree = MediaTree().add(f"{ROOT}/below.mkv", size=1023).add(f"{ROOT}/just.mkv", size=1024)
    stage = Stage(tmp_path, tree.add(f"{ROOT}/unknown.mkv", size=0), filter={"minSize": "1Ki"})
    await stage.run()
    assert stage.names() == {"just.strm", "unknown.strm"}


def backwards(_: MediaTree, __: str, honest: Listing) -> Listing:
    return replace(honest, entries=honest.entries[::-1])


@pytest.mark.parametrize("fault", [None, backwards])
@pytest.mark.parametrize(
    ("sizes", "chosen", "winner"),
    [
        pytest.param({"a.iso": 1001, "a.mkv": 1000}, {}, "a.iso", id="the larger"),
        pytest.param({"a.iso": 1000, "a.mkv": 1000}, {}, "a.mkv", id="the earlier extension"),
        pytest.param({"a.iso": 1000, "a.mkv": 1000}, {"extensions": ["iso", "mkv"]}, "a.iso", id="as the spec has it"),
        pytest.param({"a.MKV": 1000, "a.Mkv": 1000, "a.mkv": 1000}, {}, "a.MKV", id="the name that comes first"),
    ],
)
async def test_of_films_that_want_one_name_the_same_one_is_preferred_whatever_their_order(
    tmp_path: Path, sizes: dict[str, int], chosen: dict[str, Any], winner: str, fault: mediatree.Fault | None
) -> None:
    tree = MediaTree()
    for name, size in sizes.items():
        tree.add(f"{ROOT}/{name}", size=size)
    if fault is not None:
        tree.faults[ROOT] = fault
    stage = Stage(tmp_path, tree, target={"root": {"name": "media"}, "onCollision": "Prefer"}, filter=chosen)
    assert (await stage.run()).collisions == len(sizes) - 1
    assert stage.files() == {"a.strm": f"http://player.lan/d/lib/{winner}".encode()}


async def test_a_name_that_is_too_long_is_left_out_and_told_or_cut(tmp_path: Path) -> None:
    tree = MediaTree().add(f"{ROOT}/{'f' * 251}.mkv", f"{ROOT}/{'d' * 256}/film.mkv", f"{ROOT}/short.mkv")
    stage = Stage(tmp_path, tree, target={"root": {"name": "media"}, "onLongName": "Skip"})
    report = await stage.run()
    assert (report.result, report.created, report.skipped, report.remote_requests) == ("Succeeded", 1, 2, 1)
    assert {(each.reason, each.message) for each in report.samples} == {
        ("NameRefused", "name of 256 bytes is longer than 255")
    }
    assert stage.names() == {"short.strm"}
    stage.spec["target"] = {"root": {"name": "media"}, "onLongName": "TruncateHash"}
    report = await stage.run()
    assert (report.created, report.unchanged, report.skipped) == (2, 1, 0)


async def test_only_what_is_included_is_mirrored_and_the_rest_is_not_asked_for(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(100), filter={"include": ["shelf0/show[01]"]}, prune={"mode": "Report"})
    report = await stage.run()
    assert (report.created, report.remote_requests) == (20, 4)
    stage.spec["filter"] = {"include": ["shelf0/show0"]}
    assert (await stage.run()).prune_candidates == 10
    assert len(stage.names()) == 20


async def test_what_the_server_has_cached_is_believed_unless_the_spec_says_to_refresh(tmp_path: Path) -> None:
    tree = films(3)
    tree.caches = True
    stage = Stage(tmp_path, tree)
    await stage.run()
    tree.add(f"{ROOT}/New (2024)/New (2024).mkv")
    assert (await stage.run()).created == 0
    stage.spec["source"] = {"path": ROOT, "refresh": "Always"}
    report = await stage.run()
    assert (report.created, report.unchanged) == (1, 3)


async def test_records_of_an_older_release_are_taken_over(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(30))
    await stage.run()
    file = tmp_path / ".pantograph/manifest.sqlite"
    make_older(tmp_path, version=1)
    before = stage.digest()
    report = await stage.run()
    assert (report.result, report.unchanged) == ("Succeeded", 30)
    assert stage.digest() == before
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version=99")
    report = await stage.run()
    assert (report.reason, report.remedy) == ("ManifestUnreadable", "run a newer release of pantograph")
