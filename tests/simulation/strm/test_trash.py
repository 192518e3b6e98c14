"""The trash is kept as long as it was promised, whatever the clock or the records go through; then it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.strm.bench import HOUR, ROOT, Stage, films

DAY = 24 * HOUR


async def trashing(target: Path, **prune: object) -> Stage:
    """A library with one file in the trash of the run `took`."""
    stage = Stage(target, films(40), prune={"mode": "Trash", **prune})
    await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0012.mkv")
    assert (await stage.run(name="took")).pruned == 1
    assert in_trash(target) == {"took/shelf0/show1/film 0012.strm"}
    return stage


def in_trash(target: Path) -> set[str]:
    trash = target / ".pantograph/trash"
    return {str(path.relative_to(trash)) for path in trash.rglob("*.strm")}


async def days_kept(stage: Stage, *, every: float = DAY, most: int = 40) -> float:
    """How long it stays from now, with a run `every` so many seconds."""
    for number in range(most):
        if not in_trash(stage.target):
            return number * every / DAY
        stage.clock.seconds += every
        await stage.run()
    pytest.fail("it stays for ever")


@pytest.mark.parametrize(("retention", "days"), [("168h", 7), ("48h", 2)])
async def test_the_trash_goes_when_its_time_is_over(tmp_path: Path, retention: str, days: int) -> None:
    assert await days_kept(await trashing(tmp_path, trashRetention=retention), every=6 * HOUR) == days


async def test_a_clock_that_is_put_right_does_not_empty_the_trash(tmp_path: Path) -> None:
    """A machine without a clock of its own begins in the past, and learns the time when the network is up."""
    stage = await trashing(tmp_path)
    for _ in range(3):
        stage.clock.jump += 400 * DAY
        await stage.run()
        assert in_trash(tmp_path), "each jump is at most a day of its age"
    assert await days_kept(stage) == 4


async def test_a_clock_that_goes_back_takes_nothing_from_the_trash_and_keeps_it_not_for_ever(tmp_path: Path) -> None:
    stage = await trashing(tmp_path)
    stage.clock.jump -= 400 * DAY
    await stage.run()
    assert await days_kept(stage) == 7


async def test_without_its_records_the_trash_counts_as_new(tmp_path: Path) -> None:
    stage = await trashing(tmp_path)
    for _ in range(5):
        stage.clock.seconds += DAY
        await stage.run()
    await stage.run(rebuild_manifest=True)
    assert await days_kept(stage) == 7


async def test_runs_that_are_rare_keep_it_for_longer_and_not_for_ever(tmp_path: Path) -> None:
    assert await days_kept(await trashing(tmp_path), every=7 * DAY) == 49


async def test_what_a_later_run_of_the_same_name_adds_is_kept_as_long(tmp_path: Path) -> None:
    stage = await trashing(tmp_path)
    for _ in range(6):
        stage.clock.seconds += DAY
        await stage.run()
    stage.tree.remove(f"{ROOT}/shelf0/show1/film 0013.mkv")
    assert (await stage.run(name="took")).pruned == 1
    assert await days_kept(stage) == 7
