"""Long work outside, begun exactly once: intent, call, handle, poll, settle (see `api/operation.py`).

One implementation for all kinds. What a kind adds is a `Follower`: how its work is found again when the answer to the
call was lost, and how it is asked how far it has come.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

from pantograph.api import operation as records
from pantograph.api.operation import Operation, OperationPhase
from pantograph.engine import logs
from pantograph.engine.errors import Waiting
from pantograph.engine.kube import Invalid, KubeError, NotFound, OutcomeUnknown, Unavailable
from pantograph.engine.scope import Scope
from pantograph.providers import errors as provider

logger = logging.getLogger(__name__)

LOST_ANSWER_S: Final = 40.0
"""How long work whose answer was lost may take to show itself: a Proxmox proxy gives up after 30 s, and the work may
begin even then."""
POLL_MIN_S: Final = 1.0
POLL_MAX_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Report:
    """How far a piece of work has come."""

    running: bool
    error: Exception | None = None
    """Of work that ended badly, or that is tried again meanwhile."""
    percent: int | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None


class Follower(Protocol):
    """How a kind's work is found and followed outside."""

    async def find(self, operation: Operation) -> str | None:
        """The handle of work that was asked for, but whose answer was lost; None: not to be found now."""
        ...

    async def follow(self, operation: Operation) -> Report | None:
        """How far the work with `operation.handle` is; None: the outside does not know it any more."""
        ...


def underway(type: str) -> str:
    """The reason while such work goes on: `Importing` of `Import`."""
    return "Running" if type == "Run" else f"{type.removesuffix('e')}ing"


def described(operation: Operation) -> str:
    """The work in one stable line, for messages: `importing on node pve1, VMID 105`."""
    text = underway(operation.type).lower()
    if operation.node:
        text = f"{text} on node {operation.node}"
    return f"{text}, VMID {operation.vmid}" if operation.vmid else text


def _going_on(operation: Operation, after: float, *, fault: Exception | None = None) -> Waiting:
    message = described(operation)
    if fault is not None:
        message = f"{message}, and trying again: {fault}"
    return Waiting(underway(operation.type), message, after)


async def begin(scope: Scope[Any, Any], operation: Operation, call: Callable[[], Awaitable[str]]) -> NoReturn:
    """Announce the work and ask for it; always ends the reconcile by raising."""
    await announce(scope, operation)
    await ask(scope, call)


async def announce(scope: Scope[Any, Any], operation: Operation) -> None:
    """Store the intent, with the resourceVersion: a second actor gets a Conflict, a crash leaves a trace."""
    before = scope.status.operation
    scope.status.operation = operation
    try:
        await scope.commit(_going_on(operation, POLL_MIN_S))
    except KubeError:
        # Refused, so nothing will be asked for: the report of this reconcile must not store the intent after all.
        scope.status.operation = before
        raise


async def ask(scope: Scope[Any, Any], call: Callable[[], Awaitable[str]]) -> NoReturn:
    """Make the call for the announced operation and store its handle; always ends the reconcile by raising.

    An answer that was lost leaves the intent, which the next reconcile settles. A refusal means that nothing was begun:
    the record is taken back and the error goes on.
    """
    operation: Operation = scope.status.operation
    with logs.about(operation=operation.token):
        try:
            handle = await call()
        except (provider.OutcomeUnknown, OutcomeUnknown) as lost:
            logger.warning("%s: the answer was lost: %s", described(operation), lost)
            raise _going_on(operation, POLL_MIN_S) from lost
        except Exception:
            scope.status.operation = None
            raise
        logger.info("%s: begun as %s", described(operation), handle)
        await _store_handle(scope, operation, handle)
        raise _going_on(operation, POLL_MIN_S)


async def settle(scope: Scope[Any, Any], follower: Follower) -> Operation | None:
    """After this no work is under way; returns the record of work that has just ended well, or came to nothing.

    The record is dropped in memory only: it goes in the same patch that reports the effect. Whether there is an effect
    is for `observe` to see. Raises Waiting while work goes on, and the error of work that failed.
    """
    operation: Operation | None = scope.status.operation
    if operation is None:
        return None
    with logs.about(operation=operation.token):
        return await _settle(scope, operation, follower)


async def _settle(scope: Scope[Any, Any], operation: Operation, follower: Follower) -> Operation:
    if operation.phase is OperationPhase.INTENDED:
        handle = await follower.find(operation)
        if handle is None:
            return _give_up_search(scope, operation)
        operation = await _store_handle(scope, operation, handle)
    report = await follower.follow(operation)
    if report is not None and report.running:
        scope.status.operation = records.progress(
            operation,
            now=scope.now,
            percent=report.percent,
            done_bytes=report.done_bytes,
            total_bytes=report.total_bytes,
        )
        raise _going_on(operation, _poll_after(scope, operation), fault=report.error)
    scope.status.operation = None
    if report is not None and report.error is not None:
        logger.warning("%s: failed", described(operation))
        raise report.error
    logger.info("%s: ended", described(operation))
    return operation


def _give_up_search(scope: Scope[Any, Any], operation: Operation) -> Operation:
    waited = (scope.now - operation.started_at).total_seconds()
    if waited < LOST_ANSWER_S:
        raise _going_on(operation, POLL_MIN_S * 2)
    scope.status.operation = None
    return operation


def _poll_after(scope: Scope[Any, Any], operation: Operation) -> float:
    """Short work is polled often, long work seldom."""
    elapsed = (scope.now - operation.started_at).total_seconds()
    return min(POLL_MAX_S, max(POLL_MIN_S, elapsed / 10))


async def _store_handle(scope: Scope[Any, Any], operation: Operation, handle: str) -> Operation:
    """Store the handle if the operation is still ours; otherwise the object is read again."""
    running = records.run(operation, handle)
    patch = [
        {"op": "test", "path": "/status/operation/token", "value": operation.token},
        {"op": "add", "path": "/status/operation/phase", "value": running.phase.value},
        {"op": "add", "path": "/status/operation/handle", "value": handle},
    ]
    try:
        await scope.patch_status(patch)
    except (Invalid, NotFound) as taken:
        raise Waiting("OperationTaken", "another actor changed the operation; reading it again", POLL_MIN_S) from taken
    except (OutcomeUnknown, Unavailable):
        # The work can be found again by its task, so a handle that is not stored costs a look-up, never a second start.
        raise _going_on(operation, POLL_MIN_S) from None
    scope.status.operation = running
    return running
