"""AutoFilm 1.5.0 and `pantograph strm run` over the same fake OpenList: whole processes, their CPU and memory.

AutoFilm is on no package index: `AUTOFILM` names a checkout of it, `AUTOFILM_PYTHON` an interpreter with its
requirements. Without them only our own side is measured, and the table says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.results import Result
from tests.bench.shelves import ROOT, Shelves
from tests.fakes.openlist import FakeOpenList, serving
from tests.fakes.openlist.accounts import User

CHECKOUT = Path(__file__).parents[2]
FILES = 10_000
FEW_FILES = 1_000
BYTE_CODE = "byte-code"
REQUESTS = "extra_requests"
QUIET_RUNS = 5
"""After the first, of which the least counts: what else a machine does can only add to a run."""
USER, PASSWORD = "kodi", "secret"
CPU_GATE = 0.25
MEMORY_GATE = 1 / 3
EXTRA_REQUESTS_GATE = 10
"""Beyond one for each directory: log in, who am I, settings."""

# Not `ru_maxrss`: that counts the memory which a child shares with the bench until it becomes another program.
_MEASURED = """
import json, resource, sys
def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/status") as status:
        most_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "rss_mb": most_kib * 1024 / 1e6}), flush=True)
"""
_OURS = (
    _MEASURED
    + """
from pantograph.cli.main import main
code = main(sys.argv[1:])
tell()
sys.exit(code)
"""
)
_AUTOFILM = (
    _MEASURED
    + """
import asyncio
from app.modules import Alist2Strm
url, user, password, source, target = sys.argv[1:]
async def main():
    await Alist2Strm(url=url, username=user, password=password, source_dir=source, target_dir=target).run()
asyncio.run(main())
tell()
"""
)
_SPEC = """
apiVersion: pantograph.dev/v1alpha1
kind: DataServer
metadata: {{name: openlist}}
spec:
  driver: OpenList
  endpoint: {url}
  credentialsRef: {{name: openlist}}
  limits: {{requestsPerMinute: 60000, burst: 100, maxInFlight: 8}}
---
apiVersion: pantograph.dev/v1alpha1
kind: StrmSyncJob
metadata: {{name: films}}
spec:
  serverRef: {{name: openlist}}
  source: {{path: {source}}}
  target: {{root: {{name: target}}}}
  link: {{publicBase: {url}}}
"""

Used = dict[str, float]


def run(folder: Path) -> list[Result]:
    """First run and runs that find nothing to do, of both; each has run before, so that Python finds byte code."""
    asyncio.run(_used_by_both(folder, FEW_FILES))
    ours, theirs = asyncio.run(_used_by_both(folder, FILES))
    if theirs is None:
        print("AutoFilm is not installed (AUTOFILM, AUTOFILM_PYTHON): our own side alone", flush=True)
    results = []
    for number, name in enumerate(("first", "noop")):
        for figure, unit, gate in (("cpu_s", "s", CPU_GATE), ("rss_mb", "MB", MEMORY_GATE)):
            compared = None if theirs is None else theirs[number][figure]
            label = f"strm.autofilm.{name}.{figure.partition('_')[0]}" + ("" if theirs else ".not_installed")
            value = ours[number][figure]
            results.append(
                Result(name=label, value=value, unit=unit, reference=compared, gate=None if theirs is None else gate)
            )
    extra = ours[1][REQUESTS]
    return [*results, Result(name="strm.openlist.requests", value=extra, unit="", gate=EXTRA_REQUESTS_GATE)]


async def _used_by_both(folder: Path, files: int) -> tuple[list[Used], list[Used] | None]:
    """By a first run of ours and one that finds nothing to do, and by those of AutoFilm, if it is there."""
    shelves = Shelves(files)
    fake = FakeOpenList(shelves)
    fake.accounts.add(User(USER, PASSWORD))
    place = folder / f"peer-{files}"
    place.mkdir()
    async with serving(fake):
        our_words, peer = _ours(place, fake.base_url), _autofilm(place, fake.base_url)
        ours: list[Used] = []
        theirs: list[Used] = []
        for _ in range(1 + QUIET_RUNS):  # turn by turn: a machine has slower minutes
            before = fake.requests.total()
            used = await _used(our_words, CHECKOUT, byte_code=folder / BYTE_CODE)
            ours.append(used | {REQUESTS: fake.requests.total() - before - shelves.directories})
            if peer is not None:
                theirs.append(await _used(*peer, byte_code=folder / BYTE_CODE))
    return _first_and_least(ours), _first_and_least(theirs) if theirs else None


def _first_and_least(runs: Sequence[Used]) -> list[Used]:
    first, *quiet = runs
    least = {figure: min(each[figure] for each in quiet) for figure in first}
    if REQUESTS in first:  # of which a machine adds none
        least[REQUESTS] = max((each[REQUESTS] for each in quiet), key=abs)
    return [first, least]


def _ours(folder: Path, url: str) -> Sequence[str]:
    """The command."""
    spec, secret, target = folder / "spec.yaml", folder / "secret", folder / "ours"
    spec.write_text(_SPEC.format(url=url, source=ROOT))
    secret.mkdir()
    target.mkdir()
    (secret / "username").write_text(USER)
    (secret / "password").write_text(PASSWORD)
    places = ["--root", f"target={target}", "--secret", f"openlist={secret}"]
    return [sys.executable, "-c", _OURS, "strm", "run", "--spec", str(spec), *places, "--json"]


def _autofilm(folder: Path, url: str) -> tuple[Sequence[str], Path] | None:
    """The command and where it runs; None: it is not there."""
    checkout, python = os.environ.get("AUTOFILM"), os.environ.get("AUTOFILM_PYTHON")
    if not checkout or not python:
        return None
    home, target = folder.parent / "autofilm", folder / "theirs"
    target.mkdir()
    if not home.exists():
        (home / "config").mkdir(parents=True)
        (home / "app").symlink_to(Path(checkout) / "app")  # it writes its logs and wants its settings beside
        (home / "config/config.yaml").write_text("Settings: {DEV: false}\n")
    return [python, "-c", _AUTOFILM, url, USER, PASSWORD, ROOT, str(target)], home


async def _used(words: Sequence[str], home: Path, *, byte_code: Path) -> Used:
    """What the process says that it used, at its end."""
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(byte_code)}
    environment = {**os.environ, "PYTHONPATH": str(home), **kept}
    process = await asyncio.create_subprocess_exec(
        *words, cwd=home, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{words[0]} ended with {process.returncode}: {errors[-500:]!r}")
    used: Used = json.loads(output.splitlines()[-1])
    return used
