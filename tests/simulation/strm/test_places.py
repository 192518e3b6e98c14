"""A directory of the target has one owner in the records, whatever its remote directory is called by now."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pantograph.providers.media.port import Listing
from pantograph.strm import batch
from pantograph.strm.prune import Approval
from tests.fakes import mediatree
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import HOUR, ROOT, Stage
from tests.simulation.strm.older import make_older

POSIX: dict[str, Any] = {"root": {"name": "media"}}
PORTABLE: dict[str, Any] = {**POSIX, "nameProfile": "Portable"}
TWICE = """
INSERT INTO dirs (id, parent, path, local, made, reason, scans, since, counted)
 SELECT id + 1000, CASE path WHEN 'What?' THEN parent ELSE parent + 1000 END, char(1) || '9/' || path,
 local, made, CASE path WHEN 'What?' THEN 'Reconfigured' END, 1, 1, 1 FROM dirs WHERE path LIKE 'What?%';
INSERT INTO files (dir, name, kind, remote, digest) SELECT dir + 1000, name, kind, remote, digest FROM files
 WHERE dir IN (SELECT id FROM dirs WHERE path LIKE 'What?%');
"""
"""What a change of names, and the change back, left behind."""
FREE = {"maxPercent": 100, "maxCount": 1000}


def library(show: str) -> MediaTree:
    """One show of two seasons, and others beside it."""
    tree = MediaTree().add(*(f"{ROOT}/other/film{n}.mkv" for n in range(30)))
    for season in ("s1", "s2"):
        tree.add(*(f"{ROOT}/{show}/{season}/e{n}.mkv" for n in range(5)))
        tree.add(f"{ROOT}/{show}/{season}/e0.srt", content=b"text")
    return tree


def rename(tree: MediaTree, old: str, new: str) -> None:
    moved = {path: file for path, file in tree.files.items() if path.startswith(f"{ROOT}/{old}/")}
    tree.remove(f"{ROOT}/{old}")
    for path, file in moved.items():
        fresh = path.replace(f"/{old}/", f"/{new}/")
        tree.add(fresh)
        tree.files[fresh] = file


def inodes(target: Path) -> dict[str, int]:
    return {str(path.relative_to(target)): path.stat().st_ino for path in target.glob("[!.]*/**/*.*")}


def folders(target: Path) -> set[str]:
    return {path.name for path in target.glob("[!.]*")}


def links(target: Path, folder: str) -> int:
    """How many, two levels below it."""
    return len(list((target / folder).glob("*/*.strm")))


def owners(target: Path) -> set[int]:
    """How many rows the places have."""
    with sqlite3.connect(target / ".pantograph/manifest.sqlite") as database:
        return {count for (count,) in database.execute("SELECT count(*) FROM dirs GROUP BY local")}


async def changed_and_back(target: Path, *, meanwhile: str = "Report") -> Stage:
    """A library whose spec asked for other names for a while, in which nothing was pruned."""
    stage = Stage(target, library("What?"), sidecars={}, prune={**FREE, "mode": meanwhile}, target=POSIX)
    await stage.run()
    stage.spec["target"] = PORTABLE
    listed = await stage.run(name="listed")
    assert {each.reason for each in listed.samples} == {"PruneReconfigured"}
    stage.spec["target"] = POSIX
    return stage


@pytest.mark.parametrize("mode", ["Delete", "Trash"])
async def test_what_is_wanted_again_stays_although_it_once_was_not(tmp_path: Path, mode: str) -> None:
    stage = await changed_and_back(tmp_path)
    stage.spec["prune"] = {**FREE, "mode": mode}
    wanted = {name: inode for name, inode in inodes(tmp_path).items() if not name.startswith("What_")}
    report = await stage.run()
    assert inodes(tmp_path) == wanted, "the files of the other names went, and no other"
    assert (report.pruned, report.skipped) == (12, 0)
    assert not (tmp_path / "What_").exists()


async def test_an_approval_does_not_reach_what_is_wanted_again(tmp_path: Path) -> None:
    stage = await changed_and_back(tmp_path)
    wanted = inodes(tmp_path)
    done = await stage.run(approve=Approval(run="listed"))
    assert (done.pruned, inodes(tmp_path)) == (0, wanted)


async def test_a_place_that_was_left_and_taken_many_times_is_still_cleaned_up(tmp_path: Path) -> None:
    stage = await changed_and_back(tmp_path)
    for target in (PORTABLE, POSIX, PORTABLE):
        await stage.run()
        stage.spec["target"] = target
    stage.spec["prune"] = {**FREE, "mode": "Delete"}
    await stage.run()
    assert folders(tmp_path) == {"What_", "other"}
    stage.tree.remove(f"{ROOT}/What?")
    for _ in range(3):
        stage.clock.seconds += 4 * HOUR
        await stage.run()
    assert folders(tmp_path) == {"other"}, "its directories are known as made by us"


async def test_what_is_not_shown_below_a_place_that_is_wanted_again_is_to_be_confirmed(tmp_path: Path) -> None:
    stage = await changed_and_back(tmp_path)
    stage.spec["prune"] = {**FREE, "mode": "Delete"}
    stage.tree.faults[f"{ROOT}/What?"] = mediatree.empty
    await stage.run()
    assert links(tmp_path, "What?") == 10
    stage.tree.heal()
    stage.clock.seconds += 10 * HOUR
    await stage.run()
    assert links(tmp_path, "What?") == 10


@pytest.mark.parametrize("shallow", [False, True], ids=["a whole run", "a watched change"])
async def test_a_directory_renamed_to_what_the_target_calls_it_keeps_its_files(tmp_path: Path, shallow: bool) -> None:
    prune = {**FREE, "mode": "Delete"}
    stage = Stage(tmp_path, library("A: B"), sidecars={}, prune=prune, target=PORTABLE)
    await stage.run()
    sidecars = {name: inode for name, inode in inodes(tmp_path).items() if name.endswith(".srt")}
    rename(stage.tree, "A: B", "A_ B")
    report = await stage.run(trigger="watch", paths=("",), shallow=True) if shallow else await stage.run()
    assert (report.updated, report.skipped, report.prune_candidates) == (10, 0, 0)
    assert (tmp_path / "A_ B/s1/e3.strm").read_bytes() == b"http://player.lan/d/lib/A_%20B/s1/e3.mkv"
    rename(stage.tree, "A_ B", "A: B")
    await stage.run(trigger="watch", paths=("",), shallow=True) if shallow else await stage.run()
    for _ in range(4):
        stage.clock.seconds += 10 * HOUR
        assert (await stage.run()).prune_candidates == 0
    assert (tmp_path / "A_ B/s2/e1.strm").read_bytes() == b"http://player.lan/d/lib/A:%20B/s2/e1.mkv"
    assert sidecars.items() <= inodes(tmp_path).items()


async def test_of_two_directories_with_one_place_the_loser_takes_nothing_with_it_when_it_goes(tmp_path: Path) -> None:
    prune = {**FREE, "mode": "Delete"}
    stage = Stage(tmp_path, library("A_ B"), sidecars={}, prune=prune, target=PORTABLE)
    await stage.run()
    sidecars = {name: inode for name, inode in inodes(tmp_path).items() if name.endswith(".srt")}
    for season in ("s1", "s2"):
        stage.tree.add(*(f"{ROOT}/A: B/{season}/e{n}.mkv" for n in range(5)))
        stage.tree.add(f"{ROOT}/A: B/{season}/e0.srt", content=b"text")
    assert (await stage.run()).collisions == 1
    stage.tree.remove(f"{ROOT}/A_ B")
    for _ in range(4):
        stage.clock.seconds += 10 * HOUR
        report = await stage.run()
    assert (report.skipped, report.prune_candidates) == (0, 0)
    assert links(tmp_path, "A_ B") == 10
    assert sidecars.items() <= inodes(tmp_path).items()


async def test_two_directories_may_swap_their_places(tmp_path: Path) -> None:
    """As a change of the rules for names could ask for: here of records whose names are swapped by hand."""
    stage = Stage(tmp_path, prune={**FREE, "mode": "Delete"}, update={"maxRewritePercent": 100})
    stage.tree.add(*(f"{ROOT}/{name}/film{n}.mkv" for name in ("x", "y") for n in range(5)))
    await stage.run()
    (tmp_path / "x").rename(tmp_path / "z")
    (tmp_path / "y").rename(tmp_path / "x")
    (tmp_path / "z").rename(tmp_path / "y")
    with sqlite3.connect(tmp_path / ".pantograph/manifest.sqlite") as database:
        database.execute("UPDATE dirs SET local = CASE path WHEN 'x' THEN 'y' ELSE 'x' END WHERE path<>''")
        database.execute("UPDATE dirs SET listing=NULL")
    report = await stage.run()
    assert (report.updated, report.created, report.prune_candidates) == (10, 0, 0)
    assert (tmp_path / "x/film1.strm").read_bytes() == b"http://player.lan/d/lib/x/film1.mkv"


async def test_records_of_an_earlier_release_in_which_a_place_has_two_owners_remove_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library("What?"), sidecars={}, prune={**FREE, "mode": "Delete"})
    await stage.run()
    wanted = inodes(tmp_path)
    make_older(tmp_path, and_then=TWICE)
    for _ in range(4):
        report = await stage.run()
        stage.clock.seconds += 10 * HOUR
    assert (report.prune_candidates, report.skipped, inodes(tmp_path)) == (0, 0, wanted)
    stage.tree.remove(f"{ROOT}/What?/s1/e3.mkv")
    assert (await stage.run()).pruned == 1, "they are ours as before"


@pytest.mark.parametrize(
    ("fault", "hours"), [(mediatree.server_error, 10), (mediatree.short_page, 10), (mediatree.empty, 1)]
)
async def test_files_of_an_old_name_stay_until_those_of_the_new_name_are_there(
    tmp_path: Path, fault: mediatree.Fault, hours: int
) -> None:
    """A fault as long as it lasts; an empty directory as long as any, until it is confirmed."""
    stage = Stage(tmp_path, library("What?"), prune={**FREE, "mode": "Delete"}, target=POSIX)
    await stage.run()
    wanted = stage.names()
    stage.spec["target"] = PORTABLE
    stage.tree.faults[f"{ROOT}/What?"] = fault
    for _ in range(6):
        await stage.run()
        stage.clock.seconds += hours * HOUR
        assert {name.replace("What_", "What?") for name in stage.names()} == wanted
    stage.tree.heal()
    await stage.run()
    assert (links(tmp_path, "What?"), links(tmp_path, "What_")) == (0, 10)


async def test_a_dry_run_tells_what_would_go_once_the_new_names_are_there(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library("What?"), sidecars={}, prune={**FREE, "mode": "Delete"}, target=POSIX)
    await stage.run()
    stage.spec["target"] = PORTABLE
    would = await stage.run(dry_run=True)
    did = await stage.run()
    assert (would.pruned, would.pending_confirmation) == (did.pruned, did.pending_confirmation) == (12, 0)


async def test_an_old_file_stays_where_somebody_removed_the_new_one_until_it_is_made_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library("What?"), prune={**FREE, "mode": "Report"}, target=POSIX)
    await stage.run()
    stage.spec["target"] = PORTABLE
    await stage.run()
    (tmp_path / "What_/s1/e3.strm").unlink()
    stage.spec["prune"] = {**FREE, "mode": "Delete"}
    await stage.run(trigger="watch", paths=("other",), shallow=True)
    assert {name for name in stage.names() if name.startswith("What?")} == {"What?/s1/e3.strm"}
    await stage.run()
    assert (links(tmp_path, "What?"), links(tmp_path, "What_")) == (0, 10)


async def test_what_the_source_has_under_neither_name_goes_when_that_is_confirmed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library("What?"), prune={**FREE, "mode": "Delete"}, target=POSIX)
    await stage.run()
    stage.spec["target"] = PORTABLE
    stage.tree.remove(f"{ROOT}/What?/s2")
    stage.tree.remove(f"{ROOT}/What?/s1/e1.mkv")
    found = []
    for _ in range(4):
        report = await stage.run()
        found.append((report.pruned, links(tmp_path, "What?"), links(tmp_path, "What_")))
        stage.clock.seconds += 3.1 * HOUR
    assert found == [(4, 6, 4), (0, 6, 4), (6, 0, 4), (0, 0, 4)]
    assert folders(tmp_path) == {"What_", "other"}


async def test_all_of_a_directory_goes_that_went_while_it_still_had_two_names(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library("What?"), prune={**FREE, "mode": "Delete"}, target=POSIX)
    await stage.run()
    stage.spec["target"] = PORTABLE
    stage.tree.faults[f"{ROOT}/What?"] = mediatree.short_page  # the second season is not made under the new name
    await stage.run()
    stage.tree.heal()
    stage.tree.remove(f"{ROOT}/What?")
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 3.1 * HOUR
    assert folders(tmp_path) == {"other"}


async def test_nobody_takes_the_place_of_one_that_may_be_among_what_did_not_come(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library("A: B"), prune={**FREE, "mode": "Delete"}, target=PORTABLE)
    stage.tree.add(*(f"{ROOT}/A_ B/s1/e{n}.mkv" for n in range(9)))
    assert (await stage.run()).collisions == 1
    before = stage.digest()

    def without_the_first(_: MediaTree, path: str, honest: Listing) -> Listing:
        return Listing(
            path, tuple(each for each in honest.entries if each.name != "A: B"), False, "2 of 3 entries came"
        )

    stage.tree.faults[ROOT] = without_the_first
    for _ in range(3):
        report = await stage.run()
        assert (report.created, report.updated, report.pruned, stage.digest()) == (0, 0, 0, before)
    stage.tree.heal()
    await stage.run()
    assert stage.digest() == before


async def test_a_place_that_changes_hands_while_a_run_is_down_has_one_owner_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def end_at_the_seasons(path: str) -> None:
        if path.startswith(f"{ROOT}/A_ B/"):
            raise Killed

    stage = Stage(tmp_path, library("A_ B"), prune={**FREE, "mode": "Delete"}, target=PORTABLE)
    await stage.run()
    with monkeypatch.context() as patch:
        patch.setattr(batch, "MAX_DIRECTORIES", 1)  # what was seen before the end is stored
        patch.setattr(stage.tree, "on_list", end_at_the_seasons)
        with pytest.raises(Killed):
            await stage.run()
    for season in ("s1", "s2"):
        stage.tree.add(*(f"{ROOT}/A: B/{season}/e{n}.mkv" for n in range(5)))
    await stage.run()
    assert owners(tmp_path) == {1}
    stage.tree.remove(f"{ROOT}/A: B")
    report = await stage.run()
    assert (report.result, report.prune_candidates) == ("Succeeded", 0)
