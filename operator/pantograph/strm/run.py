"""One run, from the frontier to the report: list and create, rewrite what may be rewritten, prune, tell others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError
from pantograph.providers.media.port import Entry, MediaSource, SignMode
from pantograph.providers.notify.port import MediaServer
from pantograph.strm.batch import Batch
from pantograph.strm.changes import Changes
from pantograph.strm.dirtimes import DirTimes, count_run, is_due_for_all
from pantograph.strm.errors import StrmError
from pantograph.strm.history import Begun, begin_run, end_run, known_directories
from pantograph.strm.listing import Lister
from pantograph.strm.manifest import FrontierItem, Manifest
from pantograph.strm.notifying import Notifying
from pantograph.strm.prune import Approval, Pruning
from pantograph.strm.quiet import Quiet
from pantograph.strm.rehearsal import Teller, rehearsed
from pantograph.strm.relinking import Relinking
from pantograph.strm.removal import Remover, purge_old_trash
from pantograph.strm.report import Progress, Report
from pantograph.strm.rewriting import Allowance, Rewriting
from pantograph.strm.scope import Scope
from pantograph.strm.spec import Job
from pantograph.strm.state import Owner, StateDir, read_owner
from pantograph.strm.target import Target, sync_filesystem
from pantograph.strm.walk import Walk
from pantograph.strm.writing import Hand, Writer

_RUN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of one run."""

    run: str
    """Its name: a token, a directory of the trash, what an approval speaks of."""
    trigger: Literal["manual", "cron", "watch"] = "manual"
    scope: Scope = field(default_factory=Scope)
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


async def execute(job: Job, request: Request, around: Surroundings) -> Report:
    """Do one run, or what an interrupted one left to do; the report says how it went, whatever happens.

    Raises nothing that the report can say. An unfinished run (a kill, a cancelled task) is resumed by the next request
    with the same spec and scope.
    """
    report = Report(run=request.run, trigger=request.trigger, dry_run=request.dry_run or job.dry_run)
    began = around.clock.monotonic()
    try:
        owner = _owner(job, request, around)
        if owner is None:
            return report
        with _opened(owner, job, request, around, report) as run:
            if not request.notify_only:
                await run.execute()
            await run.notify()
    except (StrmError, ProviderError) as error:
        report.result, report.reason, report.message = "Failed", error.reason, error.message
        report.remedy = error.remedy or ""
    except OSError as error:
        report.result, report.reason, report.message = "Failed", "TargetUnusable", f"target {around.root}: {error}"
    report.duration_s = around.clock.monotonic() - began
    return report


def _seal(job: Job, source: MediaSource) -> str:
    """Changes with the key that signatures are made with. Raises Rejected if there is none."""
    if job.links.sign is not SignMode.COMPUTE:
        return ""
    return source.link(Entry("", job.source, False), sign=SignMode.COMPUTE).sign


def _owner(job: Job, request: Request, around: Surroundings) -> Owner | None:
    """Whose the target must be; None: nobody's, and nothing to do about it."""
    source = f"{around.server}{job.source}"
    if request.notify_only:
        found = read_owner(around.root, above=around.volume)
        if found is None:
            return None
        source = found.source  # nobody asked the server who it is
    return Owner(around.installation, job.namespace, job.name, source)


@contextmanager
def _opened(owner: Owner, job: Job, request: Request, around: Surroundings, report: Report) -> Iterator[_Run]:
    """The run with its target, locked and ours, and its records; or, if it is a dry run, with copies of them."""
    # Only who looks at the source may judge whether it is the one that the spec's word is for.
    adopt = None if request.notify_only else job.adopt
    if report.dry_run:
        rebuild = request.rebuild_manifest
        with (
            rehearsed(around.root, owner, adopt=adopt, above=around.volume, rebuild=rebuild) as (target, records),
            Manifest(records, durable=False) as manifest,
        ):
            yield _Run(job, request, around, report, target, None, manifest)
        return
    with (
        closing(Target(around.root, above=around.volume, dir_mode=job.dir_mode)) as target,
        closing(StateDir.open(target, owner, adopt=adopt, above=around.volume)) as state,
    ):
        if request.rebuild_manifest:
            state.set_manifest_aside()
        with Manifest(state.manifest, durable=around.durable) as manifest:
            yield _Run(job, request, around, report, target, state, manifest)


