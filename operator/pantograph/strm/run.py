"""One run, from opening its target to telling the media servers, whatever happens between."""

from __future__ import annotations

from pantograph.providers.errors import ProviderError
from pantograph.strm.errors import StrmError
from pantograph.strm.faults import fault_of_target
from pantograph.strm.opening import opened
from pantograph.strm.phases import mirror, tell_media_servers
from pantograph.strm.report import Report
from pantograph.strm.request import Request, Surroundings
from pantograph.strm.spec import Job

__all__ = ["Request", "Surroundings", "execute"]


async def execute(job: Job, request: Request, around: Surroundings) -> Report:
    """Do one run, or what an interrupted one left to do; the report says how it went, whatever happens.

    Raises nothing that the report can say. An unfinished run (a kill, a cancelled task) is resumed by the next request
    with the same spec and scope.
    """
    report = Report(run=request.run, trigger=request.trigger, dry_run=request.dry_run or job.dry_run)
    began = around.clock.monotonic()
    try:
        with opened(job, request, around, report) as run:
            if run is None:
                return report
            if not request.notify_only:
                await mirror(run)
            await tell_media_servers(run)
    except (StrmError, ProviderError) as error:
        report.fail(error)
    except OSError as error:
        report.fail(fault_of_target(around.root, error))
    report.duration_s = around.clock.monotonic() - began
    return report
