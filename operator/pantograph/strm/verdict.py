"""How a run went: its result and reason, by what was listed, written, failed and held back."""

from __future__ import annotations

from pantograph.strm.opening import Opened
from pantograph.strm.walk import Walk


def conclude(run: Opened, walk: Walk) -> None:
    """Put it into the report."""
    report, inventory = run.report, run.manifest.files.inventory()
    report.inventory_strm, report.inventory_sidecars = inventory.get("strm", 0), inventory.get("sidecar", 0)
    if report.result == "Failed":
        return
    if run.stopped():
        report.result, report.reason = "Cancelled", "Cancelled"
    elif walk.root_error:
        report.result, report.reason = "Failed", "SourceUnusable"
        report.message = f"{run.job.source} cannot be listed: {walk.root_error}"
    elif report.reason == "RewriteLimit":
        report.result = "Blocked"
    elif report.prune_blocked:
        report.result, report.reason, report.message = "Blocked", "PruneBlocked", report.prune_blocked
    elif report.failed or report.incomplete_dirs:
        report.result, report.reason = "Degraded", "Incomplete" if report.incomplete_dirs else "WriteFailed"
        report.message = f"{report.incomplete_dirs} directories incomplete, {report.failed} files failed" + (
            f": {report.first_failure}" if report.first_failure else ""
        )
    elif report.dry_run:
        report.reason = "DryRun"
        report.message = (
            f"nothing was written: {report.created} files would be made, {report.updated} written anew, "
            f"{report.pruned} removed"
        )


def was_whole(run: Opened, walk: Walk) -> bool:
    """Whether all of the source was listed by this spec, and nothing is left of it."""
    whole = run.request.scope.is_whole and run.report.result in ("Succeeded", "Blocked")
    return whole and not run.report.incomplete_dirs and run.report.reason != "RewriteLimit" and not walk.frontier
