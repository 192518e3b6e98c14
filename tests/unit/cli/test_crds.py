"""`pantograph crds` as people call it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantograph.api import crd, kinds
from pantograph.cli.main import main

CHECKOUT = Path(__file__).parents[3]
NAMES = sorted(crd.file_name(kind) for kind in kinds.ALL)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_committed_files_are_those_of_the_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CHECKOUT)
    assert main(["crds", "--check"]) == 0, capsys.readouterr().err


def test_outside_a_checkout_only_the_crds_are_written(elsewhere: Path) -> None:
    assert main(["crds"]) == 0
    assert files(elsewhere) == ["crds"]
    assert files(elsewhere / "crds") == NAMES


def test_in_a_checkout_the_chart_is_written_too(elsewhere: Path) -> None:
    (elsewhere / "operator/pantograph").mkdir(parents=True)
    assert main(["crds"]) == 0
    assert files(elsewhere / "crds") == NAMES
    assert files(elsewhere / "charts/pantograph/templates/crds") == NAMES


def test_what_was_written_passes_the_check_and_is_not_written_again(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--output", str(elsewhere / "out"), "--chart", str(elsewhere / "chart")]
    main(["crds", *options])
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(NAMES)
    assert main(["crds", *options, "--check"]) == 0
    main(["crds", *options])
    assert capsys.readouterr().out == ""


def test_the_check_names_a_changed_a_missing_and_an_orphaned_file_and_touches_none(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["crds"])
    changed, missing = (elsewhere / "crds" / name for name in NAMES[:2])
    changed.write_text("changed")
    missing.unlink()
    orphan = elsewhere / "crds" / "pantograph.dev_toys.yaml"
    orphan.write_text(crd.HEADER)
    capsys.readouterr()
    assert main(["crds", "--check"]) == 1
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(
        f"crds/{path.name} is stale: run `pantograph crds` and commit the result" for path in (changed, missing, orphan)
    )
    assert (changed.read_text(), missing.exists(), orphan.exists()) == ("changed", False, True)


def test_writing_removes_our_orphans_and_leaves_files_of_others(elsewhere: Path) -> None:
    folder = elsewhere / "crds"
    folder.mkdir()
    (folder / "pantograph.dev_toys.yaml").write_text(crd.HEADER)
    (folder / "kustomization.yaml").write_text("resources: []\n")
    main(["crds"])
    assert files(folder) == sorted([*NAMES, "kustomization.yaml"])


def test_an_unknown_command_is_refused_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["crd"])
    assert caught.value.code == 2
    assert "crds" in capsys.readouterr().err
