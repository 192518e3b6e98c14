"""The phases of one run: make links anew, list and create, rewrite what may be rewritten, prune; then tell others."""

from __future__ import annotations

import logging
from datetime import datetime

from pantograph.providers.errors import ProviderError
from pantograph.strm.assembling import batch_of, pruning_of, rewriting_of, seal_of, walk_of
from pantograph.strm.batch import Batch
from pantograph.strm.dirtimes import count_run
from pantograph.strm.errors import StrmError
from pantograph.strm.faults import fault_of_target
from pantograph.strm.history import Begun, begin_run, end_run, known_directories
from pantograph.strm.listing import Lister
from pantograph.strm.notifying import Notifying
from pantograph.strm.opening import Opened
from pantograph.strm.relinking import Relinking
from pantograph.strm.removal import purge_old_trash
from pantograph.strm.rewriting import Rewriting
from pantograph.strm.verdict import conclude, was_whole
from pantograph.strm.walk import Walk

logger = logging.getLogger(__name__)


async def mirror(run: Opened) -> None:
    """From the frontier to the report."""
    report, request = run.report, run.request
    seal = seal_of(run.job, run.around.source)
    begun = _begin(run)
    batch = batch_of(run, begun)
    walk = walk_of(run, begun, batch, seal=seal)
    rewriting = rewriting_of(run, begun, batch)
    report.incomplete_dirs, report.failed, report.collisions = begun.incomplete, begun.failed, begun.collisions
    is_listed = False
    try:
        await _relink(run, rewriting, resumed=begun.resumed)
        if not request.rewrite_only and not run.stopped():
            await _list(run, walk, batch)
            if not walk.root_error and not run.stopped():
                is_listed = True
                await _settle(run, walk, rewriting, begun)
    except (StrmError, ProviderError) as error:
        report.fail(error)
    except OSError as error:
        report.fail(fault_of_target(run.target.root, error))
    conclude(run, walk)
    for line in report.why_links_differ:
        logger.info(line)
    # What cannot be settled now may never be, and the source goes on: the next run lists it anew. And before a root
    # that fails nothing was listed, but by an earlier life.
    is_cut_short = report.result == "Failed" and not is_listed and (begun.resumed or not walk.root_error)
    is_stopped = report.result == "Cancelled"
    whole = was_whole(run, walk)
    if request.scope.is_whole and not request.rewrite_only and report.result not in ("Failed", "Cancelled"):
        count_run(run.manifest, full=not walk.times.skips)
    end_run(
        run.manifest,
        begun.id,
        report=report,
        directories=run.progress.dirs_done,
        job=run.job if whole else None,
        resumable=is_cut_short or is_stopped,
        again=[item for item in walk.again if is_stopped or not item.path],
    )


async def tell_media_servers(run: Opened) -> None:
    """The run itself is over, however it went."""
    if run.report.dry_run:
        return
    await Notifying(
        rules=run.job.media_servers,
        servers=run.around.media_servers,
        changes=run.changes(),
        report=run.report,
        now=run.around.clock.now,
        stopped=run.stopped,
        begins=lambda: run.enter("Notify"),
    ).execute()


def _begin(run: Opened) -> Begun:
    request = run.request
    return begin_run(
        run.manifest,
        name=request.run,
        trigger=request.trigger,
        scope="links" if request.rewrite_only else str(request.scope),
        shape=run.job.shape,
        now=run.around.clock.now().timestamp(),
        afresh=run.report.dry_run,
    )


async def _relink(run: Opened, rewriting: Rewriting, *, resumed: bool) -> None:
    """Where nothing but links was reconfigured, they are made anew before anything is listed."""
    if not _may_relink(run):
        return
    report = run.report
    run.enter("Apply")
    relinking = Relinking(
        job=run.job,
        source=run.around.source,
        target=run.target,
        manifest=run.manifest,
        report=report,
        now=run.around.clock.now(),
        cancelled=run.stopped,
    )
    planned = await relinking.plan()
    if run.stopped():
        return
    if await rewriting.execute():
        if planned:
            report.reason = "Reconfigured"
            report.message = f"{planned} links were made anew from the records"
    elif not run.request.rewrite_only:
        # The listing goes on to new files, and comes to the same end.
        report.reason = report.message = report.remedy = ""
        if not resumed:  # what an earlier life has planned from listings, which are not repeated, stays
            report.rewrites.clear()
            run.manifest.frontier.drop_rewrites()
    run.enter("List")


def _may_relink(run: Opened) -> bool:
    """Raises StrmError if nothing else is wanted and the records do not suffice."""
    job, only = run.job, run.request.rewrite_only
    if not only and (run.manifest.get("shape") in (None, job.shape) or not run.request.scope.is_whole):
        return False
    if run.manifest.get("frame") == job.frame:
        return only or not run.report.dry_run  # by a dry run, the listing that follows counts the same files
    if only:
        raise StrmError(
            "NotRewritable",
            "the spec wants other files, or other signatures, than at the last complete run: the records alone do not"
            " tell which",
            remedy="pantograph strm run",
        )
    return False


async def _list(run: Opened, walk: Walk, batch: Batch) -> None:
    lister = _lister(run, walk)
    try:
        fault = await _take_all(run, walk, batch, lister)
    finally:
        run.report.remote_requests += lister.requests
        await lister.close()
    if fault is None:
        await batch.flush()
        return
    # What was listed stays listed: else the next run would meet the same fault before it had done anything.
    await batch.flush_links()
    if not run.stopped():  # or somebody did not want to wait for it
        raise fault


def _lister(run: Opened, walk: Walk) -> Lister:
    def cooled(until: datetime | None) -> None:
        run.progress.rate_limited_until = until
        run.report.rate_limited_until = until or run.report.rate_limited_until
        run.around.on_progress(run.progress)

    return Lister(
        source=run.around.source,
        clock=run.around.clock,
        root=run.job.source,
        parallel=run.around.parallel,
        refresh=run.job.refresh,
        known=walk.known,
        cancelled=run.stopped,
        on_cooldown=cooled,
    )


async def _take_all(run: Opened, walk: Walk, batch: Batch, lister: Lister) -> StrmError | None:
    """Every directory, until the run is stopped; or why the source cannot be asked any more."""
    expected = known_directories(run.manifest) if run.request.scope.is_whole else None
    while not run.stopped():
        # The root comes alone: when it cannot be listed, nothing else is asked.
        try:
            listed = await lister.next(walk.pop)
        except StrmError as error:
            return error
        if listed is None:
            return None
        walk.take(listed.item, listed.answer, listed.error.message if listed.error else "")
        if walk.root_error:
            run.report.remedy = (listed.error.remedy if listed.error else None) or ""
            return None
        if expected:
            run.progress.percent = min(99, 100 * run.progress.dirs_done // expected)
        run.around.on_progress(run.progress)
        if batch.is_due:
            await batch.flush()
    return None


async def _settle(run: Opened, walk: Walk, rewriting: Rewriting, begun: Begun) -> None:
    """Everything is listed: rewrite, then prune."""
    run.enter("Apply")
    if not await rewriting.execute():
        return
    run.enter("Prune")
    if not walk.root_proved:
        return
    pruning = pruning_of(run, begun)
    await pruning.execute(run.request.approve_prune, source_is_empty=walk.source_is_empty)
    if run.state is not None:
        purge_old_trash(run.state, run.manifest, retention_s=run.job.prune.trash_retention_s, now=pruning.now)
