"""`DataServer`: one source of media, with the rate limit that all its jobs share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pantograph.api.base import CommonSpec, CommonStatus, KindInfo, PrinterColumn, Resource
from pantograph.api.markers import exactly_one_of
from pantograph.api.meta import GROUP, VERSION, CelRule, Duration, LocalReference, Model, ResourceType
from pantograph.api.strmsyncjob import ClaimVolume, RootVolume, SubPath

Endpoint = Annotated[str, Field(min_length=8, max_length=300, pattern=r"^https?://[^\s?#]+$")]


class LocalFolder(Model):
    """A folder that is mounted where the job runs."""

    cel: ClassVar = (exactly_one_of("root", "persistentVolumeClaim"),)

    root: RootVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None
    sentinel: SubPath | None = None
    """A file in the folder that is there only while the real volume is mounted. Absent: the volume is known by its
    device number, which network mounts change."""


class ServerLimits(Model):
    """How hard the server may be used, by all jobs together."""

    requests_per_minute: Annotated[int, Field(ge=1, le=60_000)] = 120
    """On average."""
    burst: Annotated[int, Field(ge=1, le=100)] = 4
    """So many may follow at once after a rest."""
    max_in_flight: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests under way at once."""
    cooldown: Duration = "60s"
    """How long the server is left alone after a ban or a limit, when it does not say; doubles each time."""
    list_timeout: Duration = "120s"
    """For one directory: clouds behind a server take their time."""
    max_runs: Annotated[int, Field(ge=1, le=16)] = 2
    """Runs at work at once; they share the limits above, and others wait for their turn."""


class DataServerSpec(CommonSpec):
    """How to reach one source of media."""

    cel: ClassVar = (
        CelRule("self.driver == 'Local' || has(self.endpoint)", "driver other than Local needs endpoint"),
        CelRule("self.driver != 'Local' || has(self.local)", "driver Local needs local"),
    )

    driver: Literal["OpenList", "CloudDrive2", "WebDAV", "Local"]
    endpoint: Endpoint | None = None
    """The server as the operator reaches it, such as `http://openlist:5244`."""
    credentials_ref: LocalReference | None = None
    """A Secret: `token`, or `username` and `password` (and `otp`, the seed of one-time passwords). Absent: a guest."""
    local: LocalFolder | None = None
    limits: ServerLimits | None = None


class DataServerStatus(CommonStatus):
    """What was seen of the source."""


class DataServer(Resource[DataServerSpec, DataServerStatus]):
    """One source of media."""

    info: ClassVar[KindInfo] = KindInfo(
        resource=ResourceType(GROUP, VERSION, "dataservers", "DataServer"),
        short_names=("dsrv",),
        columns=(
            PrinterColumn("Driver", "string", ".spec.driver"),
            PrinterColumn("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
        ),
    )
