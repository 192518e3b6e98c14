"""The run at work: found again, followed, stopped, and its result recorded."""

from __future__ import annotations

import logging
from typing import Final

from pantograph.api.dataserver import DataServer
from pantograph.api.declaration import ObjectMeta
from pantograph.api.operation import Operation
from pantograph.api.run import RunResult
from pantograph.api.serverspec import DataServerSpec, LocalFolder
from pantograph.api.strmstatus import RunStatus, Stopping
from pantograph.controllers import operations
from pantograph.controllers.mediasources import Login
from pantograph.controllers.runs.port import RunOrder, RunState, Silence
from pantograph.controllers.strmsyncjob.approvals import drop_approvals, settle_approvals
from pantograph.controllers.strmsyncjob.recording import (
    PROGRESS_S,
    follow_progress,
    is_whole,
    lost,
    record,
    scope_of,
    wish_of,
)
from pantograph.controllers.strmsyncjob.requests import CANCEL, obeyed, pending, settled_by
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.turns import free_place
from pantograph.controllers.strmsyncjob.verdicts import observe_notices, observe_result, verdict
from pantograph.controllers.strmsyncjob.wishes import Cause
from pantograph.engine.errors import StepError, Waiting
from pantograph.providers.errors import Unauthorized
from pantograph.strm.subtrees import Subtrees

logger = logging.getLogger(__name__)

STOP_POLL_S: Final = 2.0
MAX_LIVES: Final = 5
"""A run whose process dies so often is not begun again at once, but counts as failed."""


class _NotBegun(Exception):
    """The announced run cannot be begun."""

    def __init__(self, why: StepError) -> None:
        super().__init__(str(why))
        self.why = why


class RunFollower:
    """How the run is found and followed; keeps what was seen."""

    def __init__(self, scope: JobScope) -> None:
        self._scope = scope
        self.state: RunState | None = None

    async def find(self, operation: Operation) -> str | None:
        """The handle of the run. One that was announced and never begun is begun now: that is idempotent."""
        runs, scope = self._scope.media.runs, self._scope
        found = await runs.find(scope.key, operation.token)
        if found is not None or scope.object.deleting:
            return found
        try:
            return await runs.start(order_of(scope, _run(scope)))
        except StepError as refused:
            raise _NotBegun(refused) from refused

    async def follow(self, operation: Operation) -> operations.Report | None:
        assert operation.handle is not None, "settled only with a handle"
        self.state = await self._scope.media.runs.look(self._scope.key, operation.token, operation.handle)
        if self.state is None:
            return None
        progress = self.state.progress
        return operations.Report(running=self.state.running, percent=progress.percent if progress else None)


async def settle_run(scope: JobScope) -> None:
    """After this either no run is at work, and what the last one did stands in the status, or `going_on` is set."""
    operation = scope.status.operation
    if operation is None:
        return
    follower = RunFollower(scope)
    try:
        ended = await operations.settle(scope, follower)
    except _NotBegun as refused:
        # Nothing was begun: `status.run` stays as the wish for it.
        scope.status.operation = None
        raise refused.why from None
    except Waiting as going_on:
        scope.going_on = going_on
        if going_on.after is not None:
            scope.look_again(going_on.after)  # however else this reconcile ends
        if follower.state is not None:
            _show_progress(scope, follower.state)
            _heed_silence(scope, follower.state.silence)
        return
    assert ended is not None, "there was an operation"
    await _settle_end(scope, ended, follower.state)


async def stop_run(scope: JobScope) -> None:
    """After this a run that people no longer want is told to stop, and what waits is dropped if none is at work."""
    if pending(scope, CANCEL) is not None:
        obeyed(scope, CANCEL)
        if scope.going_on is not None:
            ask_to_stop(scope, "Requested")
        else:
            await _drop_what_waits(scope)
    await keep_stopping(scope)


def ask_to_stop(scope: JobScope, why: Stopping) -> None:
    """Say in the status that the run is to stop; `keep_stopping` tells it."""
    run = _run(scope)
    if run.stopping is None:
        scope.status.run = run.model_copy(update={"stopping": why, "updated_at": scope.now})


async def keep_stopping(scope: JobScope) -> None:
    """After this a run whose end is wanted has been told, by this process too."""
    operation, run = scope.status.operation, scope.status.run
    if scope.going_on is None or operation is None or run is None or run.stopping is None:
        return
    if operation.handle is not None:
        await scope.media.runs.cancel(scope.key, operation.token, operation.handle)
    scope.look_again(STOP_POLL_S)


def order_of(scope: JobScope, run: RunStatus, *, parts: Subtrees | None = None) -> RunOrder:
    """The run of the status as it is ordered. `parts`: all parts of the source, if the status holds only some."""
    wanted, wish = parts or scope_of(run), wish_of(run)
    return RunOrder(
        id=run.id,
        job=scope.object,
        server=_server(scope, run),
        trigger=run.trigger,
        scope=() if wanted.is_whole else wanted.paths,
        shallow=wanted.shallow and not wanted.is_whole,
        dry_run=bool(run.dry_run),
        approve_prune=wish.approve_prune,
        approve_rewrite=wish.approve_rewrite,
        rebuild_manifest=wish.rebuild_manifest,
        purge=bool(run.purge),
        expect_records=bool(run.purge) and _owns_files(scope),
        notify_only=wish.notify_only,
    )


