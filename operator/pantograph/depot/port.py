"""The depot as its users see it: fetch, find, keep, and say where nodes download from."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from pantograph.depot.model import FetchRequest, FetchState, Image


class ImageDepot(Protocol):
    """`depot.Depot` is the real one; simulations have one without files."""

    def begin(self, request: FetchRequest, *, owner: str, since: datetime) -> FetchState:
        """Fetch for `owner` unless that runs or is done (see `state`). Whatever else `owner` wanted, it wants no more.

        A fetch that has failed is begun anew, with this request.
        """
        ...

    def state(self, request: FetchRequest, *, since: datetime) -> FetchState | None:
        """How far the fetch is; None if this process knows of none and none has brought the image.

        Without a checksum it is Done only with what the origin was seen to serve at `since` or later.
        """
        ...

    def abandon(self, owner: str) -> None:
        """`owner` wants no fetch any more. One that nobody wants is stopped."""
        ...

    def find(self, image_digest: str) -> Image | None:
        """The image of this digest, if it is stored."""
        ...

    def pin(self, owner: str, digests: Collection[str]) -> None:
        """From now on `owner` needs exactly these images (by image digest); they are never removed for others.

        Raises DepotFull or DepotUnusable if that cannot be noted; never for no images.
        """
        ...

    def url_for(self, image_digest: str, *, base_url: str, ttl_s: int = 900) -> str:
        """A URL below `base_url` that opens this image for `ttl_s` seconds. Raises ImageNotInDepot."""
        ...
