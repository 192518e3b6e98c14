"""`DataServer`: one source of media, with the rate limit that all its jobs share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from pantograph.api.base import CommonStatus, KindInfo, PrinterColumn, Resource
from pantograph.api.markers import ListSet
from pantograph.api.meta import GROUP, VERSION, ResourceType
from pantograph.api.serverspec import DataServerSpec
from pantograph.api.units import Timestamp


class DataServerStatus(CommonStatus):
    """What was seen of the source."""

    reachable: bool | None = None
    """Whether it answered the operator last; absent: the operator cannot see it."""
    product: Annotated[str, Field(max_length=64)] | None = None
    """What it says it is."""
    version: Annotated[str, Field(max_length=64)] | None = None
    """What it says its version is."""
    logged_in: bool | None = None
    """Whether it took the credentials, or, for CloudDrive2, is logged in to its own account."""
    refused_secret_version: Annotated[str, Field(max_length=64)] | None = None
    """The resourceVersion of the Secret whose credentials were refused (`guest`: there was none): nobody logs in with
    them again."""
    cooldown_until: Timestamp | None = None
    """The server wants to be left alone until then; no run begins."""
    capabilities: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=16), ListSet()] | None = None
    """What can be had from it: `watch`, `http`, `mount`, `pickcode`, `sign`, `completeListings`."""
    active_runs: Annotated[int, Field(ge=0)] = 0
    """Runs at work on it."""
    notes: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=8), ListSet()] | None = None
    """What works but is worth a word."""


class DataServer(Resource[DataServerSpec, DataServerStatus]):
    """One source of media."""

    info: ClassVar[KindInfo] = KindInfo(
        resource=ResourceType(GROUP, VERSION, "dataservers", "DataServer"),
        short_names=("dsrv",),
        columns=(
            PrinterColumn("Driver", "string", ".spec.driver"),
            PrinterColumn("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Version", "string", ".status.version"),
            PrinterColumn("Runs", "integer", ".status.activeRuns"),
            PrinterColumn("Cooldown", "string", ".status.cooldownUntil", priority=1),
            PrinterColumn("Message", "string", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
        ),
    )
