"""`pantograph strm`: the STRM sync engine alone, on a laptop, as a child process, or as the container of a Job."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Final

from pantograph.api.base import InvalidObject
from pantograph.api.units import parse_duration
from pantograph.cli.strm_doctor import examine
from pantograph.cli.strm_target import purge_target, restore_run
from pantograph.clock import SystemClock
from pantograph.providers.errors import ProviderError
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.port import Hint, HintKind, MediaSource
from pantograph.providers.media.settings import LocalSettings, ServerSettings
from pantograph.providers.media.sources import Driver, open_folder, open_server
from pantograph.providers.notify.mediaservers import open_media_server
from pantograph.providers.notify.port import MediaServer
from pantograph.strm.errors import StrmError
from pantograph.strm.notifying import Reminder
from pantograph.strm.prune import Approval
from pantograph.strm.report import Progress, Report
from pantograph.strm.run import Request, Surroundings, execute
from pantograph.strm.runner import Declared, Places, parallelism, read_declared, source_identity, target_directory
from pantograph.strm.scope import Scope
from pantograph.strm.spec import Job, compile_job
from pantograph.strm.watching import follow

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
    for each in (run, watch, doctor, back, rewrite, purge):
        _common(each)
    for each in (run, watch):
        each.add_argument("--rebuild-manifest", action="store_true", help="forget the records; equal files are adopted")
    for each in (run, rewrite, purge):
        each.add_argument("--run", dest="run_name", metavar="NAME", help="the run's name, for approvals and trash")
    run.add_argument("--trigger", choices=("manual", "cron", "watch"), default="manual")
    run.add_argument("--path", action="append", default=[], metavar="PATH", help="only this subtree of the source")
    for each in (run, rewrite):
        each.add_argument("--dry-run", action="store_true", help="only tell what would be done; write nothing")
        each.add_argument("--approve-rewrite", action="store_true", help="rewrite more than update.maxRewritePercent")
    run.add_argument("--approve-prune", metavar="RUN", help="remove what that run listed, and nothing else")
    run.add_argument("--approve-digest", metavar="DIGEST", help="only if these are the candidates it listed")
    run.add_argument("--notify-only", action="store_true", help="only tell media servers what is still to be told")
    watch.add_argument("--min-interval", default="10s", metavar="DURATION", help="between two runs (10s)")
    back.add_argument("run_name", metavar="RUN", help="the run whose removals are undone")


def run(arguments: Namespace) -> int:
    """The exit code: 0 done, 1 failed or incomplete, 2 wrong use, 3 waits for an approval."""
    try:
        declared, places = read_declared(arguments.spec), _places(arguments)
        if arguments.action == "restore":
            return restore_run(declared, places, arguments.run_name, as_json=arguments.json)
        return asyncio.run(_act(declared, places, arguments))
    except (StrmError, InvalidObject, ProviderError, ValueError) as error:
        remedy = getattr(error, "remedy", None)
        print(
            f"pantograph strm: {getattr(error, 'message', error)}" + (f"; {remedy}" if remedy else ""), file=sys.stderr
        )
        return 2


async def _act(declared: Declared, places: Places, arguments: Namespace) -> int:
    job = compile_job(declared.job)
    if arguments.action == "purge":
        report = await purge_target(declared, places, arguments.run_name or _new_name(), _on_signals())
        _print(report, as_json=arguments.json)
        return EXIT_CODES[report.result]
    async with _open_source(declared, places) as source:
        if arguments.action == "doctor":
            target = partial(target_directory, declared.job, places)
            return await examine(job, source, target, _media_servers(declared, places))
        if arguments.action == "watch":
            return await _watch(declared, places, job, source, arguments)
        stop = _on_signals()
        request = _rewrite_request(arguments) if arguments.action == "rewrite" else _request(arguments)
        report = await _once(declared, places, job, source, request, stop, show=_shows(arguments))
    _print(report, as_json=arguments.json)
    return EXIT_CODES[report.result]


async def _once(
    declared: Declared,
    places: Places,
    job: Job,
    source: MediaSource,
    request: Request,
    stop: asyncio.Event,
    *,
    show: bool,
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
        server=server,
        media_servers=media_servers,
        parallel=parallelism(job, declared.server),
        on_progress=_show if show else lambda _: None,
        cancelled=stop.is_set,
    )
    report = await execute(job, request, around)
    if show:
        print("\r\x1b[K", end="", file=sys.stderr)
    return report


async def _watch(declared: Declared, places: Places, job: Job, source: MediaSource, arguments: Namespace) -> int:
    if not source.capabilities.watch:
        raise StrmError(
            "NoWatch", f"driver {declared.server.spec.driver} tells of no changes", remedy="use run, by cron"
        )
    stop, show, rebuild = _on_signals(), _shows(arguments), arguments.rebuild_manifest

    reminder, clock = Reminder(), SystemClock()

    async def do(request: Request) -> Report:
        async with reminder.alone:
            report = await _once(declared, places, job, source, request, stop, show=show)
        _print(report, as_json=arguments.json)
        reminder.remind(report.notify_due)
        return report

    async def once(scope: Scope) -> bool:
        nonlocal rebuild
        request = Request(run=_new_name(), trigger="watch", scope=scope, rebuild_manifest=rebuild)
        rebuild = False
        return (await do(request)).result != "Failed"

    async def tell() -> None:
        await do(Request(run=_new_name(), trigger="watch", notify_only=True))

    telling = asyncio.create_task(reminder.follow(clock, tell))
    interval_s = parse_duration(arguments.min_interval)
    following = asyncio.create_task(
        follow(source, job.source, clock=clock, min_interval_s=interval_s, run=once, tell=_tell_watch)
    )
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({following, telling, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return 0
        await asyncio.gather(*(each for each in (following, telling) if each.done()))
        return 1
    finally:
        for each in (following, telling, stopped):
            each.cancel()
        await asyncio.gather(following, telling, stopped, return_exceptions=True)


@asynccontextmanager
async def _open_source(declared: Declared, places: Places) -> AsyncIterator[MediaSource]:
    source = _source(declared, places)
    try:
        yield source
    finally:
        await source.close()


def _source(declared: Declared, places: Places) -> MediaSource:
    server, clock = declared.server, SystemClock()
    spec, name = server.spec, f"DataServer {server.metadata.namespace}/{server.metadata.name}"
    if spec.local is not None:
        volume, sub_path = places.volume(spec.local.root, spec.local.persistent_volume_claim)
        return open_folder(
            LocalSettings(name=name, root=volume / sub_path, sentinel=spec.local.sentinel), clock=clock
        )  # fmt: skip
    assert spec.endpoint is not None, "checked when it was read"
    limits = spec.limits
    bucket = RateBucket(name, clock, SystemRandom()) if limits is None else RateBucket(
        name,
        clock,
        SystemRandom(),
        per_second=limits.requests_per_minute / 60,
        burst=limits.burst,
        concurrent=limits.max_in_flight,
        cooldown_s=parse_duration(limits.cooldown),
    )  # fmt: skip
    settings = ServerSettings(
        name=name,
        endpoint=spec.endpoint,
        credentials=places.secret(spec.credentials_ref.name, server.metadata.namespace)
        if spec.credentials_ref
        else None,
        list_timeout_s=parse_duration(limits.list_timeout) if limits else 120.0,
    )
    return open_server(Driver(spec.driver), settings, bucket=bucket, clock=clock)


def _media_servers(declared: Declared, places: Places) -> dict[str, MediaServer]:
    job = declared.job
    servers = job.spec.notify.media_servers if job.spec.notify else []
    return {
        each.name: open_media_server(each, places.secret(each.secret_ref.name, job.metadata.namespace))
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
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object a line")


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
        scope=Scope(tuple(path.strip("/") for path in arguments.path)),
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


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    return stop


def _tell_watch(hint: Hint) -> None:
    if hint.kind is HintKind.LOST:
        print(f"pantograph strm: the watch is lost, and begun anew: {hint.why}", file=sys.stderr, flush=True)
    elif hint.kind is HintKind.RESCAN:
        print("pantograph strm: watching", file=sys.stderr, flush=True)


def _shows(arguments: Namespace) -> bool:
    return sys.stderr.isatty() and not arguments.json


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
    if report.notified:
        print(f"  media servers were told of {report.notified} folders")
    for each in report.notify_failed:
        print(f"  {each.reason}: {each.message}; told later")
    for each in report.samples:
        print(f"  {each.reason} {each.path}: {each.message}")
