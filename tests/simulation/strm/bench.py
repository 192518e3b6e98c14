"""The stage of the STRM scenarios: a scripted source, a target directory, a clock, and runs between them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pantograph.api.strmsyncjob import StrmSyncJob
from pantograph.providers.notify.port import FolderChange, MediaServerInfo
from pantograph.strm.prune import Approval
from pantograph.strm.report import Progress, Report
from pantograph.strm.run import Request, Surroundings, execute
from pantograph.strm.spec import compile_job
from pantograph.strm.subtrees import Subtrees
from tests.fakes.mediatree import MediaTree

ROOT = "/lib"
HOUR = 3600.0


class HandClock:
    """Time that passes only when somebody says so, or sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.jump = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds + self.jump)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Ear:
    """A media server that remembers what it was told."""

    messages: list[list[tuple[str, str]]] = field(default_factory=list)
    fault: Exception | None = None
    before: Callable[[], None] = lambda: None
    """Called when a message comes in, before it is heard."""

    async def tell(self, changes: Sequence[FolderChange]) -> None:
        self.before()
        if self.fault is not None:
            raise self.fault
        self.messages.append([(each.path, each.kind) for each in changes])

    async def look(self) -> MediaServerInfo:
        return MediaServerInfo("Ear", "1", None)

    def heard(self) -> list[tuple[str, str]]:
        """All of it since the last time."""
        heard = sorted(each for message in self.messages for each in message)
        self.messages.clear()
        return heard


def media_server(name: str = "den", **more: Any) -> dict[str, Any]:
    """One of `notify.mediaServers`."""
    body = {"name": name, "type": "Jellyfin", "url": "http://den:8096", "secretRef": {"name": "den"}}
    return {**body, "pathMap": [{"from": "/", "to": "/media"}], **more}


class Stage:
    """One library."""

    def __init__(self, target: Path, tree: MediaTree | None = None, /, **spec: Any) -> None:
        self.target = target
        self.target.mkdir(exist_ok=True)
        self.tree = tree or MediaTree()
        self.tree.mkdir(ROOT)
        self.clock = HandClock()
        self.spec: dict[str, Any] = {
            "serverRef": {"name": "server"},
            "source": {"path": ROOT},
            "target": {"root": {"name": "media"}},
            "link": {"publicBase": "http://player.lan"},
            "prune": {"mode": "Delete"},
        } | spec
        self.name = "films"
        self.ears: Mapping[str, Ear] = {"den": Ear(), "attic": Ear()}
        self.server = ""
        self.volume: Path | None = None
        """The volume of the target; None: it is one of its own."""
        self.asked: str | None = None
        """The last run that asked whether it may rewrite so much; `approve_rewrite=True` says yes to it."""
        self._numbers = itertools.count(1)

    def run_name(self) -> str:
        return f"run-{next(self._numbers)}"

    async def run(
        self,
        *,
        name: str | None = None,
        trigger: str = "cron",
        paths: tuple[str, ...] = (),
        shallow: bool = False,
        approve: Approval | None = None,
        approve_rewrite: bool | str = False,
        cancelled: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Progress], None] = lambda _: None,
        **flags: Any,
    ) -> Report:
        """`approve_rewrite`: a person's word for a named run, or for the last that asked."""
        body = {"metadata": {"name": self.name, "namespace": "media"}, "spec": self.spec}
        around = Surroundings(
            source=self.tree,
            root=self.target,
            volume=self.volume,
            clock=self.clock,
            server=self.server,
            media_servers=self.ears,
            parallel=2,
            durable=False,
            cancelled=cancelled,
            on_progress=on_progress,
        )
        request = Request(
            run=name or self.run_name(),
            trigger=trigger,  # type: ignore[arg-type]
            scope=Subtrees(paths, shallow),
            approve_prune=approve,
            approve_rewrite=self.asked if approve_rewrite is True else approve_rewrite or None,
            **flags,
        )
        report = await execute(compile_job(StrmSyncJob.parse(body)), request, around)
        if report.reason == "RewriteLimit" and not report.dry_run:
            self.asked = report.run
        return report

    def files(self) -> dict[str, bytes]:
        """Everything below the target outside our own directory."""
        return {
            str(path.relative_to(self.target)): path.read_bytes()
            for path in sorted(self.target.rglob("*"))
            if path.is_file() and path.relative_to(self.target).parts[0] != ".pantograph"
        }

    def names(self) -> set[str]:
        return set(self.files())

    def digest(self) -> list[tuple[str, int, int, int]]:
        """Inode, mtime and ctime of everything outside our own directory."""
        found = []
        for path in sorted(self.target.rglob("*")):
            if path.relative_to(self.target).parts[0] == ".pantograph":
                continue
            state = path.lstat()
            found.append((str(path), state.st_ino, state.st_mtime_ns, state.st_ctime_ns))
        return found


def films(count: int, *, root: str = ROOT) -> MediaTree:
    """A library of shows: ten files a directory, two levels."""
    tree = MediaTree()
    for number in range(count):
        tree.add(f"{root}/shelf{number // 50}/show{number // 10}/film {number:04}.mkv", size=1000 + number)
    return tree
