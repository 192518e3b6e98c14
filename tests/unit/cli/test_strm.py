"""`pantograph strm` as a person calls it, on real directories."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pantograph.cli import strm as cli
from pantograph.cli.main import main
from pantograph.providers.media.below import device, open_below

SPEC = """
apiVersion: pantograph.dev/v1alpha1
kind: DataServer
metadata: {name: nas}
spec: {driver: Local, local: {root: {name: source}, sentinel: here}}
---
apiVersion: pantograph.dev/v1alpha1
kind: StrmSyncJob
metadata: {name: films}
spec:
  serverRef: {name: nas}
  source: {path: /}
  target: {root: {name: target, subPath: library/films}}
  link: {mode: Mount, mountPrefix: /mnt/nas}
"""
Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call it with `--json`: the exit code and the last object it printed."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    for name in ("source/shows", "target"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "source/here").touch()
    for number in range(30):
        (tmp_path / f"source/shows/film {number}.mkv").touch()

    def call(action: str, *words: str) -> tuple[int, dict[str, Any]]:
        places = ["--root", f"source={tmp_path / 'source'}", "--root", f"target={tmp_path / 'target'}"]
        code = main(["strm", action, "--spec", str(tmp_path / "spec.yaml"), *places, "--json", *words])
        printed = capsys.readouterr().out.strip().splitlines()
        return code, json.loads(printed[-1]) if printed and printed[-1].startswith("{") else {}

    return call


def test_a_folder_is_mirrored_pruned_with_a_word_and_brought_back(call: Call, tmp_path: Path) -> None:
    library = tmp_path / "target/library/films/shows"
    code, result = call("run")
    assert (code, result["result"], result["created"]) == (0, "Succeeded", 30)
    assert (library / "film 7.strm").read_text() == "/mnt/nas/shows/film 7.mkv"
    (tmp_path / "source/shows/film 7.mkv").unlink()
    code, result = call("run", "--run", "looked")
    assert (code, result["pruned"], result["pruneCandidates"]) == (0, 0, 1)
    digest = result["candidatesDigest"]
    code, result = call("run", "--run", "approved", "--approve-prune", "looked", "--approve-digest", digest)
    assert (code, result["pruned"]) == (0, 1)
    assert not (library / "film 7.strm").exists()
    assert call("restore", "approved") == (0, {"restored": 1, "taken": []})
    assert (library / "film 7.strm").exists()


def test_every_file_that_an_approval_would_remove_can_be_seen(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("run")
    for number in range(12):
        (tmp_path / f"source/shows/film {number}.mkv").unlink()
    code, asked = call("run", "--run", "asked")
    assert (code, asked["result"], len(asked["samples"])) == (3, "Blocked", 10)
    code, listed = call("candidates", "asked")
    assert (code, listed["run"], listed["digest"]) == (0, "asked", asked["candidatesDigest"])
    assert [each["path"] for each in listed["candidates"]] == sorted(
        f"shows/film {number}.strm" for number in range(12)
    )  # fmt: skip
    assert listed["candidates"][0] == {"path": "shows/film 0.strm", "reason": "PruneGone", "ready": True}
    words = [f"--spec={tmp_path}/spec.yaml", f"--root=source={tmp_path}/source", f"--root=target={tmp_path}/target"]
    assert main(["strm", "candidates", "asked", *words]) == 0
    assert "PruneGone shows/film 11.strm\n" in capsys.readouterr().out
    assert main(["strm", "candidates", "unheard-of", *words]) == 2
    assert "know no run 'unheard-of'" in capsys.readouterr().err


def test_a_source_that_is_not_mounted_fails_and_removes_nothing(call: Call, tmp_path: Path) -> None:
    call("run")
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    (tmp_path / "source").mkdir()
    code, result = call("run")
    assert (code, result["result"], result["reason"]) == (1, "Failed", "MountMissing")
    assert len(list((tmp_path / "target").rglob("*.strm"))) == 30


def test_a_run_that_waits_for_a_word_has_an_exit_code_of_its_own(call: Call, tmp_path: Path) -> None:
    call("run")
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("/mnt/nas", "/mnt/other"))
    code, result = call("run", "--run", "asked")
    assert (code, result["result"], result["reason"]) == (3, "Blocked", "RewriteLimit")
    code, result = call("run", "--approve-rewrite", "another")
    assert (code, result["updated"]) == (3, 0)
    code, result = call("run", "--approve-rewrite", "asked")
    assert (code, result["updated"]) == (0, 30)


def test_a_dry_run_makes_not_even_the_targets_directory(call: Call, tmp_path: Path) -> None:
    code, result = call("run", "--dry-run")
    assert (code, result["dryRun"], result["created"], len(result["samples"])) == (0, True, 30, 10)
    assert list((tmp_path / "target").iterdir()) == []


def test_a_purge_needs_no_source_and_takes_what_the_job_made(call: Call, tmp_path: Path) -> None:
    call("run")
    (tmp_path / "target/library/films/shows/film 3.strm").write_text("/mine")
    shutil.rmtree(tmp_path / "source")
    code, result = call("purge")
    assert (code, result["pruned"], result["skipped"]) == (0, 29, 1)
    assert [each.name for each in (tmp_path / "target").rglob("*.strm")] == ["film 3.strm"]
    assert [each.name for each in (tmp_path / "target/library/films").iterdir()] == ["shows"]
    assert call("purge")[0] == 0


def test_links_are_made_anew_from_the_records(call: Call, tmp_path: Path) -> None:
    call("run")
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("/mnt/nas", "/mnt/other"))
    for number in range(10):
        (tmp_path / f"source/shows/film {number}.mkv").unlink()
    assert call("rewrite", "--run", "asked")[0] == 3
    code, result = call("rewrite", "--dry-run", "--approve-rewrite", "asked")
    assert (code, result["updated"], result["dryRun"]) == (0, 30, True)
    code, result = call("rewrite", "--approve-rewrite", "asked")
    assert (code, result["updated"], result["reason"], result["remoteRequests"]) == (0, 30, "Reconfigured", 0)
    texts = {file.read_text() for file in (tmp_path / "target").rglob("*.strm")}
    assert texts == {f"/mnt/other/shows/film {number}.mkv" for number in range(30)}


def test_a_watch_mirrors_follows_and_ends_at_a_signal(call: Call, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pantograph.cli.main", "strm", "watch", "--json", "--min-interval", "1s"]
    places = [f"--spec={tmp_path}/spec.yaml", f"--root=source={tmp_path}/source", f"--root=target={tmp_path}/target"]
    with subprocess.Popen([*command, *places], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        try:
            assert watch.stdout is not None
            assert watch.stderr is not None
            assert json.loads(watch.stdout.readline() or watch.stderr.read())["created"] == 30
            (tmp_path / "source/shows/new.mkv").touch()
            heard = json.loads(watch.stdout.readline())
            assert (heard["trigger"], heard["created"], heard["remoteRequests"]) == ("watch", 1, 2)
            (tmp_path / "source").rename(tmp_path / "elsewhere")
            (tmp_path / "source").mkdir()
            assert watch.stderr.readline() == "pantograph strm: watching\n"
            assert "the watch is lost" in watch.stderr.readline()
            watch.send_signal(signal.SIGINT)
            assert watch.wait(timeout=30) == 0
        finally:
            watch.kill()
    assert len(list((tmp_path / "target").rglob("*.strm"))) == 31


def test_doctor_says_who_keeps_the_target(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    call("run")
    places = ["--root", f"source={tmp_path / 'source'}", "--root", f"target={tmp_path / 'target'}"]
    assert main(["strm", "doctor", "--spec", str(tmp_path / "spec.yaml"), *places]) == 0
    said = capsys.readouterr().out
    assert "kept by default/films" in said
    assert "complete" in said
    (tmp_path / "source/here").unlink()
    assert main(["strm", "doctor", "--spec", str(tmp_path / "spec.yaml"), *places]) == 1
    assert "FAULT" in capsys.readouterr().out


def test_a_place_that_was_not_named_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    assert main(["strm", "run", "--spec", str(tmp_path / "spec.yaml")]) == 2
    assert "--root source=DIR" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["run", "purge", "restore", "doctor"])
def test_no_link_in_the_targets_volume_leads_anything_out_of_it(call: Call, tmp_path: Path, action: str) -> None:
    call("run")
    (tmp_path / "target/library").rename(tmp_path / "elsewhere")
    (tmp_path / "target/library").symlink_to(tmp_path / "elsewhere")
    before = {path: path.lstat().st_mtime_ns for path in (tmp_path / "elsewhere").rglob("*")}
    assert call(action, *(["some-run"] if action == "restore" else []))[0] != 0
    assert {path: path.lstat().st_mtime_ns for path in (tmp_path / "elsewhere").rglob("*")} == before


def test_no_link_in_the_sources_volume_leads_a_listing_out_of_it(call: Call, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("root: {name: source}", "root: {name: source, subPath: nas}"))
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/nas").symlink_to(tmp_path / "elsewhere")
    code, result = call("run")
    assert (code, result["result"], result["created"]) == (1, "Failed", 0)
    assert result["reason"] == "MountMissing"


@pytest.mark.parametrize("record", ["", "{", "[]", '{"name": 1}'])
def test_a_torn_record_of_the_owner_is_said_with_its_remedy(call: Call, tmp_path: Path, record: str) -> None:
    call("run")
    owner = tmp_path / "target/library/films/.pantograph/owner.json"
    owner.write_text(record)
    code, result = call("run")
    assert (code, result["reason"]) == (1, "ManifestUnreadable")
    assert result["remedy"] == f"if it is this job's: rm {owner}"
    owner.unlink()
    assert call("run")[1]["unchanged"] == 30


@pytest.mark.parametrize("other", ["{name: source, subPath: shows}", "{name: target, subPath: old}"])
def test_another_folder_is_another_source_although_it_has_a_sentinel_too(
    call: Call, tmp_path: Path, other: str
) -> None:
    call("run")
    for folder in ("source/shows", "target/old"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "here").touch()
    (tmp_path / "spec.yaml").write_text(SPEC.replace("root: {name: source}", f"root: {other}"))
    code, result = call("run")
    assert (code, result["reason"]) == (1, "SourceChanged")
    assert "Local(root source/)" in result["message"]


def test_a_record_that_does_not_name_the_folder_yet_is_taken_once_and_written_anew(
    call: Call, tmp_path: Path
) -> None:  # fmt: skip
    call("run")
    record = tmp_path / "target/library/films/.pantograph/owner.json"
    owner = json.loads(record.read_text())
    assert owner["source"] == "Local(root source/)  /"
    record.write_text(json.dumps({**owner, "source": "Local  /"}))
    assert call("run")[1]["unchanged"] == 30
    assert json.loads(record.read_text()) == owner


def test_a_folder_that_is_unmounted_during_a_run_is_not_read_any_more(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace(", sentinel: here", ""))
    call("run")
    (tmp_path / "source/shows/film 3.mkv").unlink()
    looks = count()
    # The first look is at the volume; what is seen from then on is the folder that it was mounted on.
    monkeypatch.setattr(
        "pantograph.providers.media.local.device", lambda fd: device(fd) if next(looks) == 0 else "beef"
    )
    monkeypatch.setattr("pantograph.strm.listing.FIRST_PAUSE_S", 0)
    code, result = call("run")
    assert (code, result["reason"], result["pruneCandidates"]) == (1, "SourceUnusable", 0)
    assert "lies on device beef, and lay on" in result["message"]
    assert result["remedy"].startswith("findmnt --target")


def test_a_run_on_a_mount_that_hangs_ends_within_the_limit_and_says_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("run")
    (tmp_path / "spec.yaml").write_text(SPEC.replace("sentinel: here}", "sentinel: here}, limits: {listTimeout: 1s}"))
    answers = threading.Event()

    def hanging(*words: Any) -> int:
        answers.wait()
        return open_below(*words)

    monkeypatch.setattr("pantograph.providers.media.below.open_below", hanging)
    code, result = call("run")
    answers.set()
    assert (code, result["reason"]) == (1, "MountHung")
    assert result["message"].endswith("does not answer: no result within 1 s")
    assert "umount --lazy" in result["remedy"]


def test_only_what_is_wrong_in_the_call_is_called_wrong(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("run", "--run", "a/b")[0] == 2

    def failing(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(cli, "compile_job", failing)
    with pytest.raises(ValueError, match="a bug"):
        call("run")


@pytest.mark.parametrize("action", ["doctor", "restore"])
def test_who_only_looks_makes_no_directory(call: Call, tmp_path: Path, action: str) -> None:
    assert call(action, *(["some-run"] if action == "restore" else []))[0] == (0 if action == "doctor" else 2)
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "words", "fault"),
    [
        ("path: /", "path: /shows", [], "mirrors Local(root source/)  /, not Local(root source/)  /shows"),
        ("name: films", "name: series", [], "belongs to default/films of installation local"),
        ("x", "x", ["--installation", "there"], "belongs to default/films of installation local"),
    ],
)
def test_doctor_says_what_a_run_would_refuse(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: list[str], fault: str
) -> None:
    call("run")
    (tmp_path / "spec.yaml").write_text(SPEC.replace(old, new))
    places = ["--root", f"source={tmp_path / 'source'}", "--root", f"target={tmp_path / 'target'}"]
    assert main(["strm", "doctor", "--spec", str(tmp_path / "spec.yaml"), *places, *words]) == 1
    assert fault in capsys.readouterr().out
    assert call("run", *words)[0] == 1


def test_a_secret_without_the_authority_that_it_is_named_for_is_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = "{driver: Local, local: {root: {name: source}, sentinel: here}}"
    server = "{driver: OpenList, endpoint: 'https://nas:5244', tls: {caRef: {name: home-ca}}}"
    (tmp_path / "spec.yaml").write_text(SPEC.replace(local, server))
    places = ["--root", f"target={tmp_path}", "--secret", f"home-ca={tmp_path}"]
    assert main(["strm", "run", "--spec", str(tmp_path / "spec.yaml"), *places]) == 2
    said = capsys.readouterr().err
    assert "nas: the key `ca.crt` of its Secret cannot be read (FileNotFoundError)" in said
    assert "--from-file=ca.crt=FILE" in said
