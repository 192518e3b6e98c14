"""The parts that one run works with, put together by its spec and by what an earlier life of it left."""

from __future__ import annotations

from pantograph.providers.media.port import Entry, MediaSource
from pantograph.strm.batch import Batch
from pantograph.strm.dirtimes import DirTimes, is_due_for_all
from pantograph.strm.history import Begun
from pantograph.strm.manifest import FrontierItem
from pantograph.strm.opening import Opened
from pantograph.strm.prune import Pruning
from pantograph.strm.quiet import Quiet
from pantograph.strm.rehearsal import Teller
from pantograph.strm.removal import Remover
from pantograph.strm.rewriting import Allowance, Rewriting
from pantograph.strm.spec import Job
from pantograph.strm.target import sync_filesystem
from pantograph.strm.walk import Walk
from pantograph.strm.writing import Hand, Writer


def seal_of(job: Job, source: MediaSource) -> str:
    """Changes with what the source puts before every path, and with the key that signatures are made with.

    Raises Rejected if it has none.
    """
    return "\n".join(source.link(Entry("", job.source, False), sign=job.links.sign))


def batch_of(run: Opened, begun: Begun) -> Batch:
    """What collects the run's work between two commits."""
    durable = run.around.durable and not run.report.dry_run
    return Batch(
        run.target,
        run.manifest,
        _hand(run),
        run.around.source,
        run.around.clock,
        run.report,
        begun.id,
        sync_filesystem if durable else lambda _: None,
        run.changes(),
    )


def walk_of(run: Opened, begun: Begun, batch: Batch, *, seal: str) -> Walk:
    """What takes the listings, with the directories that are still to be listed. `seal`: see `seal_of`."""
    job, scope, able, now = run.job, run.request.scope, run.around.source.capabilities, run.around.clock.now
    shape = job.shape + seal
    before = run.manifest.get("shape")
    records = job.verify == "DirMtime" and able.directory_times
    full = not scope.is_whole or before != job.shape or is_due_for_all(run.manifest, job)
    walk = Walk(
        job=job,
        source=run.around.source,
        target=run.target,
        manifest=run.manifest,
        batch=batch,
        report=run.report,
        run=begun.id,
        quiet=Quiet(
            run.target,
            run.manifest,
            shape=shape,
            with_times=bool(job.filter.sidecars),
            with_content=job.verify == "Content",
            now=lambda: now().timestamp(),
        ),
        times=DirTimes(target=run.target, shape=shape, now=now, records=records, skips=records and not full),
        scope=scope,
        proves=able.proves_complete_listing,
        reconfigured=before is not None and before != job.shape,
        now=now,
        resumed=begun.resumed,
        progress=run.progress,
        queued=frozenset(item.path for item in begun.frontier),
        last=run.manifest.directories.last(),
    )
    # The root is listed by every life of a run: a source that has gone meanwhile must not be pruned on old proofs.
    walk.frontier = [item for item in begun.frontier if item.path] + [FrontierItem("", "", 0, True)]
    run.progress.dirs_done = begun.directories
    run.progress.dirs_known = begun.directories + len(walk.frontier)
    return walk


def rewriting_of(run: Opened, begun: Begun, batch: Batch) -> Rewriting:
    """What writes existing files anew, as far as it may."""
    name = run.request.approve_rewrite
    return Rewriting(
        job=run.job,
        target=run.target,
        manifest=run.manifest,
        batch=batch,
        report=run.report,
        existing=begun.existing,
        stopped=run.stopped,
        approved=None if name is None else Allowance.of(run.manifest, name, shape=run.job.shape),
    )


def pruning_of(run: Opened, begun: Begun) -> Pruning:
    """What removes the files that have no source any more."""
    mode, approved = run.job.prune.mode, run.request.approve_prune is not None
    remover = Remover(
        target=run.target,
        state=run.state,
        manifest=run.manifest,
        report=run.report,
        changes=run.changes(),
        # A person who only wanted reports and approves one gets back what turns out wrong.
        trash=mode == "Trash" or (approved and mode == "Report"),
        run=run.request.run,
    )
    return Pruning(
        manifest=run.manifest,
        target=run.target,
        remover=remover,
        rules=run.job.prune,
        run=begun.id,
        now=run.around.clock.now().timestamp(),
        report=run.report,
        stopped=run.stopped,
    )


def _hand(run: Opened) -> Hand:
    if run.state is None:
        return Teller(run.report)
    return Writer(
        run.target,
        run.state,
        file_mode=run.job.file_mode,
        mtime_policy=run.job.mtime_policy,
        max_bytes=run.job.filter.sidecar_max_size,
    )
