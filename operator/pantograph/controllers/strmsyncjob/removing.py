"""The job is deleted: its run ends first; its files stay, unless it was declared that they go."""

from __future__ import annotations

import logging
from typing import Final

from pantograph.api.meta import FORCE_RELEASE
from pantograph.controllers.strmsyncjob.beginning import announce_run, start_run
from pantograph.controllers.strmsyncjob.overlaps import refuse_overlap
from pantograph.controllers.strmsyncjob.running import ask_to_stop, keep_stopping
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.verdicts import NEEDS_A_PERSON
from pantograph.controllers.strmsyncjob.wishes import Wish
from pantograph.engine.errors import Terminal, Transient, Waiting
from pantograph.engine.kube import Forbidden
from pantograph.strm.subtrees import Subtrees

logger = logging.getLogger(__name__)

STOPPING_S: Final = 2.0
FILES_KEPT: Final = "FilesKept"
PURGE_FAILED: Final = "PurgeFailed"


async def end_run(scope: JobScope) -> None:
    """After this no run is at work; one that purges is left to end."""
    scope.media.watches.drop(scope.key)
    scope.media.queue.withdraw(scope.key)
    if scope.going_on is None:
        return
    if scope.status.run is None or not scope.status.run.purge:
        ask_to_stop(scope, "Deleting")
        await keep_stopping(scope)
        raise Waiting("Stopping", "the run at work is being stopped", STOPPING_S)
    raise Waiting("Purging", "the files that the job made are being removed", STOPPING_S)


async def ensure_purged(scope: JobScope) -> None:
    """After this none of the files that the job made and nobody changed is left, if that was declared and can be."""
    never_ran = scope.status.applied_digest is None and scope.status.last_run is None
    if scope.object.spec.deletion_policy == "Retain" or never_ran:
        return
    last = scope.status.last_run
    if last is not None and last.purge and last.result in ("Succeeded", "Degraded"):
        return
    if (foreign := _foreign_place(scope)) is not None:
        await _say_kept(scope, foreign.message)
        return
    if last is not None and scope.ended is not None and scope.ended.purge:
        kind = Terminal if last.reason in NEEDS_A_PERSON else Transient
        message = last.message or "the run that removes the files has failed"
        raise kind(last.reason or PURGE_FAILED, message, remedy=_release(scope))
    await announce_run(scope, Wish(trigger="manual", causes=frozenset()), purge=True)
    try:
        await start_run(scope, Subtrees())
    except Terminal as refused:
        remedy = "; or ".join(each for each in (refused.remedy, _release(scope)) if each)
        raise Terminal(refused.reason, refused.message, remedy=remedy) from refused
    except Forbidden as refused:
        if not _is_for_the_namespace(scope, refused):
            raise
        await _say_kept(scope, _going_with(scope))


def _foreign_place(scope: JobScope) -> Terminal | None:
    """Why nothing may be removed at the target: an older job has something of it, and perhaps files in it."""
    try:
        refuse_overlap(scope.object, scope.server, scope.services.cache, scope.media.overlaps)
    except Terminal as refused:
        return refused
    return None


def _is_for_the_namespace(scope: JobScope, refused: Forbidden) -> bool:
    """Whether no Pod can begin because the namespace is being deleted.

    The API server's words (Kubernetes, `plugin/pkg/admission/namespace/lifecycle/admission.go`): its `reason` is that
    of every refusal.
    """
    namespace = scope.object.metadata.namespace
    return f"unable to create new content in namespace {namespace} because it is being terminated" in str(refused)


def _going_with(scope: JobScope) -> str:
    claim, namespace = scope.object.spec.target.persistent_volume_claim, scope.object.metadata.namespace
    assert claim is not None, "a root needs nothing made in the namespace"
    return (
        f"namespace {namespace} is being deleted, so no Pod can remove them; PersistentVolumeClaim {claim.claim_name}"
        " goes with it, and its volume's reclaim policy says what becomes of them"
    )


async def _say_kept(scope: JobScope, why: str) -> None:
    logger.warning("nothing is removed: %s", why)
    await scope.services.events.record(
        scope.object.info.resource,
        scope.object.metadata,
        type="Warning",
        reason=FILES_KEPT,
        message=f"the files that it made stay, although deletionPolicy is Delete: {why}",
    )


def _release(scope: JobScope) -> str:
    """The command that lets a job go whose files cannot be removed."""
    meta = scope.object.metadata
    command = f"kubectl annotate strmsyncjob {meta.name} -n {meta.namespace} {FORCE_RELEASE}=true"
    return f"let it go and keep its files: {command}"
