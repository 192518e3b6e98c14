"""A depot without files or sockets: fetches take virtual time, and what they brought survives the process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from pantograph.clock import Clock
from pantograph.depot.errors import ChecksumMismatch, DepotError, ImageNotInDepot, SourceRefused
from pantograph.depot.model import FetchRequest, FetchState, Image, file_name
from tests.fakes.proxmox.images import inspect

BASE_URL = "http://depot.test:8081"


@dataclass
class Disk:
    """What outlives a process: the origins' files, the stored images, and the bytes behind the depot's URLs."""

    origin: dict[str, bytes | DepotError] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    fetched: dict[str, Image] = field(default_factory=dict)
    served: dict[str, bytes] = field(default_factory=dict)
    """By URL without its query: what nodes download."""
    fetches: list[str] = field(default_factory=list)
    """The URL of every fetch that was begun."""


class SimulatedDepot:
    """`ImageDepot` for one life of the simulated process."""

    def __init__(self, disk: Disk, clock: Clock, *, bytes_per_s: float = 20e6) -> None:
        self.disk = disk
        self._clock = clock
        self._rate = bytes_per_s
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, DepotError] = {}
        self.pins: dict[str, set[str]] = {}

    def begin(self, request: FetchRequest) -> FetchState:
        state = self.state(request.key)
        if state is not None and state.phase != "Failed":
            return state
        self._failed.pop(request.key, None)
        self.disk.fetches.append(request.url)
        self._running[request.key] = asyncio.create_task(self._fetch(request))
        return FetchState("Running", "Downloading")

    def state(self, key: str) -> FetchState | None:
        if key in self._running:
            return FetchState("Running", "Downloading")
        if (image := self.disk.fetched.get(key)) is not None:
            return FetchState("Done", "Inspecting", image=image)
        if (error := self._failed.get(key)) is not None:
            return FetchState("Failed", "Downloading", error=error)
        return None

    def find(self, image_digest: str) -> Image | None:
        return self.disk.images.get(image_digest)

    def pin(self, owner: str, digests: Collection[str]) -> None:
        self.pins[owner] = set(digests)

    def url_for(self, image_digest: str, *, base_url: str, ttl_s: int = 900) -> str:
        image = self.find(image_digest)
        if image is None:
            raise ImageNotInDepot(f"the depot does not hold the image {image_digest}")
        return f"{base_url}/images/{image_digest}/{image.file_name}?expires=1&signature=x"

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _fetch(self, request: FetchRequest) -> None:
        try:
            found = self.disk.origin.get(request.url)
            if found is None:
                raise SourceRefused(f"{request.source} answered 404 Not Found", code=404)
            if isinstance(found, DepotError):
                raise found
            await self._clock.sleep(len(found) / self._rate)
            self._store(request, found)
        except DepotError as error:
            self._failed[request.key] = error
        finally:
            self._running.pop(request.key, None)

    def _store(self, request: FetchRequest, data: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if request.checksum not in (None, digest):
            raise ChecksumMismatch(
                f"{request.source} has {digest}, declared is {request.checksum}", remedy="correct it"
            )
        info = inspect(data[:512], size=len(data))
        image = Image(
            served_digest=digest,
            image_digest=digest,
            format="qcow2" if info.format == "qcow2" else "raw",
            virtual_size_bytes=info.virtual_size,
            size_bytes=len(data),
            file_name=file_name(digest, "qcow2" if info.format == "qcow2" else "raw"),
        )
        self.disk.images[digest] = image
        self.disk.fetched[request.key] = replace(image)
        self.disk.served[f"{BASE_URL}/images/{digest}/{image.file_name}"] = data
