"""The command line of `pantograph strm`, and what it asks for."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

from pantograph.api.units import parse_duration
from pantograph.cli import strm_ordered
from pantograph.strm.prune import Approval
from pantograph.strm.run import Request
from pantograph.strm.runner import Places
from pantograph.strm.subtrees import Subtrees


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
        strm_ordered.configure(each)
    for each in (run, purge):
        each.add_argument("--expect-records", action="store_true", help="a purge of a target without records fails")
    rewrite.set_defaults(trigger="manual", purge=False)
    purge.set_defaults(trigger="manual", purge=True)
    watch.add_argument(
        "--min-interval", type=_duration, default="10s", metavar="DURATION", help="between two runs (10s)"
    )
    back.add_argument("run_name", metavar="RUN", help="the run whose removals are undone")
    listed.add_argument("run_name", metavar="RUN", help="the run that listed them, as --approve-prune names it")


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


def places_of(arguments: Namespace) -> Places:
    """Where the volumes and Secrets are that the spec names."""
    return Places(roots=dict(arguments.root), claims=dict(arguments.claim), secrets=dict(arguments.secret))


def request_of(arguments: Namespace) -> Request:
    """What `run` or `rewrite` asks of the engine. Raises StrmError for what is no name of a run."""
    if arguments.action == "rewrite":
        return _rewrite_request(arguments)
    approval = None
    if arguments.approve_prune:
        approval = Approval(run=arguments.approve_prune, digest=arguments.approve_digest)
    return Request(
        run=arguments.run_name or new_name(),
        trigger=arguments.trigger,
        scope=Subtrees(tuple(path.strip("/") for path in arguments.path), shallow=arguments.shallow),
        approve_prune=approval,
        approve_rewrite=arguments.approve_rewrite,
        rebuild_manifest=arguments.rebuild_manifest,
        notify_only=arguments.notify_only,
        dry_run=arguments.dry_run,
    )


def _rewrite_request(arguments: Namespace) -> Request:
    return Request(
        run=arguments.run_name or new_name(),
        approve_rewrite=arguments.approve_rewrite,
        rewrite_only=True,
        dry_run=arguments.dry_run,
    )


def new_name() -> str:
    """Of a run that nobody named: when it began, and something that no other has."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{SystemRandom().getrandbits(16):04x}"
