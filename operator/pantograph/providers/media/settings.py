"""What a driver is told about its source: where, with which files of credentials, and how patient to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """A server that is reached over the network."""

    name: str
    """As messages name it, for example `DataServer media/openlist`."""
    endpoint: str
    """http(s)://host[:port][/sub-path], as the driver reaches it."""
    credentials: Path | Mapping[str, str] | None = field(default=None, repr=False)
    """The directory of a mounted Secret, or a Secret's values, with `token`, or `username`, `password` and perhaps
    `otp`; None: a guest."""
    ca_pem: str | None = None
    """Authorities to trust beside the system's, PEM."""
    list_timeout_s: float = 120.0
    """For one whole answer; a cloud behind the server may take its time over a big directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """A folder of this machine."""

    name: str
    root: Path
    above: Path | None = None
    """The volume that `root` lies in: no link between the two is followed. None: `root` itself."""
    sentinel: str | None = None
    """A file below the root, relative to it, that is there only while the real volume is mounted."""
    holds_volume: bool = False
    """The device that is seen first must be there at every further look: one that is unmounted meanwhile is noticed
    without a sentinel, too. For one run; who stays longer must bear a volume that is mounted anew."""
    list_timeout_s: float = 120.0
    """For one call: a listing, a look, a piece of a file. What takes longer counts as a mount that hangs."""
    concurrent: int = 4
    """Calls under way at once: so many threads a mount that hangs can hold."""
    poll_interval_s: float = 30.0
    """Between two looks where the kernel cannot tell of changes (network and FUSE file systems)."""
