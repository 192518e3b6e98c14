"""The skeleton of every controller: what is the same for all kinds is done here, once.

    read from the cache → deletion (`undo`) → finalizer → suspend → `steps` → conditions → at most one status write
    → Events on transitions → when to look again

A kind is a subclass: its model, its ordered steps, and how its scope is opened. A step is an async function of the
scope whose docstring says what is true after it; it returns, or raises Waiting, Transient or Terminal. Being called
again and again on the same object is all that ever happens to it, so a step may be cut short anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from pantograph.api import conditions
from pantograph.api.base import CommonStatus, Resource
from pantograph.api.conditions import Condition, ConditionStatus
from pantograph.api.declaration import InvalidObject, ObjectMeta
from pantograph.api.meta import FINALIZER, FORCE_RELEASE, Body, Key, ResourceType, to_body

from . import finalizer, logs
from .cache import Index, Watched
from .errors import StepError, Terminal, Transient, Waiting
from .kube import Conflict, KubeError, NotFound, OutcomeUnknown
from .scope import Scope, changed
from .services import Services

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Resource[Any, Any])
Step = Callable[[Any], Awaitable[None]]

INTERVAL_S = 600.0
"""How often an object is looked at again although nothing changed, if its spec does not say."""
JITTER = 0.1
QUIET_FAILURES = 3
"""So often a conflict or a lost answer in a row is nobody's business; then it is said in the status."""


