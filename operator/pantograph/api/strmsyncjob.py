"""`StrmSyncJob`: a media tree on a `DataServer`, and the directory of `.strm` files that mirrors it."""

from __future__ import annotations

from typing import ClassVar

from pantograph.api.base import KindInfo, PrinterColumn, Resource
from pantograph.api.meta import GROUP, VERSION, Key, ResourceType
from pantograph.api.strmspec import StrmSyncJobSpec
from pantograph.api.strmstatus import StrmSyncJobStatus


class StrmSyncJob(Resource[StrmSyncJobSpec, StrmSyncJobStatus]):
    """A media tree mirrored as a tree of `.strm` files."""

    info: ClassVar[KindInfo] = KindInfo(
        resource=ResourceType(GROUP, VERSION, "strmsyncjobs", "StrmSyncJob"),
        short_names=("ssj",),
        columns=(
            PrinterColumn("Server", "string", ".spec.serverRef.name"),
            PrinterColumn("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Phase", "string", ".status.run.phase"),
            PrinterColumn("Progress", "integer", ".status.run.percent", description="Per cent"),
            PrinterColumn("Files", "integer", ".status.inventory.strm"),
            PrinterColumn("Last", "date", ".status.lastRun.endedAt"),
            # Not a date: kubectl shows a point in time to come as <invalid>.
            PrinterColumn("Next", "string", ".status.nextRunTime"),
            PrinterColumn("Result", "string", ".status.lastRun.result", priority=1),
            PrinterColumn("Message", "string", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
        ),
    )

    def refers_to(self) -> tuple[Key, ...]:
        return (self.spec.server_ref.key("DataServer", self.metadata.namespace),)
