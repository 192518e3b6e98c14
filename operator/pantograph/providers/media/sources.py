"""The one place that knows every driver by its name."""

from __future__ import annotations

from enum import StrEnum

from pantograph.clock import Clock
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.local import Local
from pantograph.providers.media.openlist import OpenList
from pantograph.providers.media.port import MediaSource
from pantograph.providers.media.settings import LocalSettings, ServerSettings
from pantograph.providers.media.webdav import WebDav


class Driver(StrEnum):
    """How a server is spoken to; a folder is `Local`."""

    OPENLIST = "OpenList"
    CLOUDDRIVE2 = "CloudDrive2"
    WEBDAV = "WebDAV"


def open_server(driver: Driver, settings: ServerSettings, *, bucket: RateBucket, clock: Clock) -> MediaSource:
    """Connects to nobody yet. Must be called on the event loop; raises `Rejected` for settings that cannot be used."""
    if driver is Driver.OPENLIST:
        return OpenList(settings, bucket=bucket, clock=clock)
    if driver is Driver.WEBDAV:
        return WebDav(settings, bucket=bucket, clock=clock)
    # Here and not above: a process that has gRPC loaded starts threads, and must not be forked.
    from pantograph.providers.media.clouddrive2 import CloudDrive2

    return CloudDrive2(settings, bucket=bucket, clock=clock)


def open_folder(settings: LocalSettings, *, clock: Clock) -> MediaSource:
    """A folder needs no bucket: it is this machine's."""
    return Local(settings, clock=clock)
