"""`target.adopt` is a person's word about what stands in a target today, not about whatever may stand there later."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantograph.strm.naming import STATE_DIR
from tests.simulation.strm.bench import ROOT, Stage, films

OLD, NEW, EMPTY = (f"OpenList http://{host}:5244" for host in ("old", "new", "empty"))


def word(stage: Stage, adopt: bool) -> None:
    stage.spec["target"] = {"root": {"name": "media"}, "adopt": adopt}


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    """A library from the old server, whose spec now names the new one."""
    stage = Stage(tmp_path, films(20))
    stage.server = OLD
    await stage.run()
    stage.server = NEW
    return stage


async def test_it_takes_over_the_next_source_and_not_the_one_after_it(stage: Stage) -> None:
    word(stage, True)
    assert (await stage.run()).result == "Succeeded"
    assert (await stage.run()).result == "Succeeded"
    whole = stage.files()
    stage.server = EMPTY
    stage.tree.remove(ROOT)
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "SourceChanged")
    assert "set target.adopt: false (true has counted already), let a run see that" in report.remedy
    assert stage.files() == whole


async def test_it_is_used_up_also_by_a_run_that_had_nothing_to_take_over(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(20))
    word(stage, True)
    stage.server = OLD
    await stage.run()
    stage.server = NEW
    assert (await stage.run()).reason == "SourceChanged"


async def test_it_counts_once_more_after_a_run_that_did_not_find_it(stage: Stage) -> None:
    word(stage, True)
    await stage.run()
    stage.server = EMPTY
    word(stage, False)
    report = await stage.run()
    assert report.reason == "SourceChanged"
    assert report.remedy.endswith("then set target.adopt: true")
    word(stage, True)
    assert (await stage.run()).result == "Succeeded"


async def test_two_jobs_that_both_say_it_do_not_take_the_target_from_each_other_for_ever(stage: Stage) -> None:
    word(stage, True)
    assert (await stage.run()).result == "Succeeded"
    stage.name = "series"
    assert (await stage.run()).result == "Succeeded"
    stage.name = "films"
    assert (await stage.run()).reason == "OwnedByAnother"
    stage.name = "series"
    assert (await stage.run()).result == "Succeeded"


async def test_a_dry_run_neither_uses_it_up_nor_gives_it_back(stage: Stage) -> None:
    word(stage, True)
    assert (await stage.run(dry_run=True)).result == "Succeeded"
    assert (await stage.run()).result == "Succeeded"
    stage.server = EMPTY
    assert (await stage.run(dry_run=True)).reason == "SourceChanged"
    word(stage, False)
    await stage.run(dry_run=True)
    word(stage, True)
    assert (await stage.run()).reason == "SourceChanged"


async def test_who_only_tells_media_servers_does_not_speak_for_the_source(stage: Stage) -> None:
    stage.server = OLD
    word(stage, True)
    await stage.run(notify_only=True)
    stage.server = NEW
    assert (await stage.run()).result == "Succeeded"


async def test_a_torn_list_of_who_has_used_it_is_said_with_its_remedy(stage: Stage) -> None:
    record = stage.target / STATE_DIR / "adopters.json"
    record.write_text("{")
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "ManifestUnreadable")
    assert report.remedy.endswith(f"rm {record}")


async def test_equal_files_are_the_jobs_in_any_run_without_a_word(stage: Stage) -> None:
    stage.server = OLD
    await stage.run(rebuild_manifest=True)
    report = await stage.run()
    assert (report.created, report.updated, report.unchanged) == (0, 0, 20)
    stage.tree.remove(f"{ROOT}/shelf0/show0/film 0003.mkv")
    assert (await stage.run()).pruned == 1
