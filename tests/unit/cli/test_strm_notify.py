"""`pantograph strm` with a Jellyfin beside it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pantograph.cli.main import main
from tests.fakes.receivers import TOKEN, Receivers, receiving_beside

SPEC = """
apiVersion: pantograph.dev/v1alpha1
kind: DataServer
metadata: {name: nas}
spec: {driver: Local, local: {root: {name: source}}}
---
apiVersion: pantograph.dev/v1alpha1
kind: StrmSyncJob
metadata: {name: films}
spec:
  serverRef: {name: nas}
  source: {path: /}
  target: {root: {name: target, subPath: films}}
  link: {mode: Mount, mountPrefix: /mnt/nas}
  notify:
    mediaServers:
    - {name: den, type: Jellyfin, url: "URL/jellyfin", secretRef: {name: den}, debounce: 2s,
       pathMap: [{from: /, to: /media/strm}]}
"""
Words = Callable[..., list[str]]


@pytest.fixture
def jellyfin() -> Iterator[Receivers]:
    with receiving_beside() as fake:
        yield fake


@pytest.fixture
def words(tmp_path: Path, jellyfin: Receivers) -> Words:
    """The words of a call."""
    (tmp_path / "spec.yaml").write_text(SPEC.replace("URL", jellyfin.base_url))
    for name in ("source/A", "target", "secret"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "source/A/a.mkv").touch()
    (tmp_path / "secret/token").write_text(TOKEN)

    def words(action: str, *more: str, secret: bool = True) -> list[str]:
        places = [f"--root={name}={tmp_path / name}" for name in ("source", "target")]
        places += [f"--secret=den={tmp_path / 'secret'}"] if secret else []
        return ["strm", action, f"--spec={tmp_path / 'spec.yaml'}", *places, *more]

    return words


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_a_run_tells_it_what_changed(words: Words, jellyfin: Receivers, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("run", "--json")) == 0
    assert jellyfin.updates == [[("/media/strm/films/A", "Created")]]
    assert (result(capsys)["notified"], main(words("run"))) == (1, 0)
    assert len(jellyfin.updates) == 1


def test_one_that_refuses_fails_no_run_and_is_named(
    words: Words, jellyfin: Receivers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret/token").write_text("0" * 32)
    assert main(words("run")) == 0
    said = capsys.readouterr().out
    assert "CredentialsRefused: media server den (Jellyfin) answered 401" in said
    assert "told later" in said
    (tmp_path / "secret/token").write_text(TOKEN)
    assert main(words("run", "--notify-only", "--json")) == 0
    assert result(capsys)["notifyDue"] is not None
    assert jellyfin.updates == [], "a server that refuses is asked again after a while, not at once"


def test_a_secret_that_nobody_named_is_asked_for(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("run", secret=False)) == 2
    assert "--secret den=DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("token", "library", "code", "words_said"),
    [
        (TOKEN, "/media/strm", 0, "den, Jellyfin Server 10.11.2, at most every 2 s"),
        (TOKEN, "/media/strm/films/", 0, "below /media/strm/films"),
        (TOKEN, "/media/other", 1, "no library of den holds /media/strm/films; it has /media/other"),
        ("0" * 32, "/media/strm", 1, "FAULT    media server den (Jellyfin) answered 401"),
    ],
)
def test_doctor_says_whether_it_would_listen_and_tells_it_nothing(
    words: Words,
    jellyfin: Receivers,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    token: str,
    library: str,
    code: int,
    words_said: str,
) -> None:
    (tmp_path / "secret/token").write_text(token)
    jellyfin.locations = [library]
    assert main(words("doctor")) == code
    assert words_said in capsys.readouterr().out
    assert jellyfin.updates == []


def test_doctor_finds_a_path_map_that_does_not_fit(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec.read_text().replace("from: /,", "from: /shows,"))
    assert main(words("doctor")) == 1
    assert "nothing in the pathMap of media server den fits /films" in capsys.readouterr().out


def test_watching_tells_what_changed_within_the_debounce_after_it(
    words: Words, jellyfin: Receivers, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec.read_text().replace("debounce: 2s", "debounce: 5s"))  # longer than a busy machine needs
    command = [sys.executable, "-m", "pantograph.cli.main", *words("watch", "--json", "--min-interval", "50ms")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert jellyfin.heard.get(timeout=60) == [("/media/strm/films/A", "Created")]
            (tmp_path / "source/B").mkdir()
            (tmp_path / "source/B/b.mkv").touch()
            assert jellyfin.heard.get(timeout=60) == [("/media/strm/films/B", "Created")]
        finally:
            watching.send_signal(signal.SIGINT)
            out, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0
    results = [json.loads(line) for line in out.splitlines()]
    assert any(each["created"] and each["notifyDue"] for each in results), "made at once, told later"
