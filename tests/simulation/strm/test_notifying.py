"""Media servers hear of every folder that changed, once, soon, and in few messages; and of nothing else."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pantograph.providers.errors import Unauthorized, Unreachable
from pantograph.strm.changes import Changes
from pantograph.strm.manifest import Manifest
from pantograph.strm.removal import Remover, restore
from pantograph.strm.state import Owner, StateDir
from pantograph.strm.target import Target
from pantograph.strm.writing import NotWritten, Writer
from tests.fakes import mediatree
from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import ROOT, Ear, Stage, films, media_server


def stage(target: Path, tree: MediaTree | None = None, /, **spec: Any) -> Stage:
    servers = spec.pop("servers", [media_server()])
    prune = {"mode": "Delete", "maxPercent": 100}
    made = Stage(target, tree or library(), **{"notify": {"mediaServers": servers}, "prune": prune, **spec})
    made.ears = {each["name"]: Ear() for each in servers}
    return made


def library() -> MediaTree:
    """Enough films for files to go without a person's word."""
    return MediaTree().add(
        f"{ROOT}/Films/A/a.mkv",
        *(f"{ROOT}/Shows/S/S1/e{number}.mkv" for number in range(20)),
        *(f"{ROOT}/Shows/S/S2/e{number}.mkv" for number in range(20)),
    )


async def settled(target: Path, **spec: Any) -> Stage:
    """A library whose media servers know it all; later they may be told at once."""
    made = stage(target, **spec)
    await made.run()
    for ear in made.ears.values():
        assert ear.heard()
    made.clock.seconds += 3600
    return made


async def test_a_new_tree_is_told_as_the_folders_at_its_top(tmp_path: Path) -> None:
    made = stage(tmp_path)
    report = await made.run()
    assert made.ears["den"].messages == [[("/media/Films", "Created"), ("/media/Shows", "Created")]]
    assert (report.result, report.notified, report.notify_due, report.notify_failed) == ("Succeeded", 2, None, [])


