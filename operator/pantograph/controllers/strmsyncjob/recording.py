"""From what a run says to what stands in the status, within its budget of bytes and of writes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final

from pantograph.api.conditions import truncate
from pantograph.api.meta import to_body
from pantograph.api.run import RunResult
from pantograph.api.strmstatus import (
    MAX_HISTORY,
    MAX_SAMPLES,
    MAX_SCOPE,
    Asked,
    Inventory,
    LastRun,
    RunRequest,
    RunStatus,
    RunSummary,
    Sample,
    StrmSyncJobStatus,
)
from pantograph.api.units import format_duration
from pantograph.controllers.runs.port import RunState
from pantograph.controllers.strmsyncjob.wishes import Cause, Wish
from pantograph.strm.subtrees import Subtrees

STATUS_BYTES: Final = 8 * 1024
PROGRESS_S: Final = 5.0
"""Progress is written at most this often."""
NOTIFY_RETRY_S: Final = 300.0
TEXT_BYTES: Final = 512
SCOPE_BYTES: Final = 1024
"""Of the parts of a run; it stands in the status twice, for the run at work and for the last one."""
SAMPLE_BYTES: Final = 200


def request_of(wish: Wish, *, run: str, dry_run: bool, purge: bool = False) -> RunRequest:
    """What the run is asked to do, as the status keeps it. Of many parts, or long ones, the first are kept."""
    paths = list(wish.scope.paths)
    shown = _first_of(paths)
    approval = wish.approve_prune if not dry_run else None  # which proves nothing, and so does nothing by one
    return RunRequest(
        id=run,
        trigger=wish.trigger,
        scope=None if wish.scope.is_whole else shown,
        scope_size=len(paths) if shown != paths and not wish.scope.is_whole else None,
        shallow=True if wish.scope.shallow and not wish.scope.is_whole else None,
        dry_run=dry_run or None,
        approved_run=approval[0] if approval else None,
        approved_digest=approval[1] if approval else None,
        approved_rewrite=wish.approve_rewrite if not dry_run else None,
        rebuild_manifest=wish.rebuild_manifest or None,
        purge=purge or None,
        notify_only=wish.notify_only or None,
    )


def _first_of(paths: list[str]) -> list[str]:
    """Those that the status has room for; of one that alone is too long its beginning."""
    shown: list[str] = []
    for path in paths[:MAX_SCOPE]:
        if len(json.dumps([*shown, path], ensure_ascii=False).encode()) > SCOPE_BYTES:
            return shown or [truncate(path, SAMPLE_BYTES)]
        shown.append(path)
    return shown


def wish_of(request: RunRequest) -> Wish:
    """The wish that a run fulfils, from the status: the same work once more. Of many parts it becomes the whole."""
    approval = None
    if request.approved_run is not None and request.approved_digest is not None:
        approval = (request.approved_run, request.approved_digest)
    return Wish(
        trigger=request.trigger,
        causes=frozenset({Cause.INTERRUPTED}),
        scope=scope_of(request),
        approve_prune=approval,
        approve_rewrite=request.approved_rewrite,
        rebuild_manifest=bool(request.rebuild_manifest),
        notify_only=bool(request.notify_only),
    )


def scope_of(request: RunRequest) -> Subtrees:
    """What the run looks at, as far as the status tells: the whole if it does not tell all."""
    if not request.scope or request.scope_size is not None:
        return Subtrees()
    return Subtrees(tuple(request.scope), shallow=bool(request.shallow))


def is_whole(request: RunRequest) -> bool:
    """Whether the run looks at the whole source."""
    return not request.scope and not request.purge and not request.notify_only


def follow_progress(run: RunStatus, state: RunState, now: datetime) -> RunStatus:
    """The run with what it said last; `updatedAt` is new only if something else is."""
    progress = state.progress
    seen: dict[str, object] = {"waits_for": truncate(state.fault, TEXT_BYTES) or None}
    if progress is not None:
        seen |= {
            "phase": progress.phase,
            "dirs_done": progress.dirs_done,
            "dirs_known": progress.dirs_known,
            "files_seen": progress.files_seen,
            "percent": progress.percent,
        }
    changed = run.model_copy(update=seen)
    return run if changed == run else changed.model_copy(update={"updated_at": now})


def lost(fault: str) -> RunResult:
    """The result of a run that ended without one."""
    return RunResult(result="Failed", reason="RunLost", message=truncate(fault, TEXT_BYTES))


def record(status: StrmSyncJobStatus, run: RunStatus, result: RunResult, now: datetime) -> None:
    """Put the result of `run` into `status`; that no run is at work any more is said there as well."""
    status.run = None
    if run.notify_only and status.last_run is not None:
        # It looked at no file: what is known of the last run that did stays.
        due = now + timedelta(seconds=NOTIFY_RETRY_S) if result.result == "Failed" else result.notify_due
        told = status.last_run.notified + result.notified
        status.last_run = status.last_run.model_copy(update={"notify_due": due, "notified": told})
        return
    status.history = _history(status)
    status.last_run = last = _last_run(run, result, now)
    status.blocked = _blocked(status, last, whole=is_whole(run))
    status.samples = [
        Sample(
            reason=each.reason or "Issue",
            path=truncate(each.path, SAMPLE_BYTES),
            message=truncate(each.message, SAMPLE_BYTES),
        )
        for each in result.samples[:MAX_SAMPLES]
    ] or None
    if result.result == "Failed":
        status.consecutive_failures += 1
    elif result.result != "Cancelled":
        status.consecutive_failures = 0
        status.last_success_time = now if result.result in ("Succeeded", "Degraded") else status.last_success_time
        inventory = result.inventory
        status.inventory = Inventory(strm=inventory.strm, sidecars=inventory.sidecars, collisions=inventory.collisions)
    fit(status)


def fit(status: StrmSyncJobStatus) -> None:
    """Keep the whole status below its limit: samples give way first, then the oldest runs."""
    while _size(status) > STATUS_BYTES and status.samples:
        status.samples = status.samples[:-1] or None
    while _size(status) > STATUS_BYTES and status.history:
        status.history = status.history[:-1] or None


def _blocked(status: StrmSyncJobStatus, last: LastRun, *, whole: bool) -> Asked | None:
    """What still waits for an approval after this run. One that looked at a part has not judged the rest."""
    if last.result == "Blocked" and not last.dry_run:
        return Asked(
            run=last.id,
            reason=last.reason or "Blocked",
            message=last.message,
            candidates_digest=last.candidates_digest,
        )
    is_answer = whole and last.result in ("Succeeded", "Degraded")
    return None if is_answer else status.blocked


def _history(status: StrmSyncJobStatus) -> list[RunSummary] | None:
    """With what was the last run until now, unless it only followed a change, or tried it again, and found nothing."""
    last, history = status.last_run, status.history or []
    if last is None or _is_uneventful(last):
        return history or None
    summary = RunSummary.model_validate(last.model_dump(include=set(RunSummary.model_fields)))
    return [summary, *history][:MAX_HISTORY]


def _is_uneventful(run: RunSummary) -> bool:
    touched = run.created + run.updated + run.failed + run.pruned + run.prune_candidates
    return run.trigger == "watch" and run.result in ("Succeeded", "Degraded") and not touched


def _last_run(run: RunStatus, result: RunResult, now: datetime) -> LastRun:
    return LastRun(
        id=run.id,
        trigger=run.trigger,
        result=result.result,
        reason=result.reason or None,
        dry_run=run.dry_run,
        purge=run.purge,
        ended_at=now,
        duration=format_duration(result.duration or (now - run.started_at).total_seconds()),
        created=result.created,
        updated=result.updated,
        unchanged=result.unchanged,
        skipped=result.skipped,
        failed=result.failed,
        pruned=result.pruned,
        prune_candidates=result.prune_candidates,
        candidates_digest=result.candidates_digest or None,
        remote_requests=result.remote_requests,
        incomplete_dirs=result.incomplete_dirs,
        scope=run.scope,
        approved_run=run.approved_run,
        approved_digest=run.approved_digest,
        approved_rewrite=run.approved_rewrite,
        message=truncate(result.message, TEXT_BYTES) or None,
        remedy=truncate(result.remedy, TEXT_BYTES) or None,
        prune_blocked=truncate(result.prune_blocked, TEXT_BYTES) or None,
        pending_confirmation=result.pending_confirmation,
        unlisted_dirs=result.unlisted_dirs,
        notified=result.notified,
        notify_due=result.notify_due,
    )


def _size(status: StrmSyncJobStatus) -> int:
    return len(json.dumps(to_body(status), ensure_ascii=False, separators=(",", ":")).encode())
