"""`pantograph run`: the operator. The only place that knows every part and puts them together."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from random import SystemRandom
from typing import Any

from aiohttp import web

from pantograph.api.labels import RUN
from pantograph.api.meta import JOBS
from pantograph.api.vmtemplate import VMTemplate
from pantograph.cli.settings import Settings, SettingsError, read_settings
from pantograph.clock import SystemClock
from pantograph.controllers.changes import ClusterChanges
from pantograph.controllers.connections import Connections
from pantograph.controllers.dataserver import DataServerController
from pantograph.controllers.installation import load_installation
from pantograph.controllers.mediasources import MediaSources
from pantograph.controllers.outside import Outside
from pantograph.controllers.proxmoxcluster import ProxmoxClusterController
from pantograph.controllers.runs.roots import Roots
from pantograph.controllers.runs.service import RunsService, ensure
from pantograph.controllers.strmsyncjob.alerting import Messengers
from pantograph.controllers.strmsyncjob.controller import StrmSyncJobController
from pantograph.controllers.strmsyncjob.media import Media
from pantograph.controllers.strmsyncjob.watches import Watches
from pantograph.controllers.templatereplica.controller import TemplateReplicaController
from pantograph.controllers.verified import VerifiedMachines
from pantograph.controllers.vmtemplate.controller import VMTemplateController
from pantograph.controllers.vmtemplate.image import owner_of
from pantograph.depot.depot import Depot, DepotSettings
from pantograph.depot.policy import FetchPolicy
from pantograph.depot.server import application
from pantograph.engine import logs
from pantograph.engine.client import KubeClient
from pantograph.engine.controller import Controller
from pantograph.engine.lease import Elector
from pantograph.engine.login import log_in
from pantograph.engine.manager import Manager
from pantograph.engine.metrics import Metrics
from pantograph.engine.runtime import Runtime, run_process
from pantograph.engine.server import ProbeServer
from pantograph.engine.services import Services
from pantograph.engine.watch import KopfWatch
from pantograph.providers.proxmox.connection import ConnectionPool
from pantograph.providers.proxmox.transport import CallHook, CircuitHook


def configure(parser: ArgumentParser) -> None:
    """No arguments: a container is set up by its environment."""
    parser.epilog = "Set up by environment variables PANTOGRAPH_*; the chart's README lists them."


def run(_: Namespace) -> int:
    """Run until SIGTERM; 1 if it cannot run, with the reason in the log."""
    try:
        settings = read_settings()
    except SettingsError as error:
        print(f"pantograph: {error}", file=sys.stderr)
        return 2
    logs.configure(format=settings.log_format, level=settings.log_level)
    return run_process(lambda: _operate(settings))


async def _operate(settings: Settings) -> None:
    clock, random, metrics = SystemClock(), SystemRandom(), Metrics()
    login = await log_in()
    kube = KubeClient(login, metrics=metrics)
    pool = ConnectionPool(clock, on_call=_count_calls(metrics), on_circuit=_count_circuits(metrics))
    try:
        installation = await load_installation(kube, settings.namespace, settings.installation_secret)
        depot = Depot(
            settings.depot_dir,
            signing_key=installation.key,
            clock=clock,
            random=random,
            settings=_depot_settings(settings),
        )
        services = Services.create(kube=kube, clock=clock, random=random, metrics=metrics)
        outside = Outside(
            installation=installation,
            connections=Connections(pool, clock),
            depot=depot,
            verified=VerifiedMachines(clock, random),
            changes=ClusterChanges(),
            depot_url=settings.depot_external_url,
        )
        secret = (settings.namespace, settings.installation_secret)
        runs = RunsService(
            settings.runs,
            services=services,
            installation=installation.id,
            secret=secret,
            certificate=await ensure(settings.runs, services, secret),
        )
        elector = _elector(settings, services)
        media = _media(settings, services, runs)
        manager = Manager(
            services=services,
            source=KopfWatch(login, namespaces=settings.watch_namespaces, labels={JOBS.plural: RUN}),
            controllers=controllers(services, outside, media),
            workers=settings.workers,
            namespaces=settings.watch_namespaces,
            prepare=lambda: _open_depot(depot, services),
            background=[runs.executor.keep],
        )
        runtime = Runtime(
            manager=manager,
            elector=elector,
            server=ProbeServer(
                metrics=metrics,
                ready=lambda: runtime.ready,
                host=settings.http_host,
                port=settings.http_port,
            ),
            beside=[
                lambda: _serve_depot(settings, depot),
                lambda: runs.serve(
                    ready=lambda: elector.leading and manager.ready, leader=lambda: elector.holder_address
                ),
                *([login.refresh] if login.refresh else []),
            ],
        )
        await runtime.run()
        await depot.close()
        await media.watches.close()
        await media.sources.close()
    finally:
        await pool.close()
        await kube.close()


def controllers(services: Services, outside: Outside, media: Media) -> list[Controller[Any]]:
    """One a kind."""
    return [
        ProxmoxClusterController(services, outside),
        VMTemplateController(services, outside),
        TemplateReplicaController(services, outside),
        DataServerController(services, sources=media.sources, cooldowns=media.cooldowns),
        StrmSyncJobController(services, media),
    ]


def _media(settings: Settings, services: Services, runs: RunsService) -> Media:
    roots = Roots(settings.runs.roots)
    sources = MediaSources(clock=services.clock, random=services.random, roots=roots, cooldowns=runs.cooldowns)
    watches = Watches(clock=services.clock, wake=lambda key: services.wake({key}), refuse=sources.refuse)
    return Media(
        runs=runs.executor,
        sources=sources,
        watches=watches,
        roots=roots,
        cooldowns=runs.cooldowns,
        alerts=Messengers(),
        max_runs=settings.max_runs,
    )


def _elector(settings: Settings, services: Services) -> Elector:
    return Elector(
        kube=services.kube,
        clock=services.clock,
        random=services.random,
        metrics=services.metrics,
        namespace=settings.lease_namespace,
        name=settings.lease_name,
        identity=settings.identity,
        times=settings.lease_times,
        address=settings.address,
    )


def _depot_settings(settings: Settings) -> DepotSettings:
    policy = FetchPolicy(
        cluster_networks=settings.cluster_ranges,
        pod_address=settings.pod_address,
        api_address=settings.api_address,
        allow_loopback=settings.fetch_allow_loopback,
    )
    return DepotSettings(quota_bytes=settings.depot_quota_bytes, policy=policy)


async def _open_depot(depot: Depot, services: Services) -> None:
    """The leader's part: only one process may fetch, and it drops the pins of templates that are gone."""
    await depot.start()
    depot.keep_owners({owner_of(key) for key in services.cache.keys(VMTemplate.info.resource.kind)})


async def _serve_depot(settings: Settings, depot: Depot) -> None:
    """Images by signed URL, from a standby too. Without an access log: the URLs are the keys to the images."""
    runner = web.AppRunner(application(depot), access_log=None, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.depot_host, settings.depot_port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _count_calls(metrics: Metrics) -> CallHook:
    def count(verb: str, _path: str, code: str, _seconds: float) -> None:
        metrics.provider_calls.labels("proxmox", verb, code).inc()

    return count


def _count_circuits(metrics: Metrics) -> CircuitHook:
    def count(is_open: bool) -> None:
        metrics.circuits_open.labels("proxmox").inc(1 if is_open else -1)

    return count
