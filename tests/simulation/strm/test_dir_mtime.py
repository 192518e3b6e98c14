"""`update.verify: DirMtime`: what did not change is not listed, and nothing is believed of it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.simulation.strm.bench import HOUR, ROOT, Stage, films

SHOW = f"{ROOT}/shelf0/show1"


async def settled(target: Path, **spec: Any) -> Stage:
    """A library whose directories' times are known: made, looked at, and noted."""
    tree = films(100)
    tree.directory_times = True
    stage = Stage(target, tree, **{"update": {"verify": "DirMtime", "fullEvery": 5}} | spec)
    stage.clock.seconds = HOUR
    for _ in range(2):
        await stage.run()
    tree.listed.clear()
    return stage


async def test_directories_whose_times_did_not_change_are_not_listed(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    before = stage.digest()
    report = await stage.run()
    assert sorted(stage.tree.listed) == [ROOT, f"{ROOT}/shelf0", f"{ROOT}/shelf1"], "those that hold directories"
    assert (report.result, report.unlisted_dirs, report.unchanged, report.remote_requests) == ("Succeeded", 10, 100, 3)
    assert stage.digest() == before


async def test_a_directory_whose_time_changed_is_listed(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    stage.tree.add(f"{SHOW}/new.mkv")
    stage.tree.remove(f"{SHOW}/film 0012.mkv")
    report = await stage.run()
    assert (report.created, report.pruned, report.unlisted_dirs) == (1, 1, 9)
    assert SHOW in stage.tree.listed


async def test_a_new_directory_below_a_leaf_is_found(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    stage.tree.add(f"{SHOW}/Extras/x.mkv")
    assert (await stage.run()).created == 1
    stage.tree.add(f"{SHOW}/Extras/y.mkv")
    assert (await stage.run()).created == 1, "it is no leaf any more, and always looked into"


async def test_every_so_many_runs_all_is_listed(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    time = stage.tree.times[SHOW]
    stage.tree.remove(f"{SHOW}/film 0012.mkv")
    stage.tree.times[SHOW] = time  # the server does not say so
    found = []
    for _ in range(10):
        report = await stage.run()
        found.append((report.unlisted_dirs, report.pruned))
    quick, first = (10, 0), (0, 1)
    assert found == [quick, quick, quick, first, (9, 0), quick, quick, quick, (0, 0), quick]


async def test_a_copy_that_somebody_thinned_out_is_mended(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    (tmp_path / "shelf0/show1/film 0012.strm").unlink()
    report = await stage.run()
    assert (report.created, report.unlisted_dirs) == (1, 9)


async def test_times_are_not_believed_where_the_driver_does_not_vouch_for_them(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    stage.tree.directory_times = False
    report = await stage.run()
    assert (report.unlisted_dirs, report.remote_requests) == (0, 13)


async def test_a_time_of_this_moment_is_not_believed(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    stage.tree.times[SHOW] = stage.clock.now() - timedelta(seconds=1)
    for _ in range(2):
        assert (await stage.run()).unlisted_dirs == 9, (
            "something may have been made in the same tick after it was listed"
        )
    stage.clock.seconds += 10
    assert (await stage.run()).unlisted_dirs == 9
    assert (await stage.run()).unlisted_dirs == 0, "the fifth run lists all"
    assert (await stage.run()).unlisted_dirs == 10


async def test_what_another_spec_saw_is_listed_again_even_if_that_spec_did_not_last(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    stage.spec["filter"] = {"exclude": ["no such film.mkv"]}
    report = await stage.run(cancelled=lambda: len(stage.tree.listed) > 11)
    assert (report.result, report.unlisted_dirs) == ("Cancelled", 0)
    seen = {path for path in stage.tree.listed if "show" in path}
    stage.tree.listed.clear()
    del stage.spec["filter"]
    report = await stage.run()
    assert report.result == "Succeeded"
    asked_ahead = 4
    assert len(seen) > 2 * asked_ahead
    assert len(seen - set(stage.tree.listed)) <= asked_ahead


async def test_a_directory_that_was_passed_over_is_no_proof(tmp_path: Path) -> None:
    """A whole shelf goes, then comes back empty: the shows in it are judged by scans of the shelf, never by times."""
    stage = await settled(tmp_path, prune={"mode": "Delete", "maxPercent": 100, "maxCount": 1000})
    stage.tree.remove(f"{ROOT}/shelf0")
    removed = []
    for _ in range(3):
        removed.append((await stage.run()).pruned)
        stage.clock.seconds += 3.1 * HOUR
    assert removed == [0, 0, 50]


async def test_a_hint_lists_the_directory_whatever_its_time_says(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    stage.tree.add(f"{SHOW}/new.mkv")
    report = await stage.run(trigger="watch", paths=("shelf0/show1",), shallow=True)
    assert (report.created, report.unlisted_dirs) == (1, 0)


async def test_a_link_in_the_place_of_a_copy_is_no_copy(tmp_path: Path) -> None:
    stage = await settled(tmp_path)
    show = tmp_path / "shelf0/show1"
    state = show.stat()
    show.rename(tmp_path / "aside")
    show.symlink_to(tmp_path / "aside")
    os.utime(tmp_path / "aside", ns=(state.st_atime_ns, state.st_mtime_ns))
    report = await stage.run()
    assert (report.unlisted_dirs, report.incomplete_dirs) == (9, 1)
    assert report.incomplete_samples[0].path == "/shelf0/show1"
