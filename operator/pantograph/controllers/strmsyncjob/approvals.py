"""What people approve: each approval names the run that asked, and holds until a run that has it comes to an end.

The run itself proves again whatever it does by one, so a run that fails, or that another interrupts, hands it on.
"""

from __future__ import annotations

from typing import Final

from pantograph.api.meta import RECONCILE_AT
from pantograph.api.run import RunResult
from pantograph.api.strmstatus import Asked, LastRun, RunStatus, RunSummary
from pantograph.controllers.strmsyncjob.requests import (
    APPROVE_PRUNE,
    APPROVE_REWRITE,
    RUN_PATH,
    handled,
    obeyed,
    pending,
    refuse,
    remember,
    say,
)
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.wishes import Cause, Wish

REWRITE_LIMIT: Final = "RewriteLimit"
"""Reason of a run that asks whether it may rewrite so much."""
USED_UP: Final = "ApprovalUsedUp"
"""Reason of the Event that says that nothing came of an approval, or not all of it."""


async def approved(scope: JobScope) -> list[Wish]:
    """The runs that approvals ask for. One that approves nothing is said in an Event, once."""
    found = []
    if (run := pending(scope, APPROVE_PRUNE)) is not None:
        if (digest := _digest_of(scope, run)) is not None:
            found.append(Wish(trigger="manual", causes=frozenset({Cause.APPROVAL}), approve_prune=(run, digest)))
        else:
            message = f"run {run!r} has listed no candidates, or is no longer in status.history: nothing is approved"
            await refuse(scope, APPROVE_PRUNE, "ApprovalUnknown", message)
    if (run := pending(scope, APPROVE_REWRITE)) is not None:
        if _has_asked_to_rewrite(scope, run):
            found.append(Wish(trigger="manual", causes=frozenset({Cause.APPROVAL}), approve_rewrite=run))
        else:
            message = f"run {run!r} has not asked to rewrite, or is no longer in status.history: nothing is approved"
            await refuse(scope, APPROVE_REWRITE, "ApprovalUnknown", message)
    return found


def has_failed_with(scope: JobScope, wish: Wish) -> bool:
    """Whether the last run has failed with this approval: the next one has it, and it hurries none."""
    last = scope.status.last_run
    if last is None or last.result != "Failed":
        return False
    if wish.approve_prune is not None:
        return wish.approve_prune[0] == last.approved_run
    return wish.approve_rewrite is not None and wish.approve_rewrite == last.approved_rewrite


async def settle_approvals(scope: JobScope, run: RunStatus, result: RunResult) -> None:
    """After this the approvals that the run had are used up, unless it failed or was interrupted: the next has them.

    A person who cancels it takes them back.
    """
    is_undone = result.result in ("Failed", "Cancelled")
    if is_undone and run.stopping != "Requested":
        return
    end = f"run {run.id}, which had it, ended {result.result}: what is still to be done needs another approval"
    if run.approved_run is not None:
        remember(scope, APPROVE_PRUNE, run.approved_run)
        if is_undone or result.result == "Blocked":
            await say(scope, USED_UP, f"the approval of run {run.approved_run} is used up; {end}")
    if run.approved_rewrite is not None:
        remember(scope, APPROVE_REWRITE, run.approved_rewrite)
        if is_undone or result.reason == REWRITE_LIMIT:
            await say(scope, USED_UP, f"the approval of run {run.approved_rewrite} is used up; {end}")


async def drop_approvals(scope: JobScope) -> None:
    """After this no approval waits for a run."""
    for annotation in (APPROVE_PRUNE, APPROVE_REWRITE):
        if (run := pending(scope, annotation)) is not None:
            obeyed(scope, annotation)
            await say(scope, USED_UP, f"the approval of run {run!r} was cancelled before a run had it to its end")


def approval_remedy(scope: JobScope, asked: Asked) -> str:
    """What a person can do about a run that asks, now that it may have been approved already."""
    annotation = APPROVE_REWRITE if asked.reason == REWRITE_LIMIT else APPROVE_PRUNE
    is_given = asked.run in (pending(scope, annotation), _at_work(scope, annotation))
    if scope.object.spec.dry_run:
        return f"set spec.dryRun to false; the run then {'has the' if is_given else 'asks for an'} approval"
    if is_given:
        return "wait: it is approved, and the run at work, or the next over the whole source, has the approval"
    meta = scope.object.metadata
    annotate = f"kubectl annotate strmsyncjob {meta.name} -n {meta.namespace} --overwrite"
    if handled(scope, annotation) == asked.run or (annotation == APPROVE_PRUNE and asked.candidates_digest is None):
        whole = f"{RUN_PATH}- " if RUN_PATH in meta.annotations else ""
        again = f'{annotate} {whole}{RECONCILE_AT}="$(date)"'
        return (
            f"an approval of run {asked.run} does nothing now: ask for a run, and approve that one if it asks: {again}"
        )
    if annotation == APPROVE_REWRITE:
        return f"look at the reasons, then allow it once: {annotate} {annotation}={asked.run}"
    look = f"look at what is gone (pantograph strm candidates {asked.run}, or the run's log)"
    return f"{look}, then approve exactly that: {annotate} {annotation}={asked.run}"


def _at_work(scope: JobScope, annotation: str) -> str | None:
    """What the run at work, or announced, has approved."""
    run = scope.status.run
    if run is None:
        return None
    return run.approved_run if annotation == APPROVE_PRUNE else run.approved_rewrite


def _digest_of(scope: JobScope, run: str) -> str | None:
    """The digest of the candidates that this run listed."""
    asked = scope.status.blocked
    if asked is not None and asked.run == run and asked.candidates_digest is not None:
        return asked.candidates_digest
    listed = next((each.candidates_digest for each in _approvable(scope) if each.id == run), None)
    return listed or next((each.approved_digest for each in _carriers(scope) if each.approved_run == run), None)


def _has_asked_to_rewrite(scope: JobScope, run: str) -> bool:
    asked = scope.status.blocked
    known = [(each.id, each.reason) for each in _approvable(scope)]
    if asked is not None:
        known.append((asked.run, asked.reason))
    return (run, REWRITE_LIMIT) in known or any(each.approved_rewrite == run for each in _carriers(scope))


def _carriers(scope: JobScope) -> list[RunStatus | LastRun]:
    """Runs that hand an approval on, also when the run that asked is no longer in the history."""
    return [each for each in (scope.status.run, scope.status.last_run) if each is not None]


def _approvable(scope: JobScope) -> list[RunSummary]:
    """Runs whose word is in the target's records: a dry run leaves none there."""
    last, history = scope.status.last_run, scope.status.history or []
    runs: list[RunSummary] = [*([last] if last is not None else []), *history]
    return [each for each in runs if not each.dry_run]
