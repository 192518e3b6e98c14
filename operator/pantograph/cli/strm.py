"""`pantograph strm`: the STRM sync engine alone, on a laptop, as a child process, or as the container of a Job.

What only one action needs is imported where it begins: every run is a process, and mostly finds little to do.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from pantograph.api.declaration import InvalidObject
from pantograph.api.serverspec import DeclaredServer
from pantograph.api.units import parse_duration
from pantograph.cli.strm_options import configure, new_name, places_of, request_of
from pantograph.cli.strm_ordered import Place, bind_to_parent
from pantograph.cli.strm_printing import Show, print_report, shower, wipe
from pantograph.cli.strm_stop import Stop
from pantograph.clock import SystemClock
from pantograph.garbage import collect_seldom
from pantograph.providers.errors import ProviderError
from pantograph.providers.media.bucket import Cooldown, RateBucket
from pantograph.providers.media.declared import bucket_of, limits_of, list_timeout_of, settings_of
from pantograph.providers.media.port import MediaSource
from pantograph.providers.media.settings import LocalSettings
from pantograph.providers.media.sources import Driver, open_folder, open_server
from pantograph.providers.mounted import read_key
from pantograph.providers.notify.port import MediaServer
from pantograph.providers.trust import CA_KEY
from pantograph.strm.errors import StrmError
from pantograph.strm.report import Report
from pantograph.strm.run import Request, Surroundings, execute
from pantograph.strm.runner import Declared, Places, read_declared, source_identity, target_directory
from pantograph.strm.spec import Job, compile_job

if TYPE_CHECKING:
    from pantograph.cli.strm_reporting import Reporter

__all__ = ["configure", "run"]

EXIT_CODES: Final = {"Succeeded": 0, "Degraded": 1, "Failed": 1, "Cancelled": 1, "Blocked": 3}


def run(arguments: Namespace) -> int:
    """The exit code: 0 done, 1 failed or incomplete, 2 wrong use, 3 waits for an approval."""
    if getattr(arguments, "until_stdin_closes", None) is not None:
        bind_to_parent(arguments.until_stdin_closes)
    try:
        declared, places = read_declared(arguments.spec), places_of(arguments)
        if arguments.action in ("restore", "candidates"):
            from pantograph.cli.strm_target import restore_run, show_candidates

            act = restore_run if arguments.action == "restore" else show_candidates
            return act(declared, places, arguments.run_name, as_json=arguments.json)
        collect_seldom()
        return asyncio.run(_act(declared, places, arguments))
    except (StrmError, InvalidObject, ProviderError) as error:
        remedy = getattr(error, "remedy", None)
        print(
            f"pantograph strm: {getattr(error, 'message', error)}" + (f"; {remedy}" if remedy else ""), file=sys.stderr
        )
        if getattr(arguments, "report", None) is not None:
            asyncio.run(_tell_failure(arguments, error))
        return 2


async def _act(declared: Declared, places: Places, arguments: Namespace) -> int:
    job = compile_job(declared.job)
    if arguments.action in ("run", "rewrite", "purge"):
        report = await _run(declared, places, job, arguments)
        print_report(report, as_json=arguments.json)
        return EXIT_CODES[report.result]
    async with _open_source(declared, places, _bucket(declared.server)) as source:
        if arguments.action == "doctor":
            from pantograph.cli.strm_doctor import examine

            target = partial(target_directory, declared.job, places, make=False)
            identity = partial(source_identity, declared.server, source)
            installation = arguments.installation or "local"
            return await examine(job, source, target, identity, installation, _media_servers(declared, places))
        return await _watch(declared, places, job, source, arguments)


async def _run(declared: Declared, places: Places, job: Job, arguments: Namespace) -> Report:
    """One run, which reports to whoever ordered it."""
    clock = SystemClock()
    place, stop = Place.of(arguments), Stop.on_signals(arguments.deadline, clock)
    reporter: Reporter | None = None
    # The bucket tells the reporter, which is made around it.
    bucket = _bucket(declared.server, lambda cooldown: reporter.cooled(cooldown) if reporter else None)
    if place is not None:
        alone = _alone(declared.server)
        reporter = _reporter(place, bucket, alone_per_minute=alone, cancel=stop.ask)

    async def work(show: Show) -> Report:
        if arguments.purge:
            from pantograph.cli.strm_target import purge_target

            report = await purge_target(
                declared,
                places,
                arguments.run_name or new_name(),
                arguments.installation or "local",
                expect_records=arguments.expect_records,
                stopped=stop.is_set,
                show=show,
            )
        else:
            async with _open_source(declared, places, bucket) as source:
                request = request_of(arguments)
                report = await _once(declared, places, job, source, request, stop.is_set, show, arguments)
        return stop.explain(report)

    def end(report: Report) -> None:
        if arguments.purge and report.result == "Succeeded":
            from pantograph.cli.strm_target import end_purge

            end_purge(declared, places)

    if reporter is None:
        report = await work(shower(arguments))
        end(report)
        return report
    _log_what_the_engine_says()
    await reporter.open()
    try:
        report = await work(reporter.progress)
        if await reporter.conclude(report, hurry=stop.signalled):
            end(report)  # before that its result may be lost, and asked for again
    finally:
        await reporter.close()
    return report


def _reporter(
    place: Place, bucket: RateBucket | None, *, alone_per_minute: float | None, cancel: Callable[[], None]
) -> Reporter:
    # Here and not above: a run that reports to nobody needs neither the protocol's models nor, maybe, HTTP.
    from pantograph.cli.strm_reporting import Reporter

    return Reporter(place, clock=SystemClock(), bucket=bucket, alone_per_minute=alone_per_minute, cancel=cancel)


def _log_what_the_engine_says() -> None:
    """Into the log of the Pod, or of the operator."""
    engine = logging.getLogger("pantograph.strm")
    engine.setLevel(logging.INFO)
    engine.addHandler(logging.StreamHandler())


async def _watch(declared: Declared, places: Places, job: Job, source: MediaSource, arguments: Namespace) -> int:
    from pantograph.cli.strm_watch import watch

    if not source.capabilities.watch:
        raise StrmError(
            "NoWatch", f"driver {declared.server.spec.driver} tells of no changes", remedy="use run, by cron"
        )
    clock = SystemClock()
    stop, show = Stop.on_signals(None, clock), shower(arguments)

    async def execute(request: Request) -> Report:
        report = await _once(declared, places, job, source, request, stop.is_set, show, arguments)
        print_report(report, as_json=arguments.json)
        return report

    return await watch(
        source,
        job.source,
        clock=clock,
        min_interval_s=parse_duration(arguments.min_interval),
        rebuild=arguments.rebuild_manifest,
        new_name=new_name,
        execute=execute,
        stop=stop.signalled,
    )


async def _tell_failure(arguments: Namespace, error: Exception) -> None:
    """What kept a run from beginning is its result too."""
    report = Report(
        arguments.run_name or new_name(),
        arguments.trigger,
        "Failed",
        getattr(error, "reason", "InvalidSpec"),
        str(getattr(error, "message", error)),
        getattr(error, "remedy", None) or "",
    )
    stop = Stop.on_signals(None, SystemClock())
    try:
        place = Place.of(arguments)
        assert place is not None, "asked before"
        reporter = _reporter(place, None, alone_per_minute=None, cancel=stop.ask)
        await reporter.open()
    except StrmError:
        return  # that is the failure, and it was printed
    try:
        await reporter.conclude(report, hurry=stop.signalled)
    finally:
        await reporter.close()


async def _once(
    declared: Declared,
    places: Places,
    job: Job,
    source: MediaSource,
    request: Request,
    stopped: Callable[[], bool],
    show: Show,
    arguments: Namespace,
) -> Report:
    dry_run = request.dry_run or job.dry_run
    volume, directory = target_directory(declared.job, places, make=not dry_run)
    media_servers = _media_servers(declared, places)
    try:
        server = "" if request.notify_only else await source_identity(declared.server, source)
    except ProviderError as error:
        return Report(
            request.run, request.trigger, "Failed", error.reason, error.message, error.remedy or "", dry_run
        )  # fmt: skip
    around = Surroundings(
        source=source,
        root=directory,
        volume=volume,
        clock=SystemClock(),
        installation=arguments.installation or "local",
        server=server,
        media_servers=media_servers,
        parallel=limits_of(declared.server).max_in_flight,
        on_progress=show,
        cancelled=stopped,
    )
    report = await execute(job, request, around)
    wipe(show)
    return report


@asynccontextmanager
async def _open_source(declared: Declared, places: Places, bucket: RateBucket) -> AsyncIterator[MediaSource]:
    source = _source(declared, places, bucket)
    try:
        yield source
    finally:
        await source.close()


def _source(declared: Declared, places: Places, bucket: RateBucket) -> MediaSource:
    server, clock = declared.server, SystemClock()
    spec = server.spec
    if spec.local is not None:
        volume, sub_path = places.volume(spec.local.root, spec.local.persistent_volume_claim)
        root = volume.joinpath(*(part for part in sub_path.split("/") if part))
        return open_folder(
            LocalSettings(
                name=bucket.name,
                root=root,
                above=volume,
                sentinel=spec.local.sentinel,
                holds_volume=True,
                list_timeout_s=list_timeout_of(server),
                concurrent=limits_of(server).max_in_flight,
            ),
            clock=clock,
        )
    secret, namespace = spec.credentials_ref, server.metadata.namespace
    credentials = places.secret(secret.name, namespace=namespace) if secret else None
    ca_pem = None
    if spec.tls is not None:
        ca_pem = read_key(places.secret(spec.tls.ca_ref.name, namespace=namespace), CA_KEY, name=bucket.name)
    settings = settings_of(server, credentials, ca_pem=ca_pem)
    return open_server(Driver(spec.driver), settings, bucket=bucket, clock=clock)


def _bucket(server: DeclaredServer, on_change: Callable[[Cooldown | None], None] = lambda _: None) -> RateBucket:
    return bucket_of(server, clock=SystemClock(), random=SystemRandom(), on_change=on_change)


def _alone(server: DeclaredServer) -> float:
    """Requests a minute of a run that does not know how many others work on the server."""
    limits = limits_of(server)
    return limits.requests_per_minute / limits.max_runs


def _media_servers(declared: Declared, places: Places) -> dict[str, MediaServer]:
    job = declared.job
    servers = job.spec.notify.media_servers if job.spec.notify else []
    if not servers:
        return {}
    # Here and not above: a folder on this machine is mirrored without HTTP if nobody is told of it.
    from pantograph.providers.notify.mediaservers import open_media_server

    return {
        each.name: open_media_server(each, places.secret(each.secret_ref.name, namespace=job.metadata.namespace))
        for each in servers
    }
