"""Existing files: left when their link plays, written anew when it does not, and never all of them unasked."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pantograph.strm import batch as module
from pantograph.strm import rewriting, target
from pantograph.strm.batch import Batch, Work
from pantograph.strm.manifest import Record
from pantograph.strm.manifest.files import Files
from pantograph.strm.report import Progress
from pantograph.strm.rewriting import Allowance
from pantograph.strm.target import OnDisk
from pantograph.strm.wanted import WantedFile
from pantograph.strm.writing import NotWritten, Staged, Writer
from tests.fakes.mediatree import MediaTree, server_error
from tests.simulation.strm.bench import HOUR, ROOT, Stage, films
from tests.simulation.strm.older import make_older


async def mirrored_elsewhere(tmp_path: Path, **spec: Any) -> Stage:
    """Forty films are mirrored; now players see the server at another address, and the run `asks` has said so."""
    stage = Stage(tmp_path, films(40), **spec)
    await stage.run()
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    await stage.run(name="asks")
    return stage


def renewed(stage: Stage) -> int:
    """How many films have their new address."""
    return sum(text.startswith(b"https://other.lan") for text in stage.files().values())


def old(stage: Stage) -> list[str]:
    """Those that have the old one."""
    return sorted(name for name, text in stage.files().items() if text.startswith(b"http://"))


async def test_a_new_base_for_all_stops_before_the_first_write_and_asks(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    before = stage.digest()
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    report = await stage.run()
    assert (report.result, report.reason, report.updated) == ("Blocked", "RewriteLimit", 0)
    assert report.rewrites == {"BaseChanged": 40}
    assert stage.digest() == before
    report = await stage.run(approve_rewrite=True)
    assert (report.result, report.updated) == ("Succeeded", 40)
    assert all(text.startswith(b"https://other.lan/d/lib/") for text in stage.files().values())
    before = stage.digest()
    assert (await stage.run()).unchanged == 40
    assert stage.digest() == before


async def test_an_equivalent_base_is_left_and_the_reason_is_counted(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    before = stage.digest()
    stage.spec["link"] = {"publicBase": "https://cdn.lan", "equivalentBases": ["http://player.lan"]}
    report = await stage.run()
    assert (report.updated, report.kept) == (0, {"EquivalentBase": 40})
    assert stage.digest() == before


async def test_an_expiring_sign_is_renewed_in_time_and_not_before(tmp_path: Path) -> None:
    tree = MediaTree()
    stage = Stage(tmp_path, tree)

    def sign_all() -> None:
        expires = int(stage.clock.now().timestamp() + 200 * HOUR)
        for number in range(30):
            tree.add(f"{ROOT}/film{number}.mkv", sign=f"abc{number}=:{expires}")

    sign_all()
    await stage.run()
    before = stage.digest()
    stage.clock.seconds += 100 * HOUR
    sign_all()
    report = await stage.run()
    assert report.updated == 0
    assert stage.digest() == before
    stage.clock.seconds += 30 * HOUR
    sign_all()
    report = await stage.run()
    assert (report.updated, report.rewrites) == (30, {"SignExpiring": 30})


async def test_somebodys_file_with_our_name_is_left_and_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10))
    (tmp_path / "shelf0/show0").mkdir(parents=True)
    theirs, same = tmp_path / "shelf0/show0/film 0001.strm", tmp_path / "shelf0/show0/film 0002.strm"
    theirs.write_bytes(b"http://mine/own")
    same.write_bytes(b"http://player.lan/d/lib/shelf0/show0/film%200002.mkv")
    before = same.stat()
    report = await stage.run()
    assert (report.created, report.unchanged, report.skipped) == (8, 1, 1)
    assert theirs.read_bytes() == b"http://mine/own"
    assert (same.stat().st_ino, same.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert report.samples[0].reason == "Foreign"


async def test_a_larger_twin_takes_the_name_and_is_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path, MediaTree().add(f"{ROOT}/a.mkv", size=10).add(f"{ROOT}/a.mp4", size=20))
    report = await stage.run()
    assert (report.collisions, report.created) == (1, 1)
    assert stage.files() == {"a.strm": b"http://player.lan/d/lib/a.mp4"}
    stage.spec["target"] = {"root": {"name": "media"}, "onCollision": "Fail"}
    stage.tree.add(f"{ROOT}/b.mkv", f"{ROOT}/b.mp4")
    await stage.run()
    assert stage.names() == {"a.strm"}, "neither b is made, and a is not pruned"


async def test_times_of_written_files_follow_the_policy(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(1), update={"mtimePolicy": "Remote"})
    await stage.run()
    file = tmp_path / "shelf0/show0/film 0000.strm"
    assert file.stat().st_mtime == 1767225600.0
    stage.spec |= {"update": {"mtimePolicy": "Preserve"}, "link": {"publicBase": "http://other"}}
    report = await stage.run()
    assert report.updated == 1
    assert file.stat().st_mtime == 1767225600.0
    assert oct(file.stat().st_mode & 0o777) == "0o644"


async def test_new_links_are_made_from_the_records_before_anything_is_listed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.spec["link"] = {"publicBase": "https://other.lan", "encoding": "Minimal"}
    await stage.run()
    seen: list[bytes] = []
    stage.tree.on_list = lambda _: seen.append(stage.files()["shelf0/show0/film 0000.strm"])
    report = await stage.run(approve_rewrite=True)
    assert seen[0] == b"https://other.lan/d/lib/shelf0/show0/film 0000.mkv"
    assert (report.result, report.reason, report.updated, report.rewrites) == (
        "Succeeded",
        "Reconfigured",
        40,
        {"BaseChanged": 40},
    )
    before = stage.digest()
    assert ((await stage.run()).unchanged, stage.digest()) == (40, before)


async def test_new_links_alone_ask_the_source_nothing(tmp_path: Path) -> None:
    tree = films(40).add(f"{ROOT}/signed.mkv", sign="abc+/=:0")
    stage = Stage(tmp_path, tree)
    await stage.run()
    (tmp_path / "shelf0/show0/film 0000.strm").write_text("http://mine")
    tree.listed.clear()
    stage.spec["link"] = {"publicBase": "https://other.lan", "pathMap": [{"from": "/lib", "to": "/cloud"}]}
    report = await stage.run(rewrite_only=True)
    assert (report.result, report.reason) == ("Blocked", "RewriteLimit")
    report = await stage.run(rewrite_only=True, dry_run=True, approve_rewrite=True)
    assert report.updated == 40
    assert stage.files()["signed.strm"].startswith(b"http://player.lan/d/lib/")
    report = await stage.run(rewrite_only=True, approve_rewrite=True)
    assert (report.result, report.updated, report.remote_requests, tree.listed) == ("Succeeded", 40, 0, [])
    files = stage.files()
    assert files["signed.strm"] == b"https://other.lan/d/cloud/signed.mkv?sign=abc+/=:0"
    assert files.pop("shelf0/show0/film 0000.strm") == b"http://mine"
    assert all(text.startswith(b"https://other.lan/d/cloud/") for text in files.values())
    assert (await stage.run()).updated == 0, "and the source wants nothing else"


async def test_a_file_that_another_one_has_replaced_is_linked_by_its_new_pickcode(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    film = stage.tree.files[f"{ROOT}/shelf0/show0/film 0000.mkv"]
    film.pickcode = "aa"
    await stage.run()
    assert stage.files()["shelf0/show0/film 0000.strm"].endswith(b"film%200000.mkv?pickcode=aa")
    before = stage.digest()
    assert ((await stage.run()).unchanged, stage.digest()) == (40, before)
    film.pickcode = "bb"
    report = await stage.run()
    assert (report.updated, report.rewrites) == (1, {"PickcodeChanged": 1})
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    await stage.run(rewrite_only=True)
    await stage.run(rewrite_only=True, approve_rewrite=True)
    other = b"https://other.lan/d/lib/shelf0/show0/film%200000.mkv?pickcode=bb"
    assert stage.files()["shelf0/show0/film 0000.strm"] == other
    assert (await stage.run()).updated == 0, "and the source wants nothing else"


async def test_what_the_records_do_not_tell_is_not_rewritten_from_them(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10), link={"publicBase": "http://player.lan", "sign": {"mode": "None"}})
    await stage.run()
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    report = await stage.run(rewrite_only=True, approve_rewrite=True)
    assert (report.result, report.reason, report.remedy) == ("Failed", "NotRewritable", "pantograph strm run")
    assert all(text.startswith(b"http://player.lan/") for text in stage.files().values())


async def test_a_rewrite_from_the_records_that_is_killed_is_ended_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    report = await stage.run()
    original = Batch._write_link
    with monkeypatch.context() as patch:

        def die(batch: Batch, work: Work, link: WantedFile, digest: bytes) -> None:
            if batch.report.updated == 7:
                raise Killed
            original(batch, work, link, digest)

        patch.setattr(Batch, "_write_link", die)
        with pytest.raises(Killed):
            await stage.run(approve_rewrite=True)
    assert report.reason == "RewriteLimit"
    report = await stage.run(approve_rewrite=True)
    assert (report.result, report.skipped) == ("Succeeded", 0)
    assert all(text.startswith(b"https://other.lan/d/lib/") for text in stage.files().values())
    assert len(stage.names()) == 40


async def from_the_records(stage: Stage) -> None:
    assert (await stage.run(rewrite_only=True)).updated == 40


async def while_the_source_fails(stage: Stage) -> None:
    stage.tree.faults["*"] = server_error
    report = await stage.run()
    assert (report.result, report.updated) == ("Failed", 40)
    stage.tree.heal()


async def killed_before_it_is_stored(stage: Stage) -> None:
    class Killed(BaseException):
        pass

    def die(files: Files, records: list[Record]) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Files, "fulfil", die)
        with pytest.raises(Killed):
            await stage.run()


@pytest.mark.parametrize("rewrite", [from_the_records, while_the_source_fails, killed_before_it_is_stored])
@pytest.mark.parametrize("policy", ["Now", "Preserve", "Remote"])
@pytest.mark.parametrize("verify", ["Stat", "Content", "DirMtime"])
async def test_an_address_of_equal_length_that_is_taken_back_is_taken_back_everywhere(
    tmp_path: Path, rewrite: Callable[[Stage], Awaitable[None]], policy: str, verify: str
) -> None:
    """Kept times and equal sizes make the files look as they were left by the spec that comes back."""
    update = {"mtimePolicy": policy, "verify": verify, "maxRewritePercent": 100}
    stage = Stage(tmp_path, films(40), update=update)
    await stage.run()
    before = stage.files()
    stage.spec["link"] = {"publicBase": "http://recall.lan"}
    await rewrite(stage)
    assert stage.files() != before
    stage.spec["link"] = {"publicBase": "http://player.lan"}
    assert (await stage.run()).result == "Succeeded"
    assert stage.files() == before
    await stage.run()
    assert (await stage.run()).unchanged == 40
    assert stage.files() == before


async def test_rewrites_that_were_planned_from_listings_outlive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    stage = Stage(tmp_path, films(40), update={"maxRewritePercent": 100})
    await stage.run()
    for file in stage.tree.files.values():
        file.sign = "new:0"
    monkeypatch.setattr(rewriting, "PAGE", 10)
    place, placed = Writer.place, []

    def dying(writer: Writer, staged: Staged, directory: str, name: str, **more: Any) -> OnDisk:
        placed.append(name)
        if len(placed) == 25:
            raise Killed
        return place(writer, staged, directory, name, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "place", dying)
        with pytest.raises(Killed):
            await stage.run()
    assert (await stage.run()).result == "Succeeded"
    assert all(text.endswith(b"?sign=new:0") for text in stage.files().values())


async def test_an_approval_goes_as_far_as_what_its_run_has_counted(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    asked = await stage.run(name="asked")
    assert asked.remedy.endswith("--approve-rewrite asked")
    assert (await stage.run(approve_rewrite="nobody")).message == (
        "40 of 40 files would be written anew (40 BaseChanged); the limit allows 20; run nobody has not asked"
        " under this spec, so nothing is approved"
    )
    stage.spec["link"] = {"publicBase": "https://other.lan", "pathMap": [{"from": "/lib", "to": "/cloud"}]}
    report = await stage.run(approve_rewrite="asked")
    assert (report.result, report.updated) == ("Blocked", 0)
    assert report.message.endswith("run asked has not asked under this spec, so nothing is approved")
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    assert (await stage.run(approve_rewrite="asked")).updated == 40


async def test_more_than_was_asked_for_is_not_approved(tmp_path: Path) -> None:
    tree = films(40)
    tree.key = "first"
    stage = Stage(tmp_path, tree, link={"publicBase": "http://player.lan", "sign": {"mode": "Compute"}})
    await stage.run()
    for number in range(20, 40):
        tree.remove(f"{ROOT}/shelf0/show{number // 10}/film {number:04}.mkv")
    tree.key = "second"
    stage.spec["update"] = {"maxRewritePercent": 10}
    asked = await stage.run(name="asked")
    assert asked.rewrites == {"SignChanged": 20}
    for number in range(20, 40):
        tree.add(f"{ROOT}/shelf0/show{number // 10}/film {number:04}.mkv", size=1000 + number)
    report = await stage.run(approve_rewrite="asked")
    assert (report.result, report.updated) == ("Blocked", 0)
    assert report.message.endswith("; run asked asked for 20, and not for these")


def test_an_approval_is_used_up_by_what_it_allowed() -> None:
    allowance = Allowance("asked", Counter({"BaseChanged": 40}))
    assert allowance.takes(Counter({"BaseChanged": 30}))
    assert not allowance.takes(Counter({"BaseChanged": 11}))
    assert allowance.takes(Counter({"BaseChanged": 10}))
    assert not Allowance("nobody", None).takes(Counter({"BaseChanged": 1}))


async def test_somebodys_file_with_our_name_is_taken_over_if_the_job_says_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10), target={"root": {"name": "media"}, "onForeign": "Adopt"})
    (tmp_path / "shelf0/show0").mkdir(parents=True)
    for number in range(8):
        (tmp_path / f"shelf0/show0/film 000{number}.strm").write_bytes(b"http://mine/own")
    (tmp_path / "shelf0/show0/film 0008.strm").mkdir()
    report = await stage.run()
    assert (report.result, report.created, report.updated) == ("Blocked", 1, 0)
    assert report.rewrites == {"Foreign": 8}
    assert (tmp_path / "shelf0/show0/film 0001.strm").read_bytes() == b"http://mine/own"
    report = await stage.run(approve_rewrite=True)
    assert (report.updated, report.skipped, report.inventory_strm) == (8, 1, 9)
    assert (tmp_path / "shelf0/show0/film 0001.strm").read_bytes().startswith(b"http://player.lan/d/lib/")


async def test_a_changed_file_of_ours_is_not_foreign_and_stays(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10), target={"root": {"name": "media"}, "onForeign": "Adopt"})
    await stage.run()
    (tmp_path / "shelf0/show0/film 0001.strm").write_bytes(b"http://mine/own")
    assert (await stage.run(approve_rewrite=True)).skipped == 1
    assert (tmp_path / "shelf0/show0/film 0001.strm").read_bytes() == b"http://mine/own"


async def test_a_new_key_of_the_server_signs_every_link_anew(tmp_path: Path) -> None:
    tree = films(40)
    tree.key = "first"
    link = {"publicBase": "http://player.lan", "sign": {"mode": "Compute"}}
    stage = Stage(tmp_path, tree, link=link, update={"maxRewritePercent": 100})
    await stage.run()
    assert stage.files()["shelf0/show0/film 0000.strm"].endswith(b".mkv?sign=first-/lib/shelf0/show0/film 0000.mkv:0")
    before = stage.digest()
    assert ((await stage.run()).unchanged, stage.digest()) == (40, before)
    tree.key = "second"
    assert (await stage.run()).rewrites == {"SignChanged": 40}
    assert b"?sign=second-" in stage.files()["shelf0/show0/film 0000.strm"]


async def test_without_a_key_nothing_is_signed_and_nothing_written(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(10), link={"publicBase": "http://player.lan", "sign": {"mode": "Compute"}})
    report = await stage.run()
    assert (report.result, report.message) == ("Failed", "the credentials hold no key")
    assert stage.names() == set()


async def test_what_an_earlier_life_of_a_run_has_made_does_not_widen_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, films(40))
    await stage.run()
    old = stage.files()
    for number in range(200):
        stage.tree.add(f"{ROOT}/new{number // 10}/film {number}.mkv")
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    monkeypatch.setattr(module, "MAX_DIRECTORIES", 1)

    class Killed(BaseException):
        pass

    def die(progress: Progress) -> None:
        if progress.phase == "Apply" and progress.dirs_done > 20:
            raise Killed

    with pytest.raises(Killed):
        await stage.run(on_progress=die)
    assert len(stage.files()) == 240
    report = await stage.run()
    assert (report.result, report.reason, report.updated) == ("Blocked", "RewriteLimit", 0)
    assert "40 of 40 files" in report.message
    assert old.items() <= stage.files().items()


async def test_rewriting_stops_between_two_pages_and_says_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await mirrored_elsewhere(tmp_path)
    monkeypatch.setattr(rewriting, "PAGE", 10)
    report = await stage.run(approve_rewrite="asks", cancelled=lambda: renewed(stage) > 0)
    assert (report.result, report.updated) == ("Cancelled", 10)
    assert (await stage.run(approve_rewrite="asks")).updated == 30


async def test_what_somebody_changes_meanwhile_stays_and_what_is_only_touched_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await mirrored_elsewhere(tmp_path)
    monkeypatch.setattr(rewriting, "PAGE", 10)
    meddled: list[str] = []

    def meddle() -> bool:
        if len(old(stage)) == 30 and not meddled:
            meddled.extend(old(stage)[-2:])
            (stage.target / meddled[0]).write_bytes(b"http://mine.lan/x")
            os.utime(stage.target / meddled[1], ns=(1, 1))
        return False

    report = await stage.run(approve_rewrite="asks", cancelled=meddle)
    assert report.updated == 39
    told = next(issue for issue in report.samples if issue.reason == "Modified")
    assert (told.path, told.message) == (meddled[0], "somebody changed it since it was compared")
    assert stage.files()[meddled[0]] == b"http://mine.lan/x"
    assert stage.files()[meddled[1]].startswith(b"https://other.lan/")


async def test_what_an_earlier_release_had_planned_is_compared_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await mirrored_elsewhere(tmp_path)
    monkeypatch.setattr(rewriting, "PAGE", 10)
    await stage.run(approve_rewrite="asks", cancelled=lambda: renewed(stage) > 0)
    make_older(stage.target)
    assert (await stage.run(approve_rewrite="asks")).updated == 30


async def test_a_rewrite_reads_no_file_twice_unless_it_is_to_be_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, read = Stage(tmp_path, films(40)), list[str]()
    await stage.run()

    def look_into(fd: int, name: str) -> tuple[OnDisk, bytes] | None:
        read.append(name)
        return target.look_into(fd, name)

    monkeypatch.setattr(rewriting, "look_into", look_into)
    stage.spec["link"] = {"publicBase": "https://other.lan"}
    assert (await stage.run(rewrite_only=True, approve_rewrite=(await stage.run(rewrite_only=True)).run)).updated == 40
    assert read == []
    stage.spec |= {"link": {"publicBase": "https://third.lan"}, "update": {"verify": "Content"}}
    assert (await stage.run(rewrite_only=True, approve_rewrite=(await stage.run(rewrite_only=True)).run)).updated == 40
    assert len(read) == 40


async def test_a_change_that_keeps_size_and_time_is_seen_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await mirrored_elsewhere(tmp_path, update={"verify": "Content"})
    monkeypatch.setattr(rewriting, "PAGE", 10)
    changed: list[Path] = []

    def meddle() -> bool:
        if len(old(stage)) == 30 and not changed:
            path = stage.target / old(stage)[-1]
            changed.append(path)
            state = path.stat()
            path.write_bytes(path.read_bytes().swapcase())
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        return False

    report = await stage.run(approve_rewrite="asks", cancelled=meddle)
    assert report.updated == 39
    assert changed[0].read_bytes().startswith(b"HTTP://")


@pytest.mark.parametrize("on_foreign", ["Keep", "Adopt"])
async def test_what_somebody_changes_between_listing_and_rewriting_stays(tmp_path: Path, on_foreign: str) -> None:
    stage = Stage(tmp_path, films(40), target={"root": {"name": "media"}, "onForeign": on_foreign})
    if on_foreign == "Keep":
        await stage.run()
        name = sorted(stage.names())[0]
        stage.tree.files[f"{ROOT}/{name.removesuffix('.strm')}.mkv"].pickcode = "another"
    else:
        name = "shelf0/show0/film 0000.strm"
        (stage.target / name).parent.mkdir(parents=True)
        (stage.target / name).write_bytes(b"http://theirs.lan/film")

    def meddle(progress: Progress) -> None:
        if progress.phase == "Apply" and progress.dirs_done:
            (stage.target / name).write_bytes(b"http://mine.lan/x")

    report = await stage.run(on_progress=meddle)
    assert report.rewrites.total() == 1
    assert (stage.target / name).read_bytes() == b"http://mine.lan/x"
    assert ("Modified", name) in [(each.reason, each.path) for each in report.samples]


async def test_a_rewrite_that_failed_is_planned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await mirrored_elsewhere(tmp_path)
    place = Writer.place

    def refusing(writer: Writer, staged: Staged, directory: str, name: str, **more: Any) -> OnDisk:
        if name == "film 0007.strm":
            raise NotWritten("it changed while it was about to be written; the next run looks again")
        return place(writer, staged, directory, name, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "place", refusing)
        report = await stage.run(approve_rewrite="asks")
    assert (report.updated, report.failed > 0) == (39, True)
    report = await stage.run()
    assert (report.result, report.updated) == ("Succeeded", 1)
    assert all(text.startswith(b"https://other.lan/") for text in stage.files().values())


async def test_why_links_are_written_anew_or_left_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pantograph.strm")
    stage = await mirrored_elsewhere(tmp_path)
    assert "40 links to be written anew: 40 BaseChanged" in caplog.messages
    stage.spec["link"] = {"publicBase": "https://other.lan", "equivalentBases": ["http://player.lan"]}
    await stage.run(name="leaves")
    assert "40 links left although they differ: 40 EquivalentBase" in caplog.messages