class Controller(Generic[R]):
    """Reconciles one kind. Everything public may be overridden; most kinds set the three below and `open_scope`."""

    model: ClassVar[type[Resource[Any, Any]]]
    steps: ClassVar[Sequence[Step]] = ()
    undo: ClassVar[Sequence[Step]] = ()
    """What must be true before the object may go. They also run while it is suspended, and after any crash."""

    also_watches: ClassVar[Sequence[Watched]] = ()
    """Other kinds whose objects belong to this one (owned ConfigMaps, Jobs), narrowed by labels."""
    deadline_s: ClassVar[float] = 300.0
    """A reconcile that takes longer hangs: it is cut and counts as a defect. Long work is an operation."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._running: dict[Key, str] = {}

    # What a kind says

    def open_scope(self, obj: R) -> Scope[R, Any]:
        """The kind's scope around `obj` (shared with other readers: what changes is the scope's status)."""
        return Scope(object=obj, services=self.services)

    def needs_finalizer(self, obj: R) -> bool:
        """Whether something outside would be left behind; asked before the first step."""
        return bool(self.undo)

    def recipe(self, obj: R) -> Sequence[Step]:
        """The steps for this object as it is now."""
        return self.undo if obj.deleting else self.steps

    def index(self, obj: R) -> Iterable[Index]:
        """Under what the object is found in the cache besides its name."""
        return ()

    def shown(self, obj: R) -> Hashable:
        """What the objects that refer to this one build upon: only if it changes do they look again."""
        return obj.metadata.resource_version

    def is_suspended(self, obj: R) -> bool:
        """Whether nothing may be begun for the object now."""
        return bool(obj.spec.suspend)

    def remains(self, obj: R) -> str:
        """What a forced release leaves outside, for its Event: name the things and the commands that remove them."""
        return "what it made outside, if anything, was left there"

    async def stop_work(self, key: Key) -> None:
        """The object is about to be released by force: end what is at work for it, of which nobody will hear again.

        Its spec may be unreadable. Whatever this raises is logged, and the object goes.
        """

    def explain(self, error: Exception) -> StepError | None:
        """The meaning of an outside error; None if it was not foreseen."""
        return None

    async def heed_end(self, scope: Scope[R, Any], end: StepError | None) -> None:
        """What else follows from how the steps ended, whichever of them that was; may change the scope's status."""

    def gone(self, key: Key) -> None:
        """The object is gone: drop what was kept in memory for it. Asked at least once, perhaps of a key never seen."""

    # What the manager asks

    @property
    def resource(self) -> ResourceType:
        return self.model.info.resource

    @property
    def watches(self) -> tuple[Watched, ...]:
        refers = self.model.refers_to is not Resource.refers_to
        is_indexed = type(self).index is not Controller.index
        is_partly_shown = type(self).shown is not Controller.shown
        own = Watched(
            self.resource,
            references=self._references if refers else None,
            indexes=self._indexes if is_indexed else None,
            shown=self._shown if is_partly_shown else None,
        )
        return (own, *self.also_watches)

    async def reconcile(self, key: Key) -> None:
        """Look at `key` once, whatever became of it, and put it back on the queue. Raises nothing but cancellation."""
        body = self.services.cache.get(key)
        if body is None:
            self._gone(key)
            return
        with logs.about(kind=key.kind, namespace=key.namespace, name=key.name, uid=body["metadata"]["uid"]):
            try:
                result = await self._reconcile(key, body)
            except (Conflict, OutcomeUnknown) as stale:
                result = type(stale).__name__
                logger.log(logging.DEBUG if result == "Conflict" else logging.WARNING, "read again: %s", stale)
                await self._read_again(key, body)
            except KubeError as error:
                logger.warning("the API server refused or could not be reached, tried again: %s", error)
                result = "Unavailable"
                self.services.queue.add_with_backoff(key)
            except Exception as error:  # noqa: BLE001  # the skeleton's own defect must not end the worker
                self._unforeseen(key, error)
                result = "Transient"
                self.services.queue.add_with_backoff(key)
        self.services.metrics.reconciles.labels(key.kind, result).inc()

    # One reconcile

    async def _reconcile(self, key: Key, body: Body) -> str:
        try:
            obj = self._parse(body)
        except InvalidObject as error:
            return await self._invalid(key, body, error)
        meta = obj.metadata
        if obj.deleting and FINALIZER not in meta.finalizers:
            self._gone(key)
            return "Gone"
        if obj.deleting and _forced(meta):
            return await self._force_release(key, body, meta, self.remains(obj))
        if not obj.deleting and FINALIZER not in meta.finalizers and self.needs_finalizer(obj):
            body = await finalizer.add(self.services.kube, self.resource, body)
            self.services.learn(body)
            obj = self._parse(body)

        if self.is_suspended(obj) and not obj.deleting:
            return await self._suspended(key, obj, body)
        return await self._run(key, obj, body)

    async def _run(self, key: Key, obj: R, body: Body) -> str:
        """Steps or undo, then everything that follows from how they ended."""
        before = list(obj.status.conditions)
        scope: Scope[R, Any] | None = None
        end: StepError | None = None
        try:
            scope = self.open_scope(obj)
            scope.accept(body)
            scope.drop_condition(conditions.SUSPENDED)
            async with asyncio.timeout(self.deadline_s):
                for step in self.recipe(obj):
                    await step(scope)
        except (Conflict, OutcomeUnknown) as error:
            if self.services.queue.failures(key) < QUIET_FAILURES:
                raise
            end = self._meaning(key, error)
        except Exception as error:  # noqa: BLE001  # what a step raises has a meaning, or is a visible defect
            end = self._meaning(key, error)
        if scope is None:
            scope = Scope(object=obj, services=self.services)
            scope.accept(body)

        if obj.deleting and end is None:
            return await self._let_go(key, scope.body)
        if not obj.deleting:
            await self.heed_end(scope, end)
        scope.conclude(end)
        await self._report(key, scope, before, end)
        self._requeue(key, scope, end)
        return type(end).__name__ if end else "Succeeded"

    async def _report(self, key: Key, scope: Scope[R, Any], before: Sequence[Condition], end: StepError | None) -> None:
        try:
            await scope.write_status(last=True)
        except NotFound:
            self._lost(key, scope.object.metadata.uid)
            return
        self._count_operation(key, scope.status)
        for type, reason, message in _transitions(before, scope.status.conditions, end):
            await self.services.events.record(
                self.resource, scope.object.metadata, type=type, reason=reason, message=message
            )

    def _requeue(self, key: Key, scope: Scope[R, Any], end: StepError | None) -> None:
        queue = self.services.queue
        if scope.again_in is not None:
            queue.add_after(key, scope.again_in)
        match end:
            case Waiting(after=None) | Transient(after=None):
                queue.add_with_backoff(key)
                return
            case Waiting(after=float() | int() as after) | Transient(after=float() | int() as after):
                queue.add_after(key, after)
        queue.forgive(key)
        queue.add_after(key, self._interval(scope.object))

    # Suspension, the finalizer, the end

    async def _suspended(self, key: Key, obj: R, body: Body) -> str:
        """Nothing is begun and nothing is judged: the other conditions and observedGeneration stay as they were."""
        scope: Scope[R, Any] = Scope(object=obj, services=self.services)
        scope.accept(body)
        scope.set_condition(
            conditions.SUSPENDED, True, reason="Suspended", message="spec.suspend is true; set it to false to go on"
        )
        await self._report(key, scope, obj.status.conditions, None)
        self.services.queue.forgive(key)
        return "Suspended"

    async def _force_release(self, key: Key, body: Body, meta: ObjectMeta, remains: str) -> str:
        try:
            async with asyncio.timeout(self.deadline_s):
                await self.stop_work(key)
        except Exception as error:  # noqa: BLE001  # a way out that needs something to work is none
            fault = str(error) or type(error).__name__
            logger.warning("what is at work for it could not be stopped, it is released all the same: %s", fault)
        await self.services.events.record(
            self.resource, meta, type="Warning", reason="ForceReleased", message=f"released by annotation: {remains}"
        )
        return await self._let_go(key, body)

    async def _let_go(self, key: Key, body: Body) -> str:
        try:
            self.services.learn(await finalizer.drop(self.services.kube, self.resource, body))
        except NotFound:
            self.services.forget(key, uid=body["metadata"]["uid"])
        self._gone(key)
        return "Deleted"

    # What does not fit

    async def _invalid(self, key: Key, body: Body, error: InvalidObject) -> str:
        """A spec that this version cannot read: said in the status; nothing is undone, so its finalizer holds it."""
        meta = ObjectMeta.model_validate(body["metadata"])
        if meta.deletion_timestamp is not None:
            if FINALIZER not in meta.finalizers:
                return "Gone"
            if _forced(meta):
                remains = "its spec cannot be read, so what it made outside is not known"
                return await self._force_release(key, body, meta, remains)
        end = Terminal("InvalidSpec", f"this version cannot read the spec: {error}", remedy="correct the fields named")
        status = _lenient_status(body)
        before = list(status.conditions)
        now = self.services.clock.now()
        summary = conditions.terminal(end.reason, end.text, generation=meta.generation, now=now)
        status.conditions = conditions.summarize(status.conditions, summary)
        status.observed_generation = meta.generation
        wanted = {**(body.get("status") or {}), **to_body(status)}
        if changes := changed(body.get("status") or {}, wanted):
            patch = {"metadata": {"resourceVersion": meta.resource_version}, "status": changes}
            answer = await self.services.kube.merge_patch(
                self.resource, meta.namespace, meta.name, patch, subresource="status"
            )
            self.services.learn(answer)
            for type, reason, message in _transitions(before, status.conditions, end):
                await self.services.events.record(self.resource, meta, type=type, reason=reason, message=message)
        self.services.queue.forgive(key)
        return "Terminal"

    def _meaning(self, key: Key, error: Exception) -> StepError:
        match error:
            case StepError():
                return error
            case KubeError():
                return Transient(f"API{type(error).__name__}", f"the Kubernetes API server: {error}")
        explained = self.explain(error)
        if explained is not None:
            return explained
        self._unforeseen(key, error)
        # Only the type: the text of an unforeseen error may hold anything, also a secret.
        return Transient("InternalError", f"unforeseen {type(error).__name__}; its trace is in the operator's log")

    def _unforeseen(self, key: Key, error: Exception) -> None:
        self.services.metrics.unforeseen_errors.labels(key.kind, type(error).__name__).inc()
        logger.error("unforeseen %s while reconciling %s", type(error).__name__, key, exc_info=error)

    async def _read_again(self, key: Key, body: Body) -> None:
        """After a conflict: fetch what is true, so that the next attempt does not depend on the watch's pace."""
        meta = body["metadata"]
        try:
            self.services.learn(await self.services.kube.get(self.resource, meta["namespace"], meta["name"]))
        except NotFound:
            self._lost(key, meta["uid"])
            return
        except KubeError as error:
            logger.debug("could not read again: %s", error)
        self.services.queue.add_with_backoff(key)

    def _lost(self, key: Key, uid: str) -> None:
        self.services.forget(key, uid=uid)
        self._gone(key)

    def _gone(self, key: Key) -> None:
        self.gone(key)
        self._count_operation(key, None)
        self.services.queue.forget(key)

    # Small things

    def _parse(self, body: Body) -> R:
        obj: R = self.services.cache.parse(body, self.model)  # type: ignore[assignment]  # `model` is the class of R
        return obj

    def _references(self, body: Body) -> Iterable[Key]:
        try:
            return self._parse(body).refers_to()
        except InvalidObject:
            return ()

    def _indexes(self, body: Body) -> Iterable[Index]:
        try:
            return self.index(self._parse(body))
        except InvalidObject:
            return ()

    def _shown(self, body: Body) -> Hashable:
        try:
            return self.shown(self._parse(body))
        except InvalidObject:
            return None

    def _interval(self, obj: R) -> float:
        base: float = obj.spec.interval_or(INTERVAL_S)
        return base * self.services.random.uniform(1 - JITTER, 1 + JITTER)

    def _count_operation(self, key: Key, status: CommonStatus | None) -> None:
        now = status.operation.type if status is not None and status.operation is not None else None
        before = self._running.pop(key, None)
        gauge = self.services.metrics.operations_running
        if before is not None:
            gauge.labels(key.kind, before).dec()
        if now is not None:
            gauge.labels(key.kind, now).inc()
            self._running[key] = now


def _forced(meta: ObjectMeta) -> bool:
    return meta.annotations.get(FORCE_RELEASE) == "true"


def _lenient_status(body: Body) -> CommonStatus:
    try:
        return CommonStatus.model_validate(body.get("status") or {})
    except ValueError:
        return CommonStatus()


def _transitions(
    before: Iterable[Condition], after: Iterable[Condition], end: StepError | None
) -> list[tuple[Any, str, str]]:
    """What to say in Events: Ready whose status or reason is new, or Stalled that came (it says what Ready says)."""
    was, now = conditions.find(before, conditions.READY), conditions.find(after, conditions.READY)
    if now is None or (was is not None and (was.status, was.reason) == (now.status, now.reason)):
        stalled = conditions.is_true(after, conditions.STALLED) and not conditions.is_true(before, conditions.STALLED)
        if now is None or not stalled:
            return []
    fault = isinstance(end, Transient | Terminal)
    degraded = was is not None and was.status is ConditionStatus.TRUE and now.status is not ConditionStatus.TRUE
    return [("Warning" if fault or degraded else "Normal", now.reason, now.message or now.reason)]
