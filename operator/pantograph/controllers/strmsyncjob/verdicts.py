"""What the last run means for the job: its conditions, and whether and when it is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from pantograph.api.conditions import ConditionStatus, name_some
from pantograph.api.run import RunResult
from pantograph.api.strmstatus import LastRun, StrmSyncJobStatus
from pantograph.controllers.strmsyncjob.approvals import approval_remedy
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.engine.errors import StepError, Terminal, Transient

FIRST_RETRY_S: Final = 30.0
LAST_RETRY_S: Final = 3600.0
JITTER: Final = 0.2
RUN_FAILED: Final = "RunFailed"
"""Where a run that failed gave no reason."""

NEEDS_A_PERSON: Final = frozenset(
    {
        "InvalidSpec",
        "OwnedByAnother",
        "SourceChanged",
        "TargetOverlaps",
        "ManifestUnreadable",
        "MissingPrivilege",
        "Rejected",
    }
)
"""Reasons of failed runs that another run does not mend. All others pass by themselves, or may."""
SOURCE_FAULTS: Final = frozenset(
    {
        "Unreachable",
        "UpstreamFailed",
        "CircuitOpen",
        "SourceUnusable",
        "MountMissing",
        "MountHung",
        "ServerNotReady",
        "CredentialsRefused",
        "LoginLocked",
        "MissingPrivilege",
        "ProtocolError",
        "WrongDirectory",
        "NotFound",
    }
)
"""Reasons that say that the source could not be read."""


def observe_result(scope: JobScope, result: RunResult, *, whole: bool) -> None:
    """Put into the conditions what the run saw. One that failed or looked at a part says less than a whole one."""
    if result.result == "Failed" and result.reason in SOURCE_FAULTS:
        scope.set_condition("SourceReachable", False, reason=result.reason, message=result.message)
    elif result.result in ("Succeeded", "Degraded", "Blocked"):
        scope.set_condition("SourceReachable", True, reason="Listed", message="the last run listed the source")
    if result.result in ("Failed", "Cancelled"):
        return
    if whole or result.prune_blocked:
        _set_or_drop(scope, "PruneBlocked", result.prune_blocked, reason="LimitsExceeded")
    if not whole:
        return
    missing = result.incomplete_dirs
    message = f"{missing} directories could not be listed as a whole; nothing is removed below them"
    scope.set_condition(
        "ListingComplete",
        not missing,
        reason="Incomplete" if missing else "Complete",
        message=message if missing else "the last run listed every directory as a whole",
    )
    collisions = result.inventory.collisions
    text = f"{collisions} files have no .strm of their own: another file has the same name" if collisions else ""
    _set_or_drop(scope, "CollisionsFound", text, reason="SameName")


def observe_notices(scope: JobScope, result: RunResult) -> None:
    """Put into the conditions which media servers could not be told what changed; they are told later."""
    untold = name_some(f"{each.server} ({each.message})" for each in result.notify_failed)
    _set_or_drop(scope, "NotifyFailed", untold if result.notify_failed else "", reason="NotTold")


def verdict(scope: JobScope) -> StepError | None:
    """What the last run means: raises nothing, sets Ready, and returns the error with which the reconcile ends."""
    last = scope.status.last_run
    if last is None or scope.status.judged_digest != scope.spec_digest:
        scope.ready(
            status=ConditionStatus.UNKNOWN, reason="NotSynced", message="no run over the whole source has ended yet"
        )
        return None
    if last.result == "Failed":
        return _failure(scope, last)
    if (asked := scope.status.blocked) is not None:  # by this run, or by one that no run over the whole has followed
        return Terminal(asked.reason, asked.message or "", remedy=approval_remedy(scope, asked))
    match last.result:
        case "Blocked":  # a dry run: nothing that it lists can be approved
            remedy = "set spec.dryRun to false; the run then asks for an approval"
            return Terminal(last.reason or "Blocked", last.message or "", remedy=remedy)
        case "Cancelled":
            scope.ready(status=False, reason="Cancelled", message="the last run was stopped before it was done")
        case "Degraded":
            scope.ready(reason=last.reason or "Degraded", message=last.message or "")
        case _ if last.dry_run:
            scope.ready(reason="DryRun", message=_would(last))
        case _ if left := scope.media.watches.left(scope.key):
            scope.ready(reason="Incomplete", message=f"not mirrored as a whole yet, and tried again: {name_some(left)}")
        case _:
            scope.ready(message=_summary(scope))
    return None


def show_last(scope: JobScope) -> None:
    """While a run is at work or waits for its turn, Ready goes on to say what the last one means.

    Unless nothing is heard of the one at work: then that is what there is to say.
    """
    end = verdict(scope) if scope.silent_since is None else scope.going_on
    if end is not None:
        scope.ready(status=False, reason=end.reason, message=end.text)


def retry_at(status: StrmSyncJobStatus, uid: str, *, now: datetime) -> datetime | None:
    """When a run that failed is tried again; None: it did not fail, or trying again mends nothing."""
    last = status.last_run
    if last is None or last.result != "Failed" or last.reason in NEEDS_A_PERSON:
        return None
    if last.ended_at > now:  # the clock was ahead then
        return now
    delay_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(max(status.consecutive_failures - 1, 0), 16))
    # Not random: every process comes to the same time, and many jobs on one server come to different ones.
    share = int.from_bytes(sha256(f"{uid}{last.id}".encode()).digest()[:4], "big") / 2**32
    return last.ended_at + timedelta(seconds=delay_s * (1 + JITTER * share))


def _failure(scope: JobScope, last: LastRun) -> StepError:
    reason, message = last.reason or RUN_FAILED, last.message or "the run failed and did not say why"
    again = retry_at(scope.status, scope.object.metadata.uid, now=scope.now)
    if again is None:
        return Terminal(reason, message, remedy=last.remedy)
    left_s = (again - scope.now).total_seconds()
    after = left_s if left_s > 0 else None  # it is due: whatever keeps it from beginning, nobody asks in a loop
    return Transient(reason, message, after, remedy=last.remedy)


def _would(last: LastRun) -> str:
    """What a run with `dryRun` has counted. Not every candidate would go: see `prune.mode`, `confirmScans`."""
    stay = last.prune_candidates - last.pruned
    would = f"{last.created} would be made, {last.updated} written anew, {last.pruned} removed"
    rest = f"; {stay} more have no source any more and would stay for now" if stay > 0 else ""
    return f"nothing was written: {would}{rest}"


def _summary(scope: JobScope) -> str:
    inventory = scope.status.inventory
    return "" if inventory is None else f"{inventory.strm} .strm files, {inventory.sidecars} sidecars"


def _set_or_drop(scope: JobScope, type: str, message: str, *, reason: str) -> None:
    if message:
        scope.set_condition(type, True, reason=reason, message=message)
    else:
        scope.drop_condition(type)
