"""Random trees, edits, faults, stops and kills: nothing is removed wrongly, and once it is quiet all is right."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random
from unittest.mock import patch
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pantograph.strm import batch
from pantograph.strm.prune import Approval
from pantograph.strm.report import Report
from tests.fakes import mediatree
from tests.simulation.strm.bench import HOUR, ROOT, Stage

FAULTS = [
    mediatree.server_error,
    mediatree.unmounted,
    mediatree.empty,
    mediatree.short_page,
    mediatree.cut_after_one,
    mediatree.cut_before_the_last,
    mediatree.html,
    mediatree.mounts_only,
    mediatree.root_echoed,
    mediatree.wrong_path,
    mediatree.dirs_vanish,
    mediatree.unauthorized,
    mediatree.forbidden,
    mediatree.not_found,
    mediatree.banned,
    mediatree.timeout,
    mediatree.refused,
]
MAX_FAULTY_SCANS = 2
"""In a row: a fault like a success that outlasts the confirmations is a change, for all that anybody can tell."""


def local(path: str, *, portable: bool) -> str:
    """Of the remote film, below the target."""
    name = path.removeprefix(f"{ROOT}/").removesuffix(".mkv") + ".strm"
    return name.replace("?", "_") if portable else name


class Killed(BaseException):
    """The process ends here."""


class History:
    """One library's life, told by a seed."""

    def __init__(self, target: Path, seed: int) -> None:
        self.random = Random(seed)
        self.stage = Stage(target, prune={"mode": "Delete", "maxPercent": 100, "maxCount": 1000})
        if self.random.random() < 0.5:
            self.stage.spec["update"] = {"verify": "DirMtime", "fullEvery": 3}
            self.stage.tree.directory_times = True
        self.stage.tree.fingerprints = self.random.random() < 0.7
        self.ever: dict[str, str] = {}
        """Local path to remote path, of everything that the source ever had."""
        self.theirs: dict[str, bytes] = {}
        """What people put there."""
        self.faulty = 0
        """Scans that may have been told lies, since the last that was told the truth of every directory."""
        for _ in range(self.random.randint(25, 60)):
            self.add()

    def directory(self) -> str:
        depth = self.random.choice((0, 1, 1, 2, 2, 3))
        return "/".join([ROOT, *(self.random.choice(("a", "b", "c?")) for _ in range(depth))])

    def add(self) -> None:
        path = f"{self.directory()}/film{self.random.randrange(30)}.mkv"
        if path.removesuffix(".mkv") in self.stage.tree.dirs:
            return
        self.stage.tree.add(path, size=self.random.randrange(1, 9_000))
        for portable in (False, True):
            self.ever[local(path, portable=portable)] = path

    def remove(self) -> None:
        tree = self.stage.tree
        what = sorted(tree.files) + sorted(tree.dirs - {"/", ROOT})
        if what and len(tree.files) > 3:
            tree.remove(self.random.choice(what))

    def meddle(self) -> None:
        """Somebody edits, adds or removes a file in the target."""
        names = sorted(self.stage.names())
        if not names:
            return
        name = self.random.choice(names)
        path = self.stage.target / name
        match self.random.randrange(3):
            case 0:
                path.write_bytes(b"http://edited/by/hand")
                self.theirs[name] = b"http://edited/by/hand"
            case 1:
                poster = path.parent / "poster.jpg"
                poster.write_bytes(b"mine")
                self.theirs[str(poster.relative_to(self.stage.target))] = b"mine"
            case _:
                if name not in self.theirs:
                    path.unlink()

    def move(self) -> None:
        """The players see the server at another address."""
        self.stage.spec["link"] = {"publicBase": f"http://player{self.random.randrange(3)}.lan"}

    def rename(self) -> None:
        """The target is to have other names, or those that it had before."""
        self.stage.spec["target"] = {
            "root": {"name": "media"},
            "nameProfile": self.random.choice(("Posix", "Portable")),
        }

    @property
    def portable(self) -> bool:
        return bool(self.stage.spec["target"].get("nameProfile") == "Portable")

    async def faulty_scans(self) -> None:
        tree = self.stage.tree
        known = sorted(tree.dirs - {"/"})
        for _ in range(self.random.randint(1, 3)):
            tree.faults[self.random.choice(known)] = self.random.choice(FAULTS)
        for _ in range(self.random.randint(1, MAX_FAULTY_SCANS - self.faulty)):
            self.faulty += 1
            await self.run()
            self.stage.clock.jump += self.random.choice((0.0, 0.0, 500 * HOUR))
        tree.heal()

    async def healthy_scan(self) -> None:
        report = await self.run()
        if report is not None and report.result == "Succeeded" and report.unlisted_dirs == 0:
            self.faulty = 0

    async def run(self) -> Report | None:
        """One run of any sort, by which nothing goes that the source has; the report of one that saw the whole."""
        report, owed = None, self.there()
        kind = self.random.randrange(4)
        if kind == 0:
            await self.cut_short_run()
        elif kind == 1:
            path = self.random.choice(sorted(self.stage.tree.dirs - {"/"})).removeprefix(ROOT).strip("/")
            await self.stage.run(trigger="watch", paths=(path,), shallow=True)
        else:
            report = await self.stage.run(approve_rewrite=self.random.random() < 0.5)
        lost = owed - self.there()
        assert not lost, f"removed although the source has it: {sorted(lost)}"
        self.stage.clock.seconds += self.random.choice((1.0, HOUR))
        return report

    async def cut_short_run(self) -> None:
        """Stopped, or killed, before it has asked for everything."""
        stop = len(self.stage.tree.listed) + self.random.randint(2, 12)

        if self.random.random() < 0.5:
            await self.stage.run(cancelled=lambda: len(self.stage.tree.listed) >= stop)
            return

        def kill(_: str) -> None:
            if len(self.stage.tree.listed) >= stop:
                raise Killed

        self.stage.tree.on_list = kill
        try:
            with patch.object(batch, "MAX_DIRECTORIES", self.random.choice((1, 3, 1000))):
                await self.stage.run()
        except Killed:
            pass
        finally:
            self.stage.tree.on_list = lambda _: None

    def wanted(self) -> set[str]:
        return {local(path, portable=self.portable) for path in self.stage.tree.files}

    def there(self) -> set[str]:
        """What the source has of which the target has a file, under whichever name."""
        files = set(self.stage.files())
        return {path for path in self.stage.tree.files for name in (False, True) if local(path, portable=name) in files}

    def check_theirs(self) -> None:
        files = self.stage.files()
        for name, content in self.theirs.items():
            assert files.get(name) == content, f"{name} belongs to a person"

    async def settle(self) -> None:
        """Nothing changes and nothing fails any more: enough scans, far enough apart, and a person's word if asked."""
        for _ in range(5):
            report = await self.stage.run(approve_rewrite=True)
            if report.reason == "RewriteLimit":
                report = await self.stage.run(approve_rewrite=True)
            if report.prune_blocked:
                approval = Approval(run=report.run, digest=report.candidates_digest)
                report = await self.stage.run(approve=approval)
                assert not report.prune_blocked
            self.stage.clock.seconds += 7 * HOUR
        files = {name: content for name, content in self.stage.files().items() if name not in self.theirs}
        assert set(files) == self.wanted() - set(self.theirs)
        for name, content in files.items():
            base = self.stage.spec["link"]["publicBase"]
            assert content.decode() == f"{base}/d{quote(self.ever[name])}", name
        before = self.stage.digest()
        report = await self.stage.run()
        assert (report.created, report.updated, report.pruned) == (0, 0, 0)
        assert self.stage.digest() == before

    async def live(self) -> None:
        await self.stage.run()
        for _ in range(self.random.randint(2, 6)):
            for _ in range(self.random.randint(0, 4)):
                self.random.choice((self.add, self.add, self.remove, self.meddle, self.move, self.rename))()
            if self.faulty < MAX_FAULTY_SCANS and self.random.random() < 0.6:
                await self.faulty_scans()
            else:
                await self.healthy_scan()
            self.check_theirs()
        await self.settle()
        self.check_theirs()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_no_history_loses_a_file_and_every_history_ends_right(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(History(Path(folder), seed).live())
