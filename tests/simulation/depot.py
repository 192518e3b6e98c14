"""A depot without files or sockets: fetches take virtual time, and what they brought survives the process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pantograph.clock import Clock
from pantograph.depot.errors import ChecksumMismatch, DepotError, ImageNotInDepot, SourceRefused
from pantograph.depot.model import FetchRequest, FetchState, Image, file_name
from tests.fakes.proxmox.images import inspect

BASE_URL = "http://depot.test:8081"
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class Disk:
    """What outlives a process: the origins' files, the stored images, and the bytes behind the depot's URLs."""

    origin: dict[str, bytes | DepotError] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    fetched: dict[str, tuple[Image, datetime]] = field(default_factory=dict)
    """By image key, and when the origin was seen to serve it."""
    served: dict[str, bytes] = field(default_factory=dict)
    """By URL without its query: what nodes download."""
    fetches: list[str] = field(default_factory=list)
    """The URL of every fetch that moved bytes."""
    confirmations: list[str] = field(default_factory=list)
    """The URL of every question whether an origin still serves what is stored; the answer was yes."""
    running: list[str] = field(default_factory=list)
    """The URLs that are being fetched now."""
    delays_s: dict[str, float] = field(default_factory=dict)
    """How much longer than its bytes take a URL needs, or how long it is tried again if it cannot be reached."""


class SimulatedDepot:
    """`ImageDepot` for one life of the simulated process."""

    def __init__(self, disk: Disk, clock: Clock, *, bytes_per_s: float = 20e6) -> None:
        self.disk = disk
        self._clock = clock
        self._rate = bytes_per_s
        self._running: dict[str, asyncio.Task[None]] = {}
        self._wanted: dict[str, str] = {}
        """The key of the fetch that each owner wants."""
        self._failed: dict[str, DepotError] = {}
        self._faults: dict[str, DepotError] = {}
        """Of fetches that are tried again."""
        self.pins: dict[str, set[str]] = {}

    def begin(self, request: FetchRequest, *, owner: str, since: datetime) -> FetchState:
        if self._wanted.get(owner) != request.key:
            self.abandon(owner)
        state = self.state(request, since=since)
        if state is not None and state.phase == "Done":
            return state
        self._wanted[owner] = request.key
        if request.key not in self._running:
            self._failed.pop(request.key, None)
            self._running[request.key] = asyncio.create_task(self._fetch(request))
        return FetchState("Running", "Downloading", error=self._faults.get(request.key))

    def state(self, request: FetchRequest, *, since: datetime) -> FetchState | None:
        image, seen_at = self._known(request)
        if image is not None and (request.checksum or seen_at >= since):
            return FetchState("Done", "Inspecting", image=image)
        if request.key in self._running:
            return FetchState("Running", "Downloading", error=self._faults.get(request.key))
        if (error := self._failed.get(request.key)) is not None:
            return FetchState("Failed", "Downloading", error=error)
        return None

    def abandon(self, owner: str) -> None:
        key = self._wanted.pop(owner, None)
        if key is not None and key in self._running and key not in self._wanted.values():
            self._running.pop(key).cancel()

    def find(self, image_digest: str) -> Image | None:
        return self.disk.images.get(image_digest)

    def pin(self, owner: str, digests: Collection[str]) -> None:
        self.pins[owner] = set(digests)

    def pinned(self) -> set[str]:
        """Every image that somebody needs."""
        return {digest for digests in self.pins.values() for digest in digests}

    def url_for(self, image_digest: str, *, base_url: str, ttl_s: int = 900) -> str:
        image = self.find(image_digest)
        if image is None:
            raise ImageNotInDepot(f"the depot does not hold the image {image_digest}")
        return f"{base_url}/images/{image_digest}/{image.file_name}?expires=1&signature=x"

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _known(self, request: FetchRequest) -> tuple[Image | None, datetime]:
        """The stored image that was brought last, and when its origin was seen to serve it."""
        image, seen_at = self.disk.fetched.get(request.image_key, (None, _NEVER))
        return (image if image is None else self.find(image.image_digest)), seen_at

    async def _fetch(self, request: FetchRequest) -> None:
        self.disk.running.append(request.url)
        task = asyncio.current_task()
        try:
            found = self.disk.origin.get(request.url)
            if found is None:
                raise SourceRefused(f"{request.source} answered 404 Not Found", code=404)
            if isinstance(found, DepotError):
                self._faults[request.key] = found
                await self._clock.sleep(self.disk.delays_s.get(request.url, 0.0))
                raise found
            await self._bring(request, found)
        except DepotError as error:
            self._failed[request.key] = error
        finally:
            self.disk.running.remove(request.url)
            self._faults.pop(request.key, None)
            if self._running.get(request.key) is task:
                del self._running[request.key]

    async def _bring(self, request: FetchRequest, data: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        image, _ = self._known(request)
        if image is not None and image.served_digest == digest:
            self.disk.confirmations.append(request.url)
            self.disk.fetched[request.image_key] = (image, self._clock.now())
            return
        self.disk.fetches.append(request.url)
        await self._clock.sleep(len(data) / self._rate + self.disk.delays_s.get(request.url, 0.0))
        self._store(request, data, digest)

    def _store(self, request: FetchRequest, data: bytes, digest: str) -> None:
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
        self.disk.fetched[request.image_key] = (image, self._clock.now())
        self.disk.served[f"{BASE_URL}/images/{digest}/{image.file_name}"] = data
