"""Every fault of a source, at the root, in the middle and at a leaf, met by cron, by a watch and by a resumed run.

The expectation is the same in every cell: not one file is removed wrongly, and when the fault is over the library is
what it was, plus what was added meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from pantograph.strm import batch
from pantograph.strm.manifest.files import Files
from pantograph.strm.target import Target
from pantograph.strm.writing import Writer
from tests.fakes import mediatree
from tests.fakes.mediatree import Fault, MediaTree
from tests.simulation.strm.bench import HOUR, ROOT, Stage

FAULTS: dict[str, Fault] = {
    "500": mediatree.server_error,
    "unmounted": mediatree.unmounted,
    "200 and null": mediatree.empty,
    "200 and a short page": mediatree.short_page,
    "a stream cut after one entry": mediatree.cut_after_one,
    "a stream cut before the last": mediatree.cut_before_the_last,
    "200 and HTML": mediatree.html,
    "200 and only mounts": mediatree.mounts_only,
    "200 and the root's content": mediatree.root_echoed,
    "200 for another path": mediatree.wrong_path,
    "200 without the directories": mediatree.dirs_vanish,
    "time-out in the middle": mediatree.timeout,
    "401 in the middle": mediatree.unauthorized,
    "403": mediatree.forbidden,
    "404": mediatree.not_found,
    "ban page": mediatree.banned,
    "refused": mediatree.refused,
}
PLACES = {"root": ROOT, "inner": f"{ROOT}/Shows", "leaf": f"{ROOT}/Shows/A/S1"}


def library() -> MediaTree:
    """Forty films and shows; one directory holds nothing but directories, one is another storage."""
    tree = MediaTree()
    tree.add(*(f"{ROOT}/film{number}.mkv" for number in range(4)))
    for show in "ABCD":
        tree.add(*(f"{ROOT}/Shows/{show}/S{season}/e{each}.mkv" for season in (1, 2) for each in range(4)))
    tree.add(f"{ROOT}/Shows/Mounted/m.mkv", f"{ROOT}/Shows/direct.mkv")
    tree.mounts.add(f"{ROOT}/Shows/Mounted")
    return tree


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("entry", "jump_h"),
    [
        ("cron", 0),
        ("watch", 0),
        ("resume", 0),
        ("begun before", 0),
        ("cron", 240),
        ("watch", 240),
        ("resume", 240),
        ("cron", -240),
    ],
)
async def test_nothing_is_removed_wrongly(tmp_path: Path, fault: str, place: str, entry: str, jump_h: int) -> None:
    stage = Stage(tmp_path, library(), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    whole = stage.files()
    stage.tree.faults[PLACES[place]] = FAULTS[fault]
    for round_number in range(2):
        await meet(stage, entry, PLACES[place])
        assert whole.items() <= stage.files().items()
        if round_number == 0:
            stage.clock.jump += jump_h * HOUR
        stage.clock.seconds += 60
    stage.tree.heal()
    report = await stage.run()
    assert report.result in ("Succeeded", "Degraded")
    assert stage.files() == whole


async def meet(stage: Stage, entry: str, place: str) -> None:
    if entry == "cron":
        await stage.run()
    elif entry == "watch":
        relative = place.removeprefix(ROOT).strip("/")
        await stage.run(trigger="watch", paths=(relative,), shallow=True)
        await stage.run(trigger="watch", paths=(relative.rpartition("/")[0],), shallow=True)
    elif entry == "resume":
        await break_off(stage)
        await stage.run()
    else:  # the fault comes between two lives of a run
        faults = dict(stage.tree.faults)
        stage.tree.heal()
        assert await break_off(stage)
        stage.tree.faults = faults
        await stage.run()


class Killed(BaseException):
    """The process ends here."""


async def break_off(stage: Stage) -> bool:
    """A run whose process ends in the middle, as far as its records can tell: nothing of it is tidied up.

    What it saw before that is stored. False: it came to its end first.
    """

    def kill(path: str) -> None:
        if len(stage.tree.listed) == stop:
            raise Killed

    stop = len(stage.tree.listed) + 6
    stage.tree.on_list = kill
    try:
        with patch.object(batch, "MAX_DIRECTORIES", 1):
            await stage.run()
    except Killed:
        return True
    finally:
        stage.tree.on_list = lambda _: None
    return False


async def test_a_source_that_stays_empty_blocks_the_prune_and_says_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library(), prune={"mode": "Delete", "maxPercent": 100, "maxCount": 1000})
    await stage.run()
    whole = stage.files()
    stage.tree.faults[ROOT] = mediatree.empty
    for _ in range(5):
        report = await stage.run()
        stage.clock.seconds += 24 * HOUR
    assert stage.files() == whole
    assert (report.result, report.reason) == ("Blocked", "PruneBlocked")
    assert "empty" in report.message
    assert report.prune_candidates == len(whole)


async def test_the_root_that_fails_on_resume_forbids_what_was_proved_before(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library(), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    whole = stage.files()
    stage.tree.remove(f"{ROOT}/film0.mkv")
    assert await break_off(stage)
    stage.tree.faults[ROOT] = mediatree.server_error
    report = await stage.run()
    assert report.result == "Failed"
    assert stage.files() == whole


async def test_another_base_path_is_another_source(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library())
    stage.server = "OpenList http://media.lan:5244/"
    await stage.run()
    whole = stage.files()
    stage.server = "OpenList http://media.lan:5244/115/"
    stage.tree = MediaTree().add(f"{ROOT}/other.mkv")
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "SourceChanged")
    assert "adopt" in report.remedy
    assert stage.files() == whole


async def test_two_jobs_do_not_share_a_target(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library())
    await stage.run()
    whole = stage.files()
    stage.name, stage.tree = "series", MediaTree().add(f"{ROOT}/other.mkv")
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "OwnedByAnother")
    assert "media/films" in report.message
    assert stage.files() == whole


@pytest.mark.parametrize("entry", ["cron", "watch"])
@pytest.mark.parametrize("place", PLACES)
async def test_what_was_renamed_into_place_before_a_kill_is_known_as_ours(
    tmp_path: Path, place: str, entry: str
) -> None:
    stage = Stage(tmp_path, library(), prune={"mode": "Delete", "maxPercent": 50})
    await stage.run()
    whole = stage.files()
    added = f"{PLACES[place]}/added.mkv"
    stage.tree.add(added)

    def die(*_: object) -> None:
        raise Killed

    with patch.object(Files, "fulfil", die), pytest.raises(Killed):
        await meet(stage, entry, PLACES[place])
    assert len(stage.files()) == len(whole) + 1
    report = await stage.run()
    assert (report.result, report.created, report.updated, report.skipped) == ("Succeeded", 0, 0, 0)
    stage.tree.remove(added)
    assert (await stage.run()).pruned == 1
    assert stage.files() == whole


async def test_a_directory_that_a_killed_run_made_has_its_mode(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library(), target={"root": {"name": "media"}, "dirMode": "0775"})

    original = Target.open_up

    def die(target: Target, fd: int) -> None:
        if (tmp_path / "Shows").exists():
            raise Killed
        original(target, fd)

    with (
        patch.object(Target, "open_up", die),
        patch.object(Writer, "make_directory", lambda *_: None),
        pytest.raises(Killed),
    ):
        await stage.run()
    await stage.run()
    assert (tmp_path / "Shows").stat().st_mode & 0o7777 == 0o775


async def test_a_job_inside_the_target_of_another_does_not_begin(tmp_path: Path) -> None:
    outer = Stage(tmp_path / "films", library())
    outer.volume = tmp_path
    await outer.run()
    whole = outer.files()
    inner = Stage(tmp_path / "films" / "Shows", MediaTree().add(f"{ROOT}/other.mkv"))
    inner.volume, inner.name = tmp_path, "series"
    report = await inner.run()
    assert (report.result, report.reason) == ("Failed", "TargetOverlaps")
    assert outer.files() == whole


async def test_a_job_around_the_target_of_another_keeps_out_of_it(tmp_path: Path) -> None:
    inner = Stage(tmp_path / "Shows", MediaTree().add(*(f"{ROOT}/{number}.mkv" for number in range(5))))
    inner.name, inner.volume = "series", tmp_path
    await inner.run()
    whole = inner.files()
    outer = Stage(tmp_path, library(), prune={"mode": "Delete", "maxPercent": 100, "maxCount": 1000})
    outer.volume = tmp_path
    for _ in range(3):
        report = await outer.run()
        assert report.result == "Degraded"
        outer.tree.remove(f"{ROOT}/Shows")
        outer.tree.add(f"{ROOT}/Shows/0.mkv")
        outer.clock.seconds += 24 * HOUR
    assert inner.files() == whole
    assert (outer.target / "film0.strm").exists()


async def test_a_source_that_proves_nothing_never_loses_a_file(tmp_path: Path) -> None:
    stage = Stage(tmp_path, library(), prune={"mode": "Delete", "maxPercent": 100})
    await stage.run()
    whole = stage.files()
    stage.tree.proves = False
    stage.tree.remove(f"{ROOT}/film0.mkv")
    for _ in range(4):
        await stage.run()
        stage.clock.seconds += 24 * HOUR
    assert stage.files() == whole
