"""What the job refers to: its server, the place that it writes to, and the changes that it wants to hear of."""

from __future__ import annotations

from pantograph.api.dataserver import DataServer
from pantograph.controllers import strmobjects
from pantograph.controllers.namespaces import refuse_foreign_namespace
from pantograph.controllers.strmsyncjob.overlaps import refuse_overlap
from pantograph.controllers.strmsyncjob.scope import JobScope
from pantograph.engine.errors import Terminal, Waiting

RATE_LIMITED = "RateLimited"
WATCH_CONNECTED = "WatchConnected"


async def find_server(scope: JobScope) -> None:
    """After this the server is known, if it exists."""
    scope.server = strmobjects.read(scope.services.cache, scope.server_key, DataServer)


async def require_server(scope: JobScope) -> None:
    """After this the server exists and this job may use it; `RateLimited` says whether it wants to be left alone."""
    server, key = scope.server, scope.server_key
    name = f"DataServer {key.namespace}/{key.name}"
    if server is None:
        raise Waiting("ServerNotFound", f"{name} does not exist, or its spec cannot be read", 600)
    namespace = scope.object.metadata.namespace
    refuse_foreign_namespace(server, namespace)
    if not scope.in_operator and key.namespace != namespace:
        raise Terminal(
            "ServerElsewhere",
            f"{name} is in another namespace; a run on a PersistentVolumeClaim needs it, and its Secret, in its own",
            remedy=f"make the DataServer and its Secret in namespace {namespace}",
        )
    until = server.status.cooldown_until
    if until is not None and until > scope.now:
        message = f"{name} is left alone until its status.cooldownUntil"
        scope.set_condition(RATE_LIMITED, True, reason="CoolingDown", message=message)
        scope.look_again((until - scope.now).total_seconds() + 0.5)
    else:
        scope.drop_condition(RATE_LIMITED)


async def require_place(scope: JobScope) -> None:
    """After this the target may be written by this job: its root is open to the namespace, and it is nobody else's."""
    meta, target = scope.object.metadata, scope.object.spec.target
    if target.root is not None:
        scope.media.roots.open(target.root.name, meta.namespace, user=f"StrmSyncJob {meta.namespace}/{meta.name}")
    refuse_overlap(scope.object, scope.server, scope.services.cache, scope.media.overlaps)


async def wake_refused(scope: JobScope) -> None:
    """After this jobs that were refused because of this one are looked at again, if its spec is new."""
    if scope.status.observed_generation != scope.generation:
        for key in scope.media.overlaps.take(scope.key):
            scope.services.queue.add(key)


async def follow_changes(scope: JobScope) -> None:
    """After this the job hears of changes on its server, if it wants to and can; `WatchConnected` says so."""
    watch = scope.object.spec.watch
    if watch is None or not watch.enabled or scope.object.spec.suspend:
        scope.media.watches.drop(scope.key)
        scope.drop_condition(WATCH_CONNECTED)
        return
    source = scope.media.sources.opened(scope.server_key)
    is_folder = scope.server is not None and scope.server.spec.local is not None
    fault = _watch_fault(scope, is_folder=is_folder)
    if fault is not None:
        scope.media.watches.drop(scope.key)
        scope.set_condition(WATCH_CONNECTED, False, reason="WatchUnsupported", message=fault)
        return
    if source is None:
        scope.media.watches.drop(scope.key)
        message = "the operator has no connection to the server yet"
        scope.set_condition(WATCH_CONNECTED, False, reason="ServerNotReady", message=message)
        return
    root = scope.object.spec.source.path.rstrip("/") or "/"
    scope.followed = scope.media.watches.follow(
        scope.key, server=scope.server_key, source=source, root=root, everything=not is_folder
    )
    if scope.followed.connected:
        scope.set_condition(WATCH_CONNECTED, True, reason="Connected", message="changes on the server are followed")
    else:
        scope.set_condition(WATCH_CONNECTED, False, reason="Disconnected", message=scope.followed.why)
        scope.look_again(60)


def _watch_fault(scope: JobScope, *, is_folder: bool) -> str | None:
    """Why changes cannot be followed at all."""
    if is_folder and not scope.in_operator:
        return "a folder is watched only for targets on a root; use schedule.cron"
    source = scope.media.sources.opened(scope.server_key)
    if source is not None and not source.capabilities.watch:
        return "this driver tells of no changes; use schedule.cron"
    return None
