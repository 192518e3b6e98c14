"""`pantograph strm`: the STRM sync engine alone, on a laptop, as a child process, or as the container of a Job."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Final

from pantograph.api.base import InvalidObject
from pantograph.api.dataserver import DataServer, ServerLimits
from pantograph.api.units import parse_duration
from pantograph.cli import strm_reporting
from pantograph.cli.strm_doctor import examine
from pantograph.cli.strm_reporting import Place, Reporter
from pantograph.cli.strm_stop import Stop
from pantograph.cli.strm_target import end_purge, purge_target, restore_run, show_candidates
from pantograph.cli.strm_watch import watch
from pantograph.clock import SystemClock
from pantograph.providers.errors import ProviderError
from pantograph.providers.media.bucket import Cooldown, RateBucket
from pantograph.providers.media.port import MediaSource
from pantograph.providers.media.settings import LocalSettings, ServerSettings
from pantograph.providers.media.sources import Driver, open_folder, open_server
from pantograph.providers.notify.mediaservers import open_media_server
from pantograph.providers.notify.port import MediaServer
from pantograph.strm.errors import StrmError
from pantograph.strm.prune import Approval
from pantograph.strm.report import Progress, Report
from pantograph.strm.run import Request, Surroundings, execute
from pantograph.strm.runner import Declared, Places, parallelism, read_declared, source_identity, target_directory
from pantograph.strm.scope import Scope
from pantograph.strm.spec import Job, compile_job

EXIT_CODES: Final = {"Succeeded": 0, "Degraded": 1, "Failed": 1, "Cancelled": 1, "Blocked": 3}


def configure(parser: ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="mirror once, then say what was done")
    watch = actions.add_parser("watch", help="mirror, then follow the server's changes until interrupted")
    doctor = actions.add_parser("doctor", help="look at server and target, change nothing")
    back = actions.add_parser("restore", help="bring back what a run moved into the trash")
    rewrite = actions.add_parser("rewrite", help="make the links anew from the records, without listing the server")
    purge = actions.add_parser("purge", help="remove what the job made; what people made or changed stays")
    listed = actions.add_parser("candidates", help="show every file that a run listed as gone from the source")
    for each in (run, watch, doctor, back, listed, rewrite, purge):
        _common(each)
    for each in (run, watch):
        each.add_argument("--rebuild-manifest", action="store_true", help="forget the records; equal files are adopted")
    for each in (run, rewrite, purge):
        each.add_argument("--run", dest="run_name", metavar="NAME", help="the run's name, for approvals and trash")
    for each in (run, rewrite):
        each.add_argument("--dry-run", action="store_true", help="only tell what would be done; write nothing")
        each.add_argument("--approve-rewrite", metavar="RUN", help="rewrite as many files as that run asked for")
    run.add_argument("--trigger", choices=("manual", "cron", "watch"), default="manual")
    run.add_argument("--path", action="append", default=[], metavar="PATH", help="only this subtree of the source")
    run.add_argument("--shallow", action="store_true", help="of each --path only itself and what is new in it")
    run.add_argument("--approve-prune", metavar="RUN", help="remove what that run listed, and nothing else")
    run.add_argument("--approve-digest", metavar="DIGEST", help="only if these are the candidates it listed")
    run.add_argument("--purge", action="store_true", help="do no run, but what `purge` does")
    run.add_argument("--notify-only", action="store_true", help="only tell media servers what is still to be told")
    for each in (run, rewrite, purge):
        each.add_argument(
            "--deadline",
            type=_duration,
            metavar="DURATION",
            help="stop when it takes longer; the next run goes on there",
        )
        strm_reporting.configure(each)
    for each in (run, purge):
        each.add_argument("--expect-records", action="store_true", help="a purge of a target without records fails")
    rewrite.set_defaults(trigger="manual", purge=False)
    purge.set_defaults(trigger="manual", purge=True)
    watch.add_argument(
        "--min-interval", type=_duration, default="10s", metavar="DURATION", help="between two runs (10s)"
    )
    back.add_argument("run_name", metavar="RUN", help="the run whose removals are undone")
    listed.add_argument("run_name", metavar="RUN", help="the run that listed them, as --approve-prune names it")


def run(arguments: Namespace) -> int:
    """The exit code: 0 done, 1 failed or incomplete, 2 wrong use, 3 waits for an approval."""
    if getattr(arguments, "until_stdin_closes", None) is not None:
        strm_reporting.bind_to_parent(arguments.until_stdin_closes)
    try:
        declared, places = read_declared(arguments.spec), _places(arguments)
        if arguments.action == "restore":
            return restore_run(declared, places, arguments.run_name, as_json=arguments.json)
        if arguments.action == "candidates":
            return show_candidates(declared, places, arguments.run_name, as_json=arguments.json)
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
        _print(report, as_json=arguments.json)
        return EXIT_CODES[report.result]
    async with _open_source(declared, places, _bucket(declared.server)) as source:
        if arguments.action == "doctor":
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
        reporter = Reporter(place, clock=clock, bucket=bucket, alone_per_minute=alone, cancel=stop.ask)

    async def work(show: Callable[[Progress], None]) -> Report:
        if arguments.purge:
            report = await purge_target(
                declared,
                places,
                arguments.run_name or _new_name(),
                arguments.installation or "local",
                expect_records=arguments.expect_records,
                stopped=stop.is_set,
                show=show,
            )
        else:
            async with _open_source(declared, places, bucket) as source:
                request = _rewrite_request(arguments) if arguments.action == "rewrite" else _request(arguments)
                report = await _once(declared, places, job, source, request, stop.is_set, show, arguments)
        return stop.explain(report)

    def end(report: Report) -> None:
        if arguments.purge and report.result == "Succeeded":
            end_purge(declared, places)

    if reporter is None:
        report = await work(_show if _shows(arguments) else _show_nothing)
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


def _log_what_the_engine_says() -> None:
    """Into the log of the Pod, or of the operator."""
    engine = logging.getLogger("pantograph.strm")
    engine.setLevel(logging.INFO)
    engine.addHandler(logging.StreamHandler())


async def _watch(declared: Declared, places: Places, job: Job, source: MediaSource, arguments: Namespace) -> int:
    if not source.capabilities.watch:
        raise StrmError(
            "NoWatch", f"driver {declared.server.spec.driver} tells of no changes", remedy="use run, by cron"
        )
    clock = SystemClock()
    stop, show = Stop.on_signals(None, clock), _show if _shows(arguments) else _show_nothing

    async def execute(request: Request) -> Report:
        report = await _once(declared, places, job, source, request, stop.is_set, show, arguments)
        _print(report, as_json=arguments.json)
        return report

    return await watch(
        source,
        job.source,
        clock=clock,
        min_interval_s=parse_duration(arguments.min_interval),
        rebuild=arguments.rebuild_manifest,
        new_name=_new_name,
        execute=execute,
        stop=stop.signalled,
    )


async def _tell_failure(arguments: Namespace, error: Exception) -> None:
    """What kept a run from beginning is its result too."""
    report = Report(
        arguments.run_name or _new_name(),
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
        reporter = Reporter(place, clock=SystemClock(), bucket=None, alone_per_minute=None, cancel=stop.ask)
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
    show: Callable[[Progress], None],
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
        parallel=parallelism(job, declared.server),
        on_progress=show,
        cancelled=stopped,
    )
    report = await execute(job, request, around)
    if show is _show:
        print("\r\x1b[K", end="", file=sys.stderr)
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
    limits = spec.limits or ServerLimits()
    list_timeout_s = parse_duration(limits.list_timeout)
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
                list_timeout_s=list_timeout_s,
                concurrent=limits.max_in_flight,
            ),
            clock=clock,
        )
    assert spec.endpoint is not None, "checked when it was read"
    secret, namespace = spec.credentials_ref, server.metadata.namespace
    settings = ServerSettings(
        name=bucket.name,
        endpoint=spec.endpoint,
        credentials=places.secret(secret.name, namespace=namespace) if secret else None,
        list_timeout_s=list_timeout_s,
    )
    return open_server(Driver(spec.driver), settings, bucket=bucket, clock=clock)


def _bucket(server: DataServer, on_change: Callable[[Cooldown | None], None] = lambda _: None) -> RateBucket:
    limits = server.spec.limits or ServerLimits()
    return RateBucket(
        f"DataServer {server.metadata.namespace}/{server.metadata.name}",
        SystemClock(),
        SystemRandom(),
        per_second=limits.requests_per_minute / 60,
        burst=limits.burst,
        concurrent=limits.max_in_flight,
        cooldown_s=parse_duration(limits.cooldown),
        on_change=on_change,
    )


def _alone(server: DataServer) -> float:
    """Requests a minute of a run that does not know how many others work on the server."""
    limits = server.spec.limits or ServerLimits()
    return limits.requests_per_minute / limits.max_runs


def _media_servers(declared: Declared, places: Places) -> dict[str, MediaServer]:
    job = declared.job
    servers = job.spec.notify.media_servers if job.spec.notify else []
    return {
        each.name: open_media_server(each, places.secret(each.secret_ref.name, namespace=job.metadata.namespace))
        for each in servers
    }


def _common(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--spec", type=Path, required=True, metavar="FILE", help="YAML with a DataServer and a StrmSyncJob"
    )
    for option, what in (("root", "root"), ("claim", "PersistentVolumeClaim"), ("secret", "Secret")):
        parser.add_argument(
            f"--{option}", action="append", type=_place, default=[], metavar="NAME=DIR", help=f"where the {what} is"
        )
    parser.add_argument("--installation", metavar="ID", help="whose target it is, beside namespace and name (local)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object a line")


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def _place(text: str) -> tuple[str, Path]:
    name, separator, directory = text.partition("=")
    if not (name and separator and directory):
        raise ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name, Path(directory)


def _places(arguments: Namespace) -> Places:
    return Places(roots=dict(arguments.root), claims=dict(arguments.claim), secrets=dict(arguments.secret))


def _request(arguments: Namespace) -> Request:
    approval = None
    if arguments.approve_prune:
        approval = Approval(run=arguments.approve_prune, digest=arguments.approve_digest)
    return Request(
        run=arguments.run_name or _new_name(),
        trigger=arguments.trigger,
        scope=Scope(tuple(path.strip("/") for path in arguments.path), shallow=arguments.shallow),
        approve_prune=approval,
        approve_rewrite=arguments.approve_rewrite,
        rebuild_manifest=arguments.rebuild_manifest,
        notify_only=arguments.notify_only,
        dry_run=arguments.dry_run,
    )


def _rewrite_request(arguments: Namespace) -> Request:
    return Request(
        run=arguments.run_name or _new_name(),
        approve_rewrite=arguments.approve_rewrite,
        rewrite_only=True,
        dry_run=arguments.dry_run,
    )


def _new_name() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{SystemRandom().getrandbits(16):04x}"


def _shows(arguments: Namespace) -> bool:
    return sys.stderr.isatty() and not arguments.json


def _show_nothing(_: Progress) -> None:
    """Nobody looks."""


def _show(progress: Progress) -> None:
    share = "" if progress.percent is None else f" {progress.percent} %"
    line = (
        f"{progress.phase}{share}: {progress.dirs_done}/{progress.dirs_known} directories, {progress.files_seen} files"
    )
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False), flush=True)
        return
    print(
        f"{report.run}: {report.result}. {report.created} created, {report.updated} updated, "
        f"{report.unchanged} unchanged, {report.skipped} skipped, {report.failed} failed, {report.pruned} pruned; "
        f"{report.remote_requests} requests, {report.duration_s:.1f} s"
    )
    if report.message:
        print(f"  {report.reason}: {report.message}" + (f"; {report.remedy}" if report.remedy else ""))
    if report.prune_candidates > report.pruned:
        print(f"  {report.prune_candidates} files have no source any more; digest {report.candidates_digest[:12]}…")
        if not report.dry_run:
            print(f"  pantograph strm candidates {report.run} … shows all of them")
    if report.unlisted_dirs:
        print(f"  {report.unlisted_dirs} directories were not listed: their times had not changed")
    if report.notified:
        print(f"  media servers were told of {report.notified} folders")
    for each in report.notify_failed:
        print(f"  {each.reason}: {each.message}; told later")
    for each in report.samples:
        print(f"  {each.reason} {each.path}: {each.message}")
