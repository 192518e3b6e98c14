"""What a run says on a terminal, or as JSON, while it is at work and at its end."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable

from pantograph.strm.report import Progress, Report

Show = Callable[[Progress], None]


def shower(arguments: Namespace) -> Show:
    """What is done with progress: on a terminal it is shown, on one line."""
    return _show if sys.stderr.isatty() and not arguments.json else _show_nothing


def wipe(show: Show) -> None:
    """The line of progress goes, if there is one."""
    if show is _show:
        print("\r\x1b[K", end="", file=sys.stderr)


def _show_nothing(_: Progress) -> None:
    """Nobody looks."""


def _show(progress: Progress) -> None:
    share = "" if progress.percent is None else f" {progress.percent} %"
    line = (
        f"{progress.phase}{share}: {progress.dirs_done}/{progress.dirs_known} directories, {progress.files_seen} files"
    )
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def print_report(report: Report, *, as_json: bool) -> None:
    """The result, on standard output."""
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
    for line in report.why_links_differ:
        print(f"  {line}")
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
