"""What runs listed as gone: each run's list is its own, and all of them together need no room to speak of."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from pantograph.strm.history import KEPT_RUNS
from pantograph.strm.prune import Approval
from tests.fakes import mediatree
from tests.simulation.strm.bench import HOUR, ROOT, Stage, films
from tests.simulation.strm.older import make_older

FREE = {"maxPercent": 100, "maxCount": 1000}


def manifest(stage: Stage) -> Path:
    return stage.target / ".pantograph/manifest.sqlite"


def rows(stage: Stage) -> int:
    """How many the records of all lists have, whatever their tables are called."""
    with sqlite3.connect(manifest(stage)) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
            if name in ("candidates", "listed", "lists")
        ]
        return sum(database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables)


def remove_film(stage: Stage, number: int) -> None:
    stage.tree.remove(f"{ROOT}/shelf{number // 50}/show{number // 10}/film {number:04}.mkv")


async def test_a_source_that_is_empty_for_days_needs_no_more_room_than_for_hours(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300))
    await stage.run()
    stage.tree.faults[ROOT] = mediatree.empty
    sizes: list[int] = []
    for number in range(60):
        stage.clock.seconds += HOUR
        report = await stage.run(trigger="watch", paths=("",), shallow=True) if number % 3 else await stage.run()
        assert (report.prune_candidates, report.pruned) == (300, 0)
        sizes.append(manifest(stage).stat().st_size)
    # Each file when it was not confirmed yet, and since it is; for every run a row or two.
    assert rows(stage) <= 2 * 300 + 2 * 60
    assert sizes[-1] - sizes[12] <= 48 * 4096, "what is confirmed by then is stored; of later runs, their reports"
    assert len(stage.names()) == 300


async def test_lists_that_grow_by_one_each_need_one_more_row_each(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(300), prune={})
    await stage.run()
    for number in range(100):
        remove_film(stage, number * 3)
    for number in range(60):
        remove_film(stage, number * 3 + 1)
        assert (await stage.run()).prune_candidates == 101 + number
    assert rows(stage) <= 160 + 2 * 60


async def test_every_run_keeps_its_own_list(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={})
    await stage.run()
    digests: dict[str, str] = {}
    gone = (11, 3, 27, 12, 35)
    for number in gone:
        remove_film(stage, number)
        digests[f"n{number}"] = (await stage.run(name=f"n{number}")).candidates_digest
        assert (await stage.run(name=f"again{number}")).candidates_digest == digests[f"n{number}"]
    assert len(set(digests.values())) == len(gone)
    refused = await stage.run(approve=Approval(run="n27", digest=digests["n12"]))
    assert (refused.pruned, refused.prune_blocked) == (0, "run n27 listed other candidates than those approved")
    done = await stage.run(approve=Approval(run="n27", digest=digests["n27"]))
    assert (done.pruned, len(stage.names())) == (3, 37)
    assert not stage.names() & {f"shelf0/show{n // 10}/film {n:04}.strm" for n in (11, 3, 27)}
    # What is left of the others is still what they listed.
    done = await stage.run(approve=Approval(run="again35", digest=digests["n35"]))
    assert (done.pruned, len(stage.names())) == (2, 35)


async def test_the_list_of_a_run_that_is_forgotten_goes_with_it_and_no_other_does(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={})
    await stage.run()
    remove_film(stage, 11)
    await stage.run(name="first")
    stage.tree.add(f"{ROOT}/shelf0/show1/film 0011.mkv", size=1011)
    remove_film(stage, 22)
    for _ in range(KEPT_RUNS):
        last = await stage.run(name="last")
    refused = await stage.run(approve=Approval(run="first"))
    assert (refused.pruned, refused.prune_blocked) == (0, "run first is not known here: nothing was approved")
    with sqlite3.connect(manifest(stage)) as database:
        assert database.execute("SELECT path FROM listed").fetchall() == [("shelf0/show2/film 0022.strm",)]
    assert (await stage.run(approve=Approval(run="last", digest=last.candidates_digest))).pruned == 1


async def test_a_list_of_an_earlier_release_can_be_approved(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={})
    await stage.run()
    remove_film(stage, 11)
    await stage.run(name="small")
    remove_film(stage, 22)
    listed = await stage.run(name="listed")
    make_older(tmp_path)
    remove_film(stage, 33)
    done = await stage.run(approve=Approval(run="listed", digest=listed.candidates_digest))
    assert (done.pruned, done.prune_candidates, len(stage.names())) == (2, 3, 38)


async def test_what_a_stopped_run_had_found_is_on_nobodys_list(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40), prune={})
    await stage.run()
    remove_film(stage, 11)
    pruning: list[Any] = []
    stopped = await stage.run(
        name="stopped",
        cancelled=lambda: bool(pruning),
        on_progress=lambda progress: pruning.extend(["Prune"] * (progress.phase == "Prune")),
    )
    assert (stopped.result, stopped.candidates_digest) == ("Cancelled", "")
    stage.tree.add(f"{ROOT}/shelf0/show1/film 0011.mkv", size=1011)
    remove_film(stage, 12)
    listed = await stage.run(name="listed")
    assert [each.path for each in listed.samples] == ["shelf0/show1/film 0012.strm"]
    assert (await stage.run(approve=Approval(run="stopped"))).pruned == 0
