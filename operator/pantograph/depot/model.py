"""What the depot is asked and what it answers: values only, shared by all its parts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from yarl import URL

from pantograph.depot.errors import DepotError

Format = Literal["qcow2", "raw", "vmdk"]
Stage = Literal["Downloading", "Verifying", "Unpacking", "Inspecting"]

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One file that is wanted.

    `checksum` is `sha256:<hex>` or `sha512:<hex>` of the file as served, before it is unpacked. `headers` are secret.
    `scope` is the namespace of who asks; it counts only when credentials (headers, or a user in the URL) are used:
    what they open is shared only inside that namespace.

    Raises ValueError for a malformed checksum and for credentials without a scope.
    """

    url: str = field(repr=False)
    checksum: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    scope: str | None = None

    def __post_init__(self) -> None:
        if self.checksum is not None:
            object.__setattr__(self, "checksum", self.checksum.lower())
            if not _CHECKSUM.fullmatch(self.checksum):
                raise ValueError(f"checksum {self.checksum!r} is neither sha256:<64 hex> nor sha512:<128 hex>")
        if self.has_credentials and not self.scope:
            raise ValueError("a fetch with credentials needs a scope: the namespace whose credentials they are")

    @property
    def has_credentials(self) -> bool:
        """Whether the fetch shows the origin something that not everybody knows."""
        return bool(self.headers) or "@" in self.url.partition("://")[2].partition("/")[0]

    @property
    def key(self) -> str:
        """Equal keys share one fetch: a hash of URL and checksum; with credentials, `@<scope>`.

        The checksum alone would let whoever declares it first, with an origin that drips or lies, hold up all others.
        """
        what = f"{self.url} {self.checksum}" if self.checksum else self.url
        return f"url:{hashlib.sha256(what.encode()).hexdigest()}{self._share}"

    @property
    def image_key(self) -> str:
        """Equal image keys find one image, whoever fetched it: the declared checksum, else a hash of the URL."""
        return f"{self.checksum}{self._share}" if self.checksum else self.key

    @property
    def _share(self) -> str:
        return f"@{self.scope}" if self.has_credentials else ""

    @property
    def source(self) -> str:
        """The URL as it may be shown: without user, query and fragment."""
        return redacted(self.url)


@dataclass(frozen=True, slots=True)
class Image:
    """One stored image. Digests are `sha256:<hex>`."""

    served_digest: str
    """Of the file as the origin served it."""
    image_digest: str
    """Of the stored, unpacked file: what a node verifies."""
    format: Format
    virtual_size_bytes: int
    """What the guest sees as its disk."""
    size_bytes: int
    """Of the stored file."""
    file_name: str
    """`pantograph-<16 hex of image_digest>.<format>`: the mark of a staged file, its extension what Proxmox checks."""


@dataclass(frozen=True, slots=True)
class FetchState:
    """How far a fetch is. `image` is there exactly when Done."""

    phase: Literal["Running", "Done", "Failed"]
    stage: Stage
    bytes_done: int = 0
    """Of the current stage: read from the origin, or written while unpacking."""
    bytes_total: int | None = None
    rate_bytes_s: float = 0.0
    image: Image | None = None
    error: DepotError | None = None
    """Why it Failed; of one that is Running, why it is trying again."""


def file_name(image_digest: str, image_format: Format) -> str:
    """The name of the image's file on a node."""
    return f"pantograph-{image_digest.removeprefix('sha256:')[:16]}.{image_format}"


def redacted(url: str | URL) -> str:
    """`url` without user, query and fragment, for messages and logs; a query that was there is shown as `?…`."""
    try:
        parsed = URL(url)
        shown = str(parsed.with_user(None).with_query(None).with_fragment(None))
    except ValueError:
        return "(malformed URL)"
    return f"{shown}?…" if parsed.query_string else shown


def human_size(size_bytes: int) -> str:
    """`size_bytes` in the binary unit that reads best, as in `1.5 GiB`."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
