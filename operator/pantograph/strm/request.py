"""What is asked of one run, and what it is given for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pantograph.clock import Clock
from pantograph.providers.media.port import MediaSource
from pantograph.providers.notify.port import MediaServer
from pantograph.strm.errors import StrmError
from pantograph.strm.prune import Approval
from pantograph.strm.report import Progress
from pantograph.strm.subtrees import Subtrees

_RUN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of one run."""

    run: str
    """Its name: a token, a directory of the trash, what an approval speaks of."""
    trigger: Literal["manual", "cron", "watch"] = "manual"
    scope: Subtrees = field(default_factory=Subtrees)
    approve_prune: Approval | None = None
    approve_rewrite: str | None = None
    """The run that asked, whose rewrites are approved."""
    rebuild_manifest: bool = False
    rewrite_only: bool = False
    """Only make links anew from the records, and list nothing."""
    notify_only: bool = False
    """Tell media servers what earlier runs left to tell, and do nothing else. The source is not asked for anything."""
    dry_run: bool = False
    """Only tell what would be done; so does a job whose spec says `dryRun`."""

    def __post_init__(self) -> None:
        if not _RUN_NAME.fullmatch(self.run):
            raise StrmError(
                "InvalidSpec", f"{self.run!r} is no name of a run: letters, digits, '.', '_' and '-', at most 63"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a run is given besides its job."""

    source: MediaSource
    root: Path
    """The target directory."""
    volume: Path | None = None
    """The root of the volume that the target lies in; no other job may own a directory between."""
    clock: Clock
    installation: str = "local"
    server: str = ""
    """What the source is, for the records: driver, endpoint, base path. Another one is refused."""
    media_servers: Mapping[str, MediaServer] = field(default_factory=dict)
    """One for each that the job names."""
    parallel: int = 4
    durable: bool = True
    """Sync files and manifest. Without, a power cut (not a kill) may lose what was written."""
    on_progress: Callable[[Progress], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False
