"""The depot as its users see it: fetch, find, keep, and say where nodes download from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from pantograph.depot.model import FetchRequest, FetchState, Image


class ImageDepot(Protocol):
    """`depot.Depot` is the real one; simulations have one without files."""

    def begin(self, request: FetchRequest) -> FetchState:
        """Fetch unless that runs or is done. A fetch that has failed is begun anew, with this request."""
        ...

    def state(self, key: str) -> FetchState | None:
        """How far the fetch of `key` is; None if this process knows of none and none has brought an image."""
        ...

    def find(self, image_digest: str) -> Image | None:
        """The image of this digest, if it is stored."""
        ...

    def pin(self, owner: str, digests: Collection[str]) -> None:
        """From now on `owner` needs exactly these images (by image digest); they are never removed for others."""
        ...

    def url_for(self, image_digest: str, *, base_url: str, ttl_s: int = 900) -> str:
        """A URL below `base_url` that opens this image for `ttl_s` seconds. Raises ImageNotInDepot."""
        ...
