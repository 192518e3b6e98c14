"""What happens to the records' file during a run is said as what it is, and the next run goes on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pantograph.strm.manifest import Manifest
from pantograph.strm.manifest.frontier import Frontier
from tests.simulation.strm.bench import ROOT, Stage, films

FAULTS = {
    sqlite3.SQLITE_FULL: "TargetFull",
    sqlite3.SQLITE_IOERR | 3 << 8: "TargetUnusable",
    sqlite3.SQLITE_READONLY: "TargetUnusable",
    sqlite3.SQLITE_CORRUPT: "ManifestUnreadable",
    sqlite3.SQLITE_NOTADB: "ManifestUnreadable",
}


@pytest.mark.parametrize(("code", "reason"), FAULTS.items())
async def test_a_fault_of_the_records_in_the_middle_of_a_run_is_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    stage = Stage(tmp_path, films(10))
    await stage.run()
    stage.tree.add(f"{ROOT}/new.mkv")

    def failing(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("so it is")
        error.sqlite_errorcode = code
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Frontier, "move", failing)
        report = await stage.run()
    assert (report.result, report.reason) == ("Failed", reason)
    assert "so it is" in report.message
    assert report.remedy
    assert (await stage.run()).result == "Succeeded"
    assert len(stage.names()) == 11


async def test_a_wrong_statement_of_ours_is_no_fault_of_the_target(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError), Manifest(tmp_path / "manifest") as manifest:
        manifest.execute("SELECT nothing FROM nowhere")


async def test_records_that_are_damaged_below_the_surface_are_said_to_be(tmp_path: Path) -> None:
    stage = Stage(tmp_path, films(400))
    await stage.run()
    records = tmp_path / ".pantograph/manifest.sqlite"
    content = bytearray(records.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    records.write_bytes(content)
    report = await stage.run()
    assert (report.result, report.reason) == ("Failed", "ManifestUnreadable")
    assert "--rebuild-manifest" in report.remedy