async def test_each_change_is_told_as_what_it_is(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    made.tree.add(f"{ROOT}/Shows/S/S1/e20.mkv", f"{ROOT}/Films/B/b.mkv")
    made.tree.remove(f"{ROOT}/Films/A")
    await made.run()
    assert "Films/A/a.strm" in made.names(), "a folder that went needs confirming"
    assert made.ears["den"].heard() == [("/media/Films/B", "Created"), ("/media/Shows/S/S1", "Modified")]
    for _ in range(4):
        made.clock.seconds += 5 * 3600
        await made.run()
    assert "Films/A/a.strm" not in made.names()
    assert made.ears["den"].heard() == [("/media/Films/A", "Deleted")]


async def test_a_removed_file_and_a_rewritten_one_are_changes_of_their_folders(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    made.tree.remove(f"{ROOT}/Shows/S/S2/e0.mkv")
    await made.run()
    assert made.ears["den"].heard() == [("/media/Shows/S/S2", "Modified")]
    made.clock.seconds += 3600
    made.spec["link"] = {"publicBase": "http://other.lan"}
    await made.run()
    await made.run(approve_rewrite=True)
    assert [path for path, _ in made.ears["den"].heard()] == [
        "/media/Films/A",
        "/media/Shows/S/S1",
        "/media/Shows/S/S2",
    ]


async def test_a_run_that_changes_nothing_tells_nothing_and_stores_nothing(tmp_path: Path, commits: list[int]) -> None:
    made = await settled(tmp_path)
    await made.run()
    before = made.digest()
    commits.clear()
    await made.run()
    without = made.spec.pop("notify")
    await made.run()
    assert without
    assert commits[0] == 4, "as without notifications: it begins, lists, prunes, ends"
    assert made.ears["den"].messages == []
    assert made.digest() == before


async def test_what_changes_within_the_debounce_is_told_together_after_it(tmp_path: Path) -> None:
    made = await settled(tmp_path, servers=[media_server(debounce="10m")])
    for number in range(3):
        made.tree.add(f"{ROOT}/Films/A/more{number}.mkv", f"{ROOT}/Shows/S/S1/more{number}.mkv")
        report = await made.run()
        made.clock.seconds += 60
        if number == 0:
            assert (report.notified, report.notify_due) == (2, None)
            made.ears["den"].messages.clear()
            told_at = made.clock.now().timestamp() - 60
        else:
            assert report.notify_due == told_at + 600
            assert report.as_json()["notifyDue"] == "2026-01-01T01:10:00Z"
    assert made.ears["den"].messages == []
    made.clock.seconds = report.notify_due - made.clock.now().timestamp() + made.clock.seconds  # type: ignore[operator]
    report = await made.run(notify_only=True)
    assert made.ears["den"].messages == [[("/media/Films/A", "Modified"), ("/media/Shows/S/S1", "Modified")]]
    assert (report.notified, report.notify_due) == (2, None)


async def test_telling_alone_asks_the_source_for_nothing_and_leaves_the_tree(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    made.tree.add(f"{ROOT}/Films/A/more.mkv")
    made.ears["den"].fault = Unreachable("den is off")
    await made.run()
    made.ears["den"].fault = None
    made.clock.seconds += 60
    made.tree.faults["*"] = mediatree.server_error
    made.tree.listed.clear()
    before = made.digest()
    report = await made.run(notify_only=True)
    assert (report.result, report.notified, made.tree.listed) == ("Succeeded", 1, [])
    assert made.digest() == before


async def test_telling_alone_where_nothing_was_ever_made_makes_nothing(tmp_path: Path) -> None:
    made = stage(tmp_path)
    assert (await made.run(notify_only=True)).result == "Succeeded"
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_media_server_that_is_down_fails_no_run_and_hears_everything_later(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    ear = made.ears["den"]
    ear.fault = Unreachable("media server den does not answer")
    waits = []
    for number in range(9):
        made.tree.add(f"{ROOT}/Films/new{number}/a.mkv")
        report = await made.run()
        assert (report.result, report.notified) == ("Succeeded", 0)
        assert [(each.path, each.reason) for each in report.notify_failed] == [("den", "Unreachable")]
        waits.append((report.notify_due or 0) - made.clock.now().timestamp())
        made.clock.seconds += waits[-1]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    ear.fault = None
    assert (await made.run()).notified == 9
    assert ear.heard() == [(f"/media/Films/new{number}", "Created") for number in range(9)]


async def test_a_media_server_that_is_down_is_not_asked_before_it_is_time(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    asked: list[int] = []
    made.ears["den"].fault = Unauthorized("refused", remedy="make an API key")
    made.ears["den"].before = lambda: asked.append(1)
    made.tree.add(f"{ROOT}/Films/A/more.mkv")
    report = await made.run()
    assert report.as_json()["notifyFailed"] == [
        {"server": "den", "reason": "CredentialsRefused", "message": "refused; make an API key"}
    ]
    for _ in range(5):
        made.clock.seconds += 10
        assert (await made.run()).notify_due == report.notify_due
    assert len(asked) == 1


async def test_one_deaf_media_server_keeps_nothing_from_another(tmp_path: Path) -> None:
    made = await settled(tmp_path, servers=[media_server("den"), media_server("attic", debounce="1s")])
    made.ears["den"].fault = Unreachable("off")
    made.tree.add(f"{ROOT}/Films/A/more.mkv")
    report = await made.run()
    assert made.ears["attic"].heard() == [("/media/Films/A", "Modified")]
    assert report.notify_due == made.clock.now().timestamp() + 60


async def test_a_clock_that_went_back_holds_nothing_up(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    made.clock.jump = -30 * 86400
    made.tree.add(f"{ROOT}/Films/A/more.mkv")
    assert (await made.run()).notified == 1


async def test_a_run_that_was_stopped_tells_nobody_any_more_and_says_that_somebody_should(tmp_path: Path) -> None:
    made = stage(tmp_path, films(300))
    report = await made.run(cancelled=lambda: len(made.tree.listed) > 25)
    assert (report.result, report.created > 0, report.notified) == ("Cancelled", True, 0)
    assert report.notify_due == made.clock.now().timestamp()
    written = {path.split("/")[0] for path in made.names()}
    assert (await made.run(notify_only=True)).notified == len(written)
    assert made.ears["den"].heard() == sorted((f"/media/{shelf}", "Created") for shelf in written)


async def test_a_dry_run_tells_nobody_and_leaves_what_is_pending(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    made.ears["den"].fault = Unreachable("off")
    made.tree.add(f"{ROOT}/Films/A/more.mkv")
    await made.run()
    made.ears["den"].fault = None
    made.clock.seconds += 3600
    made.tree.add(f"{ROOT}/Films/B/b.mkv")
    report = await made.run(dry_run=True)
    assert (report.created, report.notified, made.ears["den"].messages) == (1, 0, [])
    await made.run(notify_only=True)
    assert made.ears["den"].heard() == [("/media/Films/A", "Modified")]


async def test_links_that_are_made_anew_without_a_listing_are_changes_too(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    made.spec["link"] = {"publicBase": "http://other.lan"}
    await made.run(rewrite_only=True)
    report = await made.run(rewrite_only=True, approve_rewrite=True)
    assert (report.updated, report.remote_requests, report.notified) == (41, 0, 3)


class Killed(BaseException):
    """The process ended here: nothing after it ran, and what was not committed is gone."""


async def test_what_was_written_before_a_kill_is_told_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    made = await settled(tmp_path)
    made.tree.add(f"{ROOT}/Films/A/more.mkv", f"{ROOT}/Films/New/n.mkv")
    original = Writer.make_directory

    def make_directory(self: Writer, directory: str, files: Any) -> Any:
        original(self, directory, files)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "make_directory", make_directory)
        with pytest.raises(Killed):
            await made.run()
    assert {"Films/A/more.strm", "Films/New/n.strm"} <= made.names()
    report = await made.run()
    assert (report.created, report.unchanged) == (0, 43), "nothing is left to write"
    assert made.ears["den"].heard() == [("/media/Films/A", "Modified"), ("/media/Films/New", "Created")]


async def test_what_was_removed_before_a_kill_is_told_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    made = await settled(tmp_path)
    made.tree.remove(f"{ROOT}/Shows/S/S2/e0.mkv")
    original = Remover.remove

    def remove(self: Remover, *words: Any) -> bool:
        original(self, *words)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Remover, "remove", remove)
        with pytest.raises(Killed):
            await made.run()
    assert "Shows/S/S2/e0.strm" not in made.names()
    await made.run(notify_only=True)
    assert made.ears["den"].heard() == [("/media/Shows/S/S2", "Modified")]


async def test_a_kill_while_it_is_told_tells_it_again(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    made.tree.add(f"{ROOT}/Films/A/more.mkv")

    def die() -> None:
        raise Killed

    made.ears["den"].before = die
    with pytest.raises(Killed):
        await made.run()
    made.ears["den"].before = lambda: None
    await made.run()
    assert made.ears["den"].heard() == [("/media/Films/A", "Modified")]


async def test_a_file_that_could_not_be_written_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await settled(tmp_path)
    made.tree.add(f"{ROOT}/Films/A/more.mkv", f"{ROOT}/Films/New/n.mkv", f"{ROOT}/Shows/S/S1/more.mkv")
    original = Writer.place
    monkeypatch.setattr(Writer, "make_directory", lambda *_: None)

    def place(self: Writer, staged: Any, directory: str, *words: Any, **more: Any) -> Any:
        if directory.startswith("Films"):
            raise NotWritten("not this one")
        return original(self, staged, directory, *words, **more)

    monkeypatch.setattr(Writer, "place", place)
    report = await made.run()
    assert report.failed == 2
    assert made.ears["den"].heard() == [("/media/Shows/S/S1", "Modified")]


async def test_hundreds_of_changed_folders_are_one_message_of_few(tmp_path: Path) -> None:
    tree = MediaTree().add(*(f"{ROOT}/s{n // 20}/f{n}/film.mkv" for n in range(300)))
    made = stage(tmp_path, tree, servers=[media_server(maxPaths=16)])
    await made.run()
    made.ears["den"].messages.clear()
    made.clock.seconds += 3600
    tree.add(*(f"{ROOT}/s{n // 20}/f{n}/more.mkv" for n in range(300)))
    report = await made.run()
    assert report.notified == 15
    assert made.ears["den"].heard() == sorted((f"/media/s{number}", "Modified") for number in range(15))


async def test_a_folder_that_the_path_map_does_not_know_is_reported_and_not_told(tmp_path: Path) -> None:
    target = {"root": {"name": "media", "subPath": "lib"}}
    only_films = [{"from": "/lib/Films", "to": "D:\\films"}]
    made = stage(tmp_path, target=target, servers=[media_server(pathMap=only_films)])
    report = await made.run()
    assert made.ears["den"].heard() == [("D:\\films", "Created")]
    ((reason, path),) = {(each.reason, each.path) for each in report.samples if each.path == "/lib/Shows"}
    assert (reason, path) == ("NotifyUnmapped", "/lib/Shows")
    assert report.notify_due is None, "it will never be told: nobody waits for it"


async def test_a_media_server_that_the_spec_no_longer_names_is_forgotten(tmp_path: Path) -> None:
    made = await settled(tmp_path)
    made.ears["den"].fault = Unreachable("off")
    made.tree.add(f"{ROOT}/Films/A/more.mkv")
    await made.run()
    notify = made.spec.pop("notify")
    await made.run()
    made.spec["notify"] = notify
    made.ears["den"].fault = None
    report = await made.run()
    assert (report.notified, made.ears["den"].messages) == (0, [])


async def test_what_a_person_brings_back_is_told_by_the_next_run(tmp_path: Path) -> None:
    made = await settled(tmp_path, prune={"mode": "Trash", "maxPercent": 100, "confirmScans": 1, "minAge": "0s"})
    made.tree.remove(f"{ROOT}/Films")
    made.tree.remove(f"{ROOT}/Shows/S/S1/e3.mkv")
    for name in ("n1", "n2"):
        await made.run(name=name)
        made.clock.seconds += 3600
    assert "Films/A/a.strm" not in made.names()
    made.ears["den"].messages.clear()
    restored = 0
    with (
        closing(Target(tmp_path)) as target,
        closing(StateDir.open(target, Owner("local", "media", "films", ROOT), adopt=False)) as state,
        closing(Manifest(state.manifest, durable=False)) as manifest,
    ):
        for run in sorted((state.path / "trash").iterdir()):
            count, taken = restore(target, state, run.name, changes=Changes(manifest, ("den",)))
            assert not taken
            restored += count
    assert restored == 2
    await made.run(notify_only=True)
    assert made.ears["den"].heard() == [("/media/Films", "Created"), ("/media/Shows/S/S1", "Modified")]
