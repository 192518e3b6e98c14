"""kopf as the informer: it runs the watches, and every change becomes one call of the sink. Nothing else of it is used.

kopf runs in a thread with an event loop of its own. When it ends it cancels every task that it did not find at its
start, whoever made it, and it takes over SIGTERM; so it gets a loop where all tasks are its own.

What the settings avoid was measured against a real API server: annotations and finalizers on users' objects, a second
copy of every body, a process that ends after 54 s of API outage, one log line an event.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf
from kopf._cogs.clients import fetching

from pantograph.api.meta import GROUP, Body, ResourceType

from .kube import Listed, WatchEvent
from .login import Login

UNUSED_FINALIZER: Final = f"{GROUP}/kopf-unused"
"""kopf strips the finalizer that it is told is its own from every object it sees: it gets one that nobody uses."""
IDENTITY: Final[Any] = "pantograph"  # kopf's type of it is not public
"""For kopf's peering, which is off. Without one kopf asks the system for its user's name, and a pod's may have none."""
TOKEN_LIFE = timedelta(minutes=1)
STOP_TIMEOUT_S = 10.0
BATCH = 500

Sink = Callable[[ResourceType, WatchEvent], None]


class KopfWatch:
    """`WatchSource` of a real API server. `labels` narrows kinds (by plural) to a selector; no `namespaces`: all."""

    def __init__(
        self, login: Login, *, namespaces: Sequence[str] = (), labels: Mapping[str, str] | None = None
    ) -> None:
        self._login = login
        self._namespaces = tuple(namespaces)
        self._labels = dict(labels or {})

    async def run(self, resources: Sequence[ResourceType], sink: Sink, *, since: Listed | None = None) -> None:
        """See `WatchSource.run`."""
        thread = _KopfThread(self._operator(resources), sink, since or {})
        thread.start()
        try:
            await thread.ended
        finally:
            await thread.stop()
        raise RuntimeError("kopf has ended by itself; its log lines say why")

    def _operator(self, resources: Sequence[ResourceType]) -> Callable[[Sink], Any]:
        def operator(sink: Sink) -> Any:
            return kopf.operator(
                registry=_registry(self._login, resources, sink),
                settings=_settings(self._labels),
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                standalone=True,
                identity=IDENTITY,
            )

        return operator


class _KopfThread:
    """The thread, its loop, and the bridge from there to the loop that made it."""

    def __init__(self, operator: Callable[[Sink], Any], sink: Sink, since: Listed) -> None:
        self._operator = operator
        self._sink = sink
        self._since = since
        self._home = asyncio.get_running_loop()
        self._events: deque[tuple[ResourceType, WatchEvent]] = deque()
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self.ended: asyncio.Future[None] = self._home.create_future()

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Cancel kopf and wait for its thread, not longer than `STOP_TIMEOUT_S`: it is a daemon."""
        if not self._stopped.is_set():
            self._loop.call_soon_threadsafe(self._cancel)
        try:
            await asyncio.wait_for(self._stopped.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            logging.getLogger(__name__).warning("kopf has not ended within %.0f s, left alone", STOP_TIMEOUT_S)

    def _cancel(self) -> None:
        # kopf's watch generators do not close cleanly when cancelled inside a request; nothing follows from it.
        self._loop.set_exception_handler(_unless_closing)
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as ended:  # noqa: BLE001  # carried over to the loop that waits for it
            error = ended
        if not self._home.is_closed():
            self._home.call_soon_threadsafe(self._over, error)
            self._home.call_soon_threadsafe(self._stopped.set)

    async def _main(self) -> None:
        self._task = asyncio.current_task()
        known = {(each.group, each.plural, namespace): version for (each, namespace), version in self._since.items()}
        _KNOWN.set(known)
        await self._operator(self._take)

    def _over(self, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)

    # The bridge: one wake-up of the other loop for all the events that come together.

    def _take(self, resource: ResourceType, event: WatchEvent) -> None:
        self._events.append((resource, event))
        if not self._draining:
            self._draining = True
            self._home.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._draining = False  # before taking: what comes meanwhile either is taken here or wakes us again
        for _ in range(BATCH):
            if not self._events:
                return
            try:
                self._sink(*self._events.popleft())
            except Exception as error:  # noqa: BLE001  # an event that was not taken in is lost: end, and start anew
                self._over(error)
                return
        self._draining = True
        self._home.call_soon(self._drain)


_KNOWN: ContextVar[dict[tuple[str, str, str | None], str]] = ContextVar("known")
"""The lists that kopf need not make, in the context of its own tasks; each is used once."""
_fetch = fetching.fetch_objs


async def _fetch_unless_known(
    *, settings: Any, resource: Any, namespace: Any, logger: Any
) -> AsyncIterator[tuple[Any, str]]:
    """kopf's list of a kind; where we have just made one, nothing but where that one ended: the watch begins there.

    kopf has no setting for it, and a second list costs a restart as much as all the rest of watching.
    """
    version = _KNOWN.get({}).pop((resource.group, resource.plural, namespace), None)
    if version is not None:
        yield [], version
        return
    async for page in _fetch(settings=settings, resource=resource, namespace=namespace, logger=logger):
        yield page


fetching.fetch_objs = _fetch_unless_known


def _unless_closing(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if "asyncgen" not in context:
        loop.default_exception_handler(context)


def _registry(login: Login, resources: Sequence[ResourceType], sink: Sink) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login_handler(login))
    for resource in resources:
        handler = _event_handler(resource, sink)
        kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(handler)
    return registry


def _event_handler(resource: ResourceType, sink: Sink) -> Any:
    async def on_event(event: Any, **_: Any) -> None:
        sink(resource, WatchEvent(event["type"], _own(resource, event["object"])))

    return on_event


def _own(resource: ResourceType, body: Any) -> Body:
    """The body for the other thread: kopf goes on with its own, and items of a list come without their kind."""
    meta = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body, "metadata": meta}


def _login_handler(login: Login) -> Any:
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        token = await login.token()
        configuration = login.configuration
        rotates = configuration.refresh_api_key_hook is not None or login.refresh is not None
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=token,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            # An expiry runs this again; the watches go on.
            expiration=datetime.now(UTC) + TOKEN_LIFE if token and rotates else None,
        )

    return log_in


def _settings(labels: Mapping[str, str]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.queueing.idle_timeout = 0.3  # a task an object until then
    settings.watching.chunk_size = 500
    settings.execution.max_workers = 1
    settings.networking.error_backoffs = _EndlessBackoff()
    settings.persistence.finalizer = UNUSED_FINALIZER
    settings.persistence.diffbase_storage = _NullDiffBase()
    for plural, selector in labels.items():
        settings.watching.label_selectors[plural] = selector
    # Its one line says that signals are not handled in a thread, as is meant.
    logging.getLogger("kopf._core.reactor.running").addFilter(_not_about_signals)
    return settings


def _not_about_signals(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("OS signals are ignored")


class _EndlessBackoff:
    """Seconds between attempts while the API server is away: iterated anew for each outage, and never at an end."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1, 2, 4)
        while True:
            yield 5


class _NullDiffBase(kopf.DiffBaseStorage):
    """Keeps no "last handled" state: nothing here asks what changed (saves a quarter of kopf's CPU)."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> Any:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Nothing is stored on the object."""
