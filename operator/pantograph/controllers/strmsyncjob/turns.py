"""Places for runs: how many a server and the operator have, how many are taken, and who gets the next one."""

from __future__ import annotations

from pantograph.api.dataserver import DataServer
from pantograph.api.meta import Key
from pantograph.api.serverspec import ServerLimits
from pantograph.controllers import strmobjects
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.controllers.strmsyncjob.wishes import Wish
from pantograph.engine.errors import Waiting


def await_turn(scope: JobScope, server: DataServer, wish: Wish) -> None:
    """After this there is a place on the server and in the operator, and it is this job's turn."""
    queue = scope.media.queue
    queue.offer(scope.key, server=server.key, priority=wish.priority)
    first = _first(scope)
    if first == scope.key:
        return
    if first is not None:
        scope.services.queue.add(first)
    raise Waiting("Queued", f"waits for its turn on DataServer {server.key.namespace}/{server.key.name}", 600)


def free_place(scope: JobScope) -> None:
    """A run has ended: look at who waits for its place, and at the server, which counts its runs."""
    scope.media.queue.freed(scope.server_key)
    scope.services.queue.add(scope.server_key)
    wake_next(scope)


def wake_next(scope: JobScope) -> None:
    """Look at the job whose turn it is now."""
    first = _first(scope)
    if first is not None:
        scope.services.queue.add(first)


def _first(scope: JobScope) -> Key | None:
    if _taken(scope, strmobjects.ALL_AT_WORK) >= scope.media.max_runs:
        return None
    return scope.media.queue.first(lambda server: _has_room(scope, server))


def _has_room(scope: JobScope, key: Key) -> bool:
    server = strmobjects.read(scope.services.cache, key, DataServer)
    limits = ServerLimits() if server is None or server.spec.limits is None else server.spec.limits
    return _taken(scope, strmobjects.at_work(key)) < limits.max_runs


def _taken(scope: JobScope, index: strmobjects.Index) -> int:
    return len(scope.services.cache.indexed(index) | scope.media.claims.of(index))