def _owns_files(scope: JobScope) -> bool:
    """By the last run that counted them."""
    owned = scope.status.inventory
    return owned is not None and owned.strm + owned.sidecars > 0


def _server(scope: JobScope, run: RunStatus) -> DataServer:
    """Raises Waiting if there is none. A purge asks no server anything: its target stands in for one."""
    key, target = scope.server_key, scope.object.spec.target
    if scope.server is not None and not run.purge:
        return scope.server
    if not run.purge:
        raise Waiting("ServerNotFound", f"DataServer {key.namespace}/{key.name} does not exist", 60)
    folder = LocalFolder(root=target.root, persistent_volume_claim=target.persistent_volume_claim)
    return DataServer(
        metadata=ObjectMeta(name=key.name, namespace=key.namespace),
        spec=DataServerSpec(driver="Local", local=folder),
    )


async def _settle_end(scope: JobScope, ended: Operation, state: RunState | None) -> None:
    """The run is over: with a result, without one, or its process is gone and another goes on where it stopped."""
    run = _run(scope)
    if state is None or (state.result is None and not state.fault):
        if run.stopping is None and (run.lives or 1) < MAX_LIVES:
            logger.info("run %s is gone, another one goes on where it stopped", ended.token)
            if ended.handle is not None:  # an attempt that never began is none of its lives
                scope.status.run = run.model_copy(update={"lives": (run.lives or 1) + 1})
            return  # `status.run` stays, and is the wish for it
        if run.stopping is not None:
            result = RunResult(result="Cancelled", reason="Cancelled")
        else:
            result = lost(f"the run's process went {MAX_LIVES} times without a result")
    else:
        result = state.result or lost(state.fault)
    await _record(scope, ended, run, result)


async def _record(scope: JobScope, ended: Operation, run: RunStatus, result: RunResult) -> None:
    whole = is_whole(run)
    record(scope.status, run, result, scope.now)
    await settle_approvals(scope, run, result)
    if whole:
        scope.status.judged_digest = scope.status.applied_digest
    if not run.purge:
        observe_notices(scope, result)
    if not run.purge and not run.notify_only:
        observe_result(scope, result, whole=whole)
    if result.reason == Unauthorized.reason:
        _refuse_login(scope, run, Unauthorized(result.message, remedy=result.remedy or None))
    if not run.notify_only:
        took_s = (scope.now - run.started_at).total_seconds()
        scope.media.watches.end_run(scope.key, result, took_s=took_s)
    scope.ended = run
    scope.conclude(verdict(scope))
    await scope.write_status()
    if ended.handle is not None:
        await scope.media.runs.forget(scope.key, ended.token, ended.handle)
    free_place(scope)
    if scope.object.spec.suspend:
        scope.services.queue.add(scope.key)  # only now it counts as suspended


def _refuse_login(scope: JobScope, run: RunStatus, error: Unauthorized) -> None:
    """Not the one that is known now: the run may have begun long before the Secret was changed."""
    if run.server_uid is None or run.server_generation is None or run.secret_version is None:
        return
    login = Login(run.server_uid, run.server_generation, run.secret_version)
    scope.media.sources.refuse_login(scope.server_key, login, error)


def _show_progress(scope: JobScope, state: RunState) -> None:
    run = _run(scope)
    seen = follow_progress(run, state, scope.now)
    if seen is run:
        return
    since_s = (scope.now - run.updated_at).total_seconds()
    if since_s < PROGRESS_S and (run.phase is not None or since_s < 1):
        # One write takes it all along later: also the share that `operations` has put into the record.
        scope.status.operation = scope.object.status.operation
        scope.look_again(PROGRESS_S - since_s)
        return
    scope.status.run = seen


def _heed_silence(scope: JobScope, silence: Silence | None) -> None:
    """It is not known whether such a run is at work. None is begun in its place: it may still write."""
    if silence is None or scope.going_on is None:
        return
    scope.silent_since = silence.since
    scope.going_on = Waiting("RunSilent", silence.fault, scope.going_on.after, remedy=silence.remedy)


def _run(scope: JobScope) -> RunStatus:
    """The status of the announced run; made up if somebody has emptied it: a run over the whole."""
    operation = scope.status.operation
    if scope.status.run is not None:
        return scope.status.run
    assert operation is not None, "asked only while one is announced"
    made_up = RunStatus(
        id=operation.token, trigger="manual", started_at=operation.started_at, updated_at=operation.started_at
    )
    scope.status.run = made_up
    return made_up


async def _drop_what_waits(scope: JobScope) -> None:
    scope.status.run = None
    obeyed(scope, *settled_by(Cause))
    await drop_approvals(scope)
    scope.media.watches.drop_hints(scope.key)
