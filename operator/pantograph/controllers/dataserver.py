"""`DataServer`: keeps what is known of one source of media, and tells the jobs on it what they build upon."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, Final

from pantograph.api import conditions
from pantograph.api.dataserver import DataServer, DataServerStatus
from pantograph.api.meta import Key
from pantograph.controllers import faults, strmobjects
from pantograph.controllers.mediasources import MediaSources
from pantograph.controllers.runs.cooldowns import Cooldowns
from pantograph.engine.controller import Controller
from pantograph.engine.errors import StepError, Terminal, Waiting
from pantograph.engine.scope import Scope
from pantograph.engine.services import Services
from pantograph.providers import errors as provider
from pantograph.providers.media.declared import described
from pantograph.providers.media.local import Local
from pantograph.providers.media.port import Capabilities, MediaSource, ServerInfo

TICK_S: Final = 300.0
"""How often a server is asked who it is unless `interval` says: runs notice by themselves when it does not answer."""
REFUSED_TICK_S: Final = 60.0
MAX_NOTES: Final = 8
RATE_LIMITED: Final = "RateLimited"


@dataclass(kw_only=True)
class ServerScope(Scope[DataServer, DataServerStatus]):
    """The open source, and what it says of itself."""

    sources: MediaSources
    cooldowns: Cooldowns
    source: MediaSource | None = None
    """By `connect`; None: the operator cannot see it."""
    server_info: ServerInfo = field(init=False)
    """By `observe`, if there is a source."""


async def count_runs(scope: ServerScope) -> None:
    """After this the status says how many runs are at work on the server."""
    scope.status.active_runs = len(scope.services.cache.indexed(strmobjects.at_work(scope.key)))


async def respect_cooldown(scope: ServerScope) -> None:
    """After this the server may be asked: it does not want to be left alone."""
    until = scope.status.cooldown_until
    if until is not None and until > scope.now and scope.cooldowns.of(scope.key) is None:
        left_s = (until - scope.now).total_seconds()
        scope.cooldowns.cool(scope.key, left_s, "it wanted to be left alone before this process began")
    cooldown = scope.cooldowns.of(scope.key)
    if cooldown is None:
        scope.status.cooldown_until = None
        scope.drop_condition(RATE_LIMITED)
        return
    # Whole seconds, rounded up: what is stored must not end before what is meant.
    until = (cooldown.until + timedelta(seconds=0.999)).replace(microsecond=0)
    scope.status.cooldown_until = until
    scope.set_condition(RATE_LIMITED, True, reason="CoolingDown", message=f"the server is left alone: {cooldown.why}")
    message = f"{described(scope.object)} is left alone until status.cooldownUntil: {cooldown.why}"
    raise Waiting("CoolingDown", message, (until - scope.now).total_seconds() + 0.1)


async def connect(scope: ServerScope) -> None:
    """After this the source is open, with the credentials as they are now."""
    before = scope.sources.opened(scope.key)
    try:
        scope.source = await scope.sources.open(scope.object, scope.kube, afresh=scope.requested is not None)
    except provider.Unauthorized as refused:
        raise _refused(scope, refused) from refused
    if scope.source is not before:
        # Those who listen to the server's changes do so at the source that was replaced.
        scope.services.wake(scope.services.cache.referrers(scope.key, kind="StrmSyncJob"))


async def observe(scope: ServerScope) -> None:
    """After this the source has said who it is; `Reachable` says whether it answers."""
    if scope.source is None:
        scope.status.reachable = None
        scope.drop_condition("Reachable", "Authorized")
        return
    try:
        scope.server_info = await scope.source.test_connection()
    except provider.Unauthorized as refused:
        scope.sources.refuse(scope.key, refused, source=scope.source)
        raise _refused(scope, refused) from refused
    except provider.Busy:
        await respect_cooldown(scope)
        raise
    except provider.ProviderError as error:
        if isinstance(error, provider.BasePathChanged):
            scope.sources.forget(scope.key)  # the next look takes the server as it is then; records know their source
        if error.reason == "CertificateRefused":
            scope.sources.doubt(scope.key)
        scope.status.reachable = False
        scope.set_condition("Reachable", False, reason=error.reason, message=error.message)
        raise
    scope.status.reachable = True
    scope.set_condition("Reachable", True, reason="Answering", message=f"{described(scope.object)} answers")


async def describe(scope: ServerScope) -> None:
    """After this the status says what the source is and what can be had from it."""
    status = scope.status
    source = scope.source
    status.capabilities = _capabilities(Local.OF_ANY if source is None else source.capabilities)
    status.refused_secret_version = None
    if source is None:
        status.product = status.version = status.logged_in = status.notes = None
        return
    info = scope.server_info
    status.product = info.product[:64] or None
    status.version = info.version[:64] or None
    status.logged_in = info.logged_in
    status.notes = [note[:512] for note in dict.fromkeys(info.notes)][:MAX_NOTES] or None


async def require_login(scope: ServerScope) -> None:
    """After this the server can be listed, as far as the operator can tell."""
    if scope.source is None:
        scope.ready(reason="SeenByRunsOnly", message="the operator cannot mount the volume; runs on it can")
        return
    if not scope.server_info.logged_in:
        message = f"{described(scope.object)} answers and is not logged in to its own account"
        scope.set_condition("Authorized", False, reason="NotLoggedIn", message=message)
        raise Waiting("NotLoggedIn", message, REFUSED_TICK_S, remedy="log in on the server's own page")
    scope.set_condition(
        "Authorized", True, reason="LoggedIn", message=f"logged in as {scope.server_info.user or 'itself'}"
    )


async def plan_next_look(scope: ServerScope) -> None:
    """After this the next look is planned."""
    scope.look_again(scope.object.spec.interval_or(TICK_S))


class DataServerController(Controller[DataServer]):
    """Keeps what is known of one source of media."""

    model: ClassVar = DataServer
    steps: ClassVar = (count_runs, respect_cooldown, connect, observe, describe, require_login, plan_next_look)

    def __init__(self, services: Services, *, sources: MediaSources, cooldowns: Cooldowns) -> None:
        super().__init__(services)
        self.sources = sources
        self.cooldowns = cooldowns

    def open_scope(self, obj: DataServer) -> ServerScope:
        return ServerScope(object=obj, services=self.services, sources=self.sources, cooldowns=self.cooldowns)

    def index(self, obj: DataServer) -> Iterable[tuple[str, ...]]:
        return strmobjects.of_server(obj)

    def shown(self, obj: DataServer) -> Hashable:
        """What decides whether a run may begin and what it is told; not how many are at work."""
        status = obj.status
        ready = conditions.find(status.conditions, conditions.READY)
        return (
            obj.metadata.uid,
            obj.metadata.generation,
            obj.deleting,
            status.observed_generation,
            None if ready is None else (ready.status, ready.reason),
            status.cooldown_until,
            tuple(status.capabilities or ()),
        )

    def explain(self, error: Exception) -> StepError | None:
        return faults.step_error(error)

    def gone(self, key: Key) -> None:
        self.sources.forget(key)


def _refused(scope: ServerScope, refused: provider.Unauthorized) -> StepError:
    scope.status.logged_in = False
    scope.status.refused_secret_version = scope.sources.refused_version(scope.key)
    scope.set_condition("Authorized", False, reason=refused.reason, message=refused.message)
    scope.look_again(REFUSED_TICK_S)
    reference = scope.object.spec.credentials_ref
    if reference is None:
        remedy = "name a Secret with credentials in spec.credentialsRef: the server takes no guests"
    else:
        remedy = f"put valid credentials into Secret {reference.name}; they are read again within a minute"
    return Terminal(refused.reason, refused.message, remedy=remedy)


def _capabilities(has: Capabilities) -> list[str]:
    named = {
        "watch": has.watch,
        "http": has.http,
        "mount": has.mount,
        "pickcode": has.pickcode,
        "sign": has.sign,
        "completeListings": has.proves_complete_listing,
    }
    return [name for name, there in named.items() if there]