@dataclass(slots=True)
class _Run:
    job: Job
    request: Request
    around: Surroundings
    report: Report
    target: Target
    state: StateDir | None
    """None: a dry run."""
    manifest: Manifest
    progress: Progress = field(default_factory=Progress)
    approved: Allowance | None = None

    async def execute(self) -> None:
        """From the frontier to the report."""
        job, request, report, manifest = self.job, self.request, self.report, self.manifest
        seal = _seal(job, self.around.source)
        begun = begin_run(
            manifest,
            name=request.run,
            trigger=request.trigger,
            scope="links" if request.rewrite_only else str(request.scope),
            shape=job.shape,
            now=self.around.clock.now().timestamp(),
            afresh=report.dry_run,
        )
        batch = self._batch(begun)
        walk = self._walk(begun, batch, shape=job.shape + seal)
        report.incomplete_dirs = begun.incomplete
        resumable = False
        try:
            await self._relink(batch, begun)
            if not request.rewrite_only and not self._stopped():
                await self._list(walk, batch)
                if not walk.root_error and not self._stopped():
                    await self._settle(walk, batch, begun)
        except (StrmError, ProviderError) as error:
            report.result, report.reason, report.message = "Failed", error.reason, error.message
            report.remedy = error.remedy or ""
            resumable = True
        self._conclude(walk)
        whole = self._was_whole(walk)
        if request.scope.is_whole and not request.rewrite_only and report.result not in ("Failed", "Cancelled"):
            count_run(manifest, full=not walk.times.skips)
        end_run(
            manifest,
            begun.id,
            report=report,
            directories=self.progress.dirs_done,
            job=job if whole else None,
            resumable=resumable,
        )

    def _batch(self, begun: Begun) -> Batch:
        durable = self.around.durable and not self.report.dry_run
        return Batch(
            self.target,
            self.manifest,
            self._hand(),
            self.around.source,
            self.around.clock,
            self.report,
            begun.id,
            sync_filesystem if durable else lambda _: None,
            self._changes(),
        )

    def _walk(self, begun: Begun, batch: Batch, *, shape: str) -> Walk:
        job, scope, able, now = self.job, self.request.scope, self.around.source.capabilities, self.around.clock.now
        before = self.manifest.get("shape")
        records = job.verify == "DirMtime" and able.directory_times
        full = not scope.is_whole or before != job.shape or is_due_for_all(self.manifest, job)
        walk = Walk(
            job=job,
            source=self.around.source,
            target=self.target,
            manifest=self.manifest,
            batch=batch,
            report=self.report,
            run=begun.id,
            quiet=Quiet(
                self.target,
                self.manifest,
                shape=shape,
                with_times=bool(job.filter.sidecars),
                with_content=job.verify == "Content",
                now=lambda: now().timestamp(),
            ),
            times=DirTimes(target=self.target, shape=shape, now=now, records=records, skips=records and not full),
            scope=scope,
            proves=able.proves_complete_listing,
            reconfigured=before is not None and before != job.shape,
            now=now,
            resumed=begun.resumed,
            progress=self.progress,
            queued=frozenset(item.path for item in begun.frontier),
        )
        # The root is listed by every life of a run: a source that has gone meanwhile must not be pruned on old proofs.
        walk.frontier = [item for item in begun.frontier if item.path] + [FrontierItem("", "", 0, True)]
        self.progress.dirs_known = len(walk.frontier)
        return walk

    def _hand(self) -> Hand:
        if self.state is None:
            return Teller(self.report)
        return Writer(
            self.target,
            self.state,
            file_mode=self.job.file_mode,
            mtime_policy=self.job.mtime_policy,
            max_bytes=self.job.filter.sidecar_max_size,
        )

    async def notify(self) -> None:
        """Tell the media servers; the run itself is over, however it went."""
        if self.report.dry_run:
            return
        await Notifying(
            rules=self.job.media_servers,
            servers=self.around.media_servers,
            changes=self._changes(),
            report=self.report,
            now=self.around.clock.now,
            stopped=self._stopped,
            begins=lambda: self._phase("Notify"),
        ).execute()

    def _changes(self) -> Changes:
        told = () if self.report.dry_run else self.job.media_servers
        return Changes(self.manifest, tuple(each.name for each in told))

    async def _relink(self, batch: Batch, begun: Begun) -> None:
        """Where nothing but links was reconfigured, they are made anew before anything is listed."""
        job, only = self.job, self.request.rewrite_only
        if not only and (self.manifest.get("shape") in (None, job.shape) or not self.request.scope.is_whole):
            return
        if self.manifest.get("frame") != job.frame:
            if only:
                raise StrmError(
                    "NotRewritable",
                    "the spec wants other files, or other signatures, than at the last complete run: the records alone"
                    " do not tell which",
                    remedy="pantograph strm run",
                )
            return
        if self.report.dry_run and not only:  # the listing that follows counts the same files
            return
        self._phase("Apply")
        relinking = Relinking(
            job=job,
            source=self.around.source,
            target=self.target,
            manifest=self.manifest,
            report=self.report,
            now=self.around.clock.now(),
            cancelled=self._stopped,
        )
        planned = await relinking.plan()
        if self._stopped():
            return
        if await self._rewriting(batch, begun).execute():
            if planned:
                self.report.reason = "Reconfigured"
                self.report.message = f"{planned} links were made anew from the records"
        elif not only:
            # The listing goes on to new files, and comes to the same end.
            self.report.reason = self.report.message = self.report.remedy = ""
            if not begun.resumed:  # what an earlier life has planned from listings, which are not repeated, stays
                self.report.rewrites.clear()
                self.manifest.drop_rewrites()
        self._phase("List")

    async def _list(self, walk: Walk, batch: Batch) -> None:
        lister = Lister(
            source=self.around.source,
            clock=self.around.clock,
            root=self.job.source,
            parallel=self.around.parallel,
            cancelled=self._stopped,
            on_cooldown=self._cooled,
        )
        expected = known_directories(self.manifest) if self.request.scope.is_whole else None
        try:
            # The root comes alone: when it cannot be listed, nothing else is asked.
            while listed := await lister.next(walk.pop):
                walk.take(listed.item, listed.listing, listed.error.message if listed.error else "")
                if walk.root_error:
                    self.report.remedy = (listed.error.remedy if listed.error else None) or ""
                    break
                if expected:
                    self.progress.percent = min(99, 100 * self.progress.dirs_done // expected)
                self.around.on_progress(self.progress)
                if batch.is_due:
                    await batch.flush()
                if self._stopped():
                    break
        except StrmError:
            if not self._stopped():  # or somebody did not want to wait for it
                raise
        finally:
            self.report.remote_requests += lister.requests
            await lister.close()
        await batch.flush()

    def _cooled(self, until: datetime | None) -> None:
        self.progress.rate_limited_until = until
        if until is not None:
            self.report.rate_limited_until = until
        self.around.on_progress(self.progress)

    def _rewriting(self, batch: Batch, begun: Begun) -> Rewriting:
        name = self.request.approve_rewrite
        if name is not None and self.approved is None:
            self.approved = Allowance.of(self.manifest, name, shape=self.job.shape)
        return Rewriting(
            job=self.job,
            target=self.target,
            manifest=self.manifest,
            batch=batch,
            report=self.report,
            existing=begun.existing,
            stopped=self._stopped,
            approved=self.approved,
        )

    async def _settle(self, walk: Walk, batch: Batch, begun: Begun) -> None:
        """Everything is listed: rewrite, then prune."""
        self._phase("Apply")
        if not await self._rewriting(batch, begun).execute():
            return
        self._phase("Prune")
        if not walk.root_proved:
            return
        now = self.around.clock.now().timestamp()
        approved = self.request.approve_prune is not None
        remover = Remover(
            target=self.target,
            state=self.state,
            manifest=self.manifest,
            report=self.report,
            changes=self._changes(),
            # A person who only wanted reports and approves one gets back what turns out wrong.
            trash=self.job.prune.mode == "Trash" or (approved and self.job.prune.mode == "Report"),
            run=self.request.run,
        )
        await Pruning(
            manifest=self.manifest,
            target=self.target,
            remover=remover,
            rules=self.job.prune,
            run=begun.id,
            now=now,
            report=self.report,
            stopped=self._stopped,
        ).execute(self.request.approve_prune, source_is_empty=walk.source_is_empty)
        if self.state is not None:
            purge_old_trash(self.state, retention_s=self.job.prune.trash_retention_s, now=now)

    def _conclude(self, walk: Walk) -> None:
        report, inventory = self.report, self.manifest.inventory()
        report.inventory_strm, report.inventory_sidecars = inventory.get("strm", 0), inventory.get("sidecar", 0)
        if report.result == "Failed":
            return
        if walk.root_error:
            report.result, report.reason = "Failed", "SourceUnusable"
            report.message = f"{self.job.source} cannot be listed: {walk.root_error}"
        elif self._stopped():
            report.result, report.reason = "Cancelled", "Cancelled"
        elif report.reason == "RewriteLimit":
            report.result = "Blocked"
        elif report.prune_blocked:
            report.result, report.reason, report.message = "Blocked", "PruneBlocked", report.prune_blocked
        elif report.failed or report.incomplete_dirs:
            report.result, report.reason = "Degraded", "Incomplete" if report.incomplete_dirs else "WriteFailed"
            report.message = f"{report.incomplete_dirs} directories incomplete, {report.failed} files failed"
        elif report.dry_run:
            report.reason = "DryRun"
            report.message = (
                f"nothing was written: {report.created} files would be made, {report.updated} written anew, "
                f"{report.pruned} removed"
            )

    def _was_whole(self, walk: Walk) -> bool:
        whole = self.request.scope.is_whole and self.report.result in ("Succeeded", "Blocked")
        return whole and not self.report.incomplete_dirs and self.report.reason != "RewriteLimit" and not walk.frontier

    def _phase(self, phase: Literal["List", "Apply", "Prune", "Notify"]) -> None:
        self.progress.phase = phase
        self.around.on_progress(self.progress)

    def _stopped(self) -> bool:
        return self.around.cancelled()
