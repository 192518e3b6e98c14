"""What a run imports: what it has no use for it would pay for at every start, in time and in memory."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.fakes.library import Library
from tests.fakes.openlist import FakeOpenList, serving

RUN = """
import json, sys
from pantograph.cli.main import main
code = main(sys.argv[1:])
print(json.dumps(list(sys.modules)))
sys.exit(code)
"""
JOB = """
---
apiVersion: pantograph.dev/v1alpha1
kind: StrmSyncJob
metadata: {name: films}
spec:
  serverRef: {name: server}
  source: {path: /}
  target: {root: {name: target}}
  link: {mode: Mount, mountPrefix: /mnt}
"""
SERVER = """
apiVersion: pantograph.dev/v1alpha1
kind: DataServer
metadata: {name: server}
spec: """


async def imported_by_a_run(folder: Path, server: str) -> set[str]:
    """Every module that is loaded when a run, in a process of its own, has made its files from `server`."""
    (folder / "spec.yaml").write_text(SERVER + server + JOB)
    (folder / "target").mkdir()
    places = ["--root", f"target={folder / 'target'}", "--root", f"nas={folder / 'nas'}"]
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, "strm", "run", "--spec", str(folder / "spec.yaml"), *places),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await run.communicate()
    assert run.returncode == 0, printed.decode()
    assert list((folder / "target").rglob("*.strm"))
    return set(json.loads(printed.splitlines()[-1]))


async def test_a_run_over_a_folder_speaks_neither_http_nor_grpc_nor_to_kubernetes(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas/film.mkv").touch()
    modules = await imported_by_a_run(tmp_path, "{driver: Local, local: {root: {name: nas}}}")
    assert modules.isdisjoint({"aiohttp", "yarl", "grpc", "watchfiles", "kubernetes", "kopf"})


async def test_a_run_over_openlist_loads_no_other_driver_and_nothing_of_the_operator(tmp_path: Path) -> None:
    library = Library()
    library.put("/film.mkv")
    fake = FakeOpenList(library)
    fake.accounts.allow_guests()
    async with serving(fake):
        modules = await imported_by_a_run(tmp_path, f'{{driver: OpenList, endpoint: "{fake.base_url}"}}')
    assert "aiohttp" in modules
    assert modules.isdisjoint({"grpc", "watchfiles", "kubernetes", "kopf", "aiohttp.web"})
