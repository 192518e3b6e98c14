"""All that executes runs, put together: what the process serves, what the controllers are given, what ends with it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from pantograph.api.dataserver import DataServer
from pantograph.api.declaration import InvalidObject
from pantograph.api.meta import Key
from pantograph.controllers.runs.authority import Authority
from pantograph.controllers.runs.certificate import RunsCertificate, ensure_certificate
from pantograph.controllers.runs.children import Children, ChildSettings
from pantograph.controllers.runs.cooldowns import Cooldowns
from pantograph.controllers.runs.endpoint import application
from pantograph.controllers.runs.executor import Executor
from pantograph.controllers.runs.kubejobs import KubeJobs
from pantograph.controllers.runs.manifest import PodSettings
from pantograph.controllers.runs.orders import limit_of
from pantograph.controllers.runs.registry import Registry
from pantograph.controllers.runs.roots import Root, Roots
from pantograph.engine.cache import Cache
from pantograph.engine.kube import KubeError
from pantograph.engine.services import Services

logger = logging.getLogger(__name__)

RENEW_EVERY_S: Final = 12 * 3600.0
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsSettings:
    """What the process is told about runs."""

    host: str
    port: int
    """Where the endpoint listens."""
    url: str
    """Where Pods reach it: the Service."""
    image: str
    pull_policy: str
    pull_secrets: tuple[str, ...]
    roots: tuple[Root, ...]
    directory: Path
    """For what children are given; private, best in memory."""

    @property
    def names(self) -> tuple[str, ...]:
        """At which the endpoint is reached, for its certificate: the Service's, short and long, and loopback."""
        return names_of(self.url)


def names_of(url: str) -> tuple[str, ...]:
    """What the certificate of an endpoint is good for; with `https://<name>.<namespace>.svc` also its other forms."""
    host = urlsplit(url).hostname or ""
    parts = host.split(".")
    short = tuple(".".join(parts[:count]) for count in (1, 2)) if parts[2:3] == ["svc"] else ()
    long = (f"{host}.cluster.local",) if parts[-1:] == ["svc"] else ()
    return tuple(name for name in dict.fromkeys((*short, host, *long, "localhost", LOOPBACK)) if name)


class RunsService:
    """One a process."""

    def __init__(
        self,
        settings: RunsSettings,
        *,
        services: Services,
        installation: str,
        secret: tuple[str, str],
        certificate: RunsCertificate,
    ) -> None:
        """`secret`: namespace and name of the one that keeps the certificate."""
        self._settings = settings
        self._services = services
        self._secret = secret
        self._certificate = certificate
        self.listening = asyncio.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.load_into(self._context)
        self.cooldowns = Cooldowns(services.clock, on_change=lambda server: services.wake({server}))
        """Of DataServers, as runs on them have reported."""
        self.registry = Registry(
            clock=services.clock,
            cooldowns=self.cooldowns,
            limit_of=lambda server: _limit_in(services.cache, server),
            wake=services.queue.add,
        )
        self.executor = Executor(self._children(installation), self._jobs(installation))
        """`Runs`, for the StrmSyncJob's controller; its `keep` is background work of the manager."""

    @property
    def authority(self) -> str:
        """The PEM that runs trust; it outlives the certificate."""
        return self._certificate.authority

    async def serve(self, *, ready: Callable[[], bool], leader: Callable[[], str]) -> None:
        """The endpoint, until cancelled; on a standby too. See `endpoint.application`."""
        authority = Authority(
            kube=self._services.kube,
            cache=self._services.cache,
            registry=self.registry,
            clock=self._services.clock,
        )
        app = application(authority=authority, registry=self.registry, ready=ready, leader=leader)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._settings.host, self._settings.port, ssl_context=self._context)
            await site.start()
            self.listening.set()
            logger.info("hearing runs on port %d", self._settings.port)
            await self._renew_for_ever()
        finally:
            await runner.cleanup()

    def _children(self, installation: str) -> Children:
        settings, services = self._settings, self._services
        return Children(
            ChildSettings(
                directory=settings.directory,
                report_url=f"https://{LOOPBACK}:{settings.port}",
                authority=lambda: self.authority,
                installation=installation,
            ),
            registry=self.registry,
            roots=Roots(settings.roots),
            kube=services.kube,
            clock=services.clock,
            wake=services.queue.add,
        )

    def _jobs(self, installation: str) -> KubeJobs:
        settings = self._settings
        return KubeJobs(
            PodSettings(
                image=settings.image,
                pull_policy=settings.pull_policy,
                pull_secrets=settings.pull_secrets,
                report_url=settings.url.rstrip("/"),
            ),
            services=self._services,
            registry=self.registry,
            authority=lambda: self.authority,
            installation=installation,
        )

    async def _renew_for_ever(self) -> None:
        while True:
            await self._services.clock.sleep(RENEW_EVERY_S)
            try:
                self._certificate = await ensure(self._settings, self._services, self._secret)
            except KubeError as error:
                logger.warning("the certificate of the run endpoint could not be looked at: %s", error)
                continue
            self._certificate.load_into(self._context)


async def ensure(settings: RunsSettings, services: Services, secret: tuple[str, str]) -> RunsCertificate:
    """The endpoint's certificate, made or renewed if need be. Raises KubeError."""
    namespace, name = secret
    names: Sequence[str] = settings.names
    return await ensure_certificate(services.kube, namespace, name, names=names, now=services.clock.now())


def _limit_in(cache: Cache, server: Key) -> float | None:
    """As declared now: a limit that is changed holds for runs under way too."""
    try:
        found = cache.read(server, DataServer)
    except InvalidObject:
        return None
    return None if found is None else limit_of(found)
