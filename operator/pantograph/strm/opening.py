"""The target of one run, locked and found to be ours, with its records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from pantograph.strm.changes import Changes
from pantograph.strm.errors import StrmError
from pantograph.strm.history import REBUILDING
from pantograph.strm.manifest import Manifest
from pantograph.strm.rehearsal import rehearsed
from pantograph.strm.report import Phase, Progress, Report
from pantograph.strm.request import Request, Surroundings
from pantograph.strm.spec import Job
from pantograph.strm.state import Owner, StateDir, read_owner
from pantograph.strm.target import Target


@dataclass(frozen=True, slots=True)
class Opened:
    """What every part of the run has in hand."""

    job: Job
    request: Request
    around: Surroundings
    report: Report
    target: Target
    state: StateDir | None
    """None: a dry run."""
    manifest: Manifest
    progress: Progress = field(default_factory=Progress)

    def changes(self) -> Changes:
        """What media servers are to be told; nothing by a dry run."""
        told = () if self.report.dry_run else self.job.media_servers
        return Changes(self.manifest, tuple(each.name for each in told))

    def enter(self, phase: Phase) -> None:
        """Show that the run is in this phase now."""
        self.progress.phase = phase
        self.around.on_progress(self.progress)

    def stopped(self) -> bool:
        """Somebody wants it to end."""
        return self.around.cancelled()


@contextmanager
def opened(job: Job, request: Request, around: Surroundings, report: Report) -> Iterator[Opened | None]:
    """The run with its target, locked and ours, and its records; or, if it is a dry run, with copies of them.

    None: there is nobody to be told of anything, in a target that is nobody's. Raises StrmError, OSError.
    """
    owner = _owner(job, request, around)
    if owner is None:
        yield None
        return
    # Only who looks at the source may judge whether it is the one that the spec's word is for.
    adopt = None if request.notify_only else job.adopt
    if report.dry_run:
        rebuild = request.rebuild_manifest
        with (
            rehearsed(around.root, owner, adopt=adopt, above=around.volume, rebuild=rebuild) as (target, records),
            Manifest(records, durable=False) as manifest,
        ):
            yield Opened(job, request, around, report, target, None, manifest)
        return
    with (
        closing(Target(around.root, above=around.volume, dir_mode=job.dir_mode)) as target,
        closing(StateDir.open(target, owner, adopt=adopt, above=around.volume)) as state,
    ):
        if request.rebuild_manifest and not _is_rebuilding(state):
            state.set_manifest_aside()
        with Manifest(state.manifest, durable=around.durable) as manifest:
            if request.rebuild_manifest:
                manifest.put(REBUILDING, "yes")
                manifest.commit()
            yield Opened(job, request, around, report, target, state, manifest)


def _is_rebuilding(state: StateDir) -> bool:
    """Whether the records are those that a rebuild has begun and not ended: the next one goes on with them."""
    if not state.manifest.exists():
        return False
    try:
        with Manifest(state.manifest) as manifest:
            # Without any run, it came no further than to make the tables.
            begun = manifest.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None
            return manifest.get(REBUILDING) is not None or not begun
    except StrmError:  # they cannot be read, which is why somebody wants new ones
        return False


def _owner(job: Job, request: Request, around: Surroundings) -> Owner | None:
    """Whose the target must be; None: nobody's, and nothing to do about it."""
    source = f"{around.server}{job.source}"
    if request.notify_only:
        found = read_owner(around.root, above=around.volume)
        if found is None:
            return None
        source = found.source  # nobody asked the server who it is
    return Owner(around.installation, job.namespace, job.name, source)
