"""The one place that knows every driver by its name, and imports it when it is chosen.

Not before: a run needs one of them, and would pay for the others at every start. And a process that has gRPC loaded has
threads, and must not be forked.
"""

from __future__ import annotations

from enum import StrEnum

from pantograph.clock import Clock
from pantograph.providers.media.bucket import RateBucket
from pantograph.providers.media.port import MediaSource
from pantograph.providers.media.settings import LocalSettings, ServerSettings


class Driver(StrEnum):
    """How a server is spoken to; a folder is `Local`."""

    OPENLIST = "OpenList"
    CLOUDDRIVE2 = "CloudDrive2"
    WEBDAV = "WebDAV"


def open_server(driver: Driver, settings: ServerSettings, *, bucket: RateBucket, clock: Clock) -> MediaSource:
    """Connects to nobody yet. Must be called on the event loop; raises `Rejected` for settings that cannot be used."""
    if driver is Driver.OPENLIST:
        from pantograph.providers.media.openlist import OpenList

        return OpenList(settings, bucket=bucket, clock=clock)
    if driver is Driver.WEBDAV:
        from pantograph.providers.media.webdav import WebDav

        return WebDav(settings, bucket=bucket, clock=clock)
    from pantograph.providers.media.clouddrive2 import CloudDrive2

    return CloudDrive2(settings, bucket=bucket, clock=clock)


def open_folder(settings: LocalSettings, *, clock: Clock) -> MediaSource:
    """A folder needs no bucket: it is this machine's."""
    from pantograph.providers.media.local import Local

    return Local(settings, clock=clock)
