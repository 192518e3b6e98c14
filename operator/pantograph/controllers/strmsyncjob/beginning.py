"""A run begins: on a server that can be used, when its turn has come, and once."""

from __future__ import annotations

from typing import NoReturn

from pantograph.api import conditions
from pantograph.api import operation as records
from pantograph.api.conditions import Condition, ConditionStatus
from pantograph.api.dataserver import DataServer
from pantograph.api.operation import Operation
from pantograph.api.strmstatus import RunStatus
from pantograph.controllers import operations, strmobjects
from pantograph.controllers.mediasources import Login
from pantograph.controllers.strmsyncjob.planning import pass_tick
from pantograph.controllers.strmsyncjob.recording import fit, is_whole, request_of
from pantograph.controllers.strmsyncjob.requests import obeyed, settled_by
from pantograph.controllers.strmsyncjob.running import order_of
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.turns import await_turn, wake_next
from pantograph.controllers.strmsyncjob.verdicts import show_last
from pantograph.controllers.strmsyncjob.wishes import Cause, Wish
from pantograph.engine.errors import Waiting
from pantograph.strm.subtrees import Subtrees


async def begin_run(scope: JobScope) -> None:
    """After this no run is due; one that was has begun, and the reconcile ends."""
    wish, server = scope.wish, scope.server
    if scope.going_on is not None or wish is None:
        return
    assert server is not None, "require_server has made sure"
    require_usable(scope, server)
    show_last(scope)
    # Before it takes its place in the queue: whoever lacks a Secret must not stand at its head.
    login = await scope.media.sources.login_now(server, scope.kube)
    await_turn(scope, server, wish)
    parts = wish.scope
    with scope.media.claims.hold(scope.key, strmobjects.ALL_AT_WORK, strmobjects.at_work(scope.server_key)):
        await announce_run(scope, wish, login=login)
    await start_run(scope, parts)


async def announce_run(scope: JobScope, wish: Wish, *, login: Login | None = None, purge: bool = False) -> None:
    """After this the run is announced in the status, and with it everything that it settles.

    `login`: with what it logs in; None: with nothing. A Secret that changes before the run has read it makes this an
    older one than the run uses, which at worst costs one more login.
    """
    before = scope.status.model_copy()
    operation = _intention(scope)
    lives = before.run.lives if Cause.INTERRUPTED in wish.causes and before.run is not None else None
    request = request_of(wish, run=operation.token, dry_run=scope.object.spec.dry_run, purge=purge)
    run = RunStatus(
        **request.model_dump(),
        lives=lives,
        server_uid=login.server_uid if login else None,
        server_generation=login.generation if login else None,
        secret_version=login.secret_version if login else None,
        started_at=operation.started_at,
        updated_at=operation.started_at,
    )
    scope.status.run = run
    fit(scope.status)
    obeyed(scope, *settled_by(wish.causes))
    if is_whole(run):
        scope.status.applied_digest = scope.spec_digest
    if Cause.CRON in wish.causes:
        pass_tick(scope)
    if wish.notify_only and scope.status.last_run is not None:
        scope.status.last_run = scope.status.last_run.model_copy(update={"notify_due": None})
    try:
        await operations.announce(scope, operation)
    except BaseException:
        # Whatever this reconcile still reports, it must not say that something was obeyed.
        scope.status = before
        raise
    if scope.followed is not None and not wish.notify_only:
        scope.followed.hints.begin(wish.scope)


async def start_run(scope: JobScope, parts: Subtrees) -> NoReturn:
    """Have the announced run begun; ends the reconcile."""
    run = scope.status.run
    assert run is not None, "announce_run has made sure"
    scope.media.queue.withdraw(scope.key)
    wake_next(scope)
    scope.services.queue.add(scope.server_key)
    order = order_of(scope, run, parts=parts)
    await operations.ask(scope, lambda: scope.media.runs.start(order))


def require_usable(scope: JobScope, server: DataServer) -> None:
    """After this the server can be asked, as far as the operator knows. Raises Waiting: it looks again when it can."""
    name = f"DataServer {server.metadata.namespace}/{server.metadata.name}"
    status = server.status
    if server.spec.suspend:
        raise Waiting("ServerSuspended", f"{name} is suspended", 600)
    heard = scope.media.cooldowns.of(server.key)
    until = max((each for each in (status.cooldown_until, heard and heard.until) if each), default=scope.now)
    if until > scope.now:
        left_s = (until - scope.now).total_seconds()
        raise Waiting("CoolingDown", f"{name} is left alone until its status.cooldownUntil", left_s + 0.5)
    if status.observed_generation != server.metadata.generation:
        raise Waiting("ServerNotObserved", f"{name} was not looked at yet", 60)
    ready = conditions.find(status.conditions, conditions.READY)
    if ready is None or ready.status is not ConditionStatus.TRUE:
        why = _because(ready)
        raise Waiting("ServerNotReady", f"{name} cannot be used: {why}", 600)


def _intention(scope: JobScope) -> Operation:
    """With a token that no run of this job has had, however soon one follows another."""
    known = {scope.status.run.id if scope.status.run else "", scope.status.last_run.id if scope.status.last_run else ""}
    known |= {each.id for each in scope.status.history or ()}
    attempt = 1
    while True:
        operation = records.intend(
            "Run",
            uid=scope.object.metadata.uid,
            generation=scope.generation,
            now=scope.now,
            attempt=attempt,
        )
        if operation.token not in known:
            return operation
        attempt += 1


def _because(ready: Condition | None) -> str:
    return "nothing is known of it" if ready is None else f"{ready.reason}: {ready.message}"
