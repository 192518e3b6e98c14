"""Existing files: left when their link plays, written anew when it does not, and never all of them unasked."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.mediatree import MediaTree
from tests.simulation.strm.bench import HOUR, ROOT, Stage, films


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
