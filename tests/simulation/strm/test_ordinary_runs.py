"""An ordinary day: files appear, a second run writes nothing, changes arrive, strangers' files stay."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import ROOT, Stage, films


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
