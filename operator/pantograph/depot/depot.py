"""The depot: begin a fetch, ask how far it is, find the image, hand out its URL.

A fetch is a task of this process, named by its key, and everything that it leaves lies on disk. So beginning it again
is always right: while it runs that changes nothing, when it is done the image is found, after a restart or a failure it
goes on from the bytes that are there. It has owners, each of which wants one fetch at most; it is stopped when nobody
wants it any more.

A declared checksum says which image is meant, whoever brought it and when. A URL without one means what its origin
serves at the time of the wish, so an image that is stored answers only for wishes from before it was seen there last;
for a later one the origin is asked, which costs no bytes as long as nothing has changed.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial as bound
from pathlib import Path
from random import Random
from typing import TypeVar

from pantograph.clock import Clock
from pantograph.depot.errors import (
    ChecksumMismatch,
    DepotError,
    DepotFull,
    DepotUnusable,
    ImageNotInDepot,
    UnsupportedImage,
)
from pantograph.depot.fetch import Fetcher, Patience, Served
from pantograph.depot.inspection import inspect
from pantograph.depot.model import FetchRequest, FetchState, Image, file_name
from pantograph.depot.policy import FetchPolicy
from pantograph.depot.progress import Meter
from pantograph.depot.signing import Signer, Verdict
from pantograph.depot.space import Space
from pantograph.depot.store import Fetched, Store
from pantograph.depot.unpack import Compression, compression_of, unpacked

_log = logging.getLogger(__name__)
_CLAIM_STEP_BYTES = 64 << 20
_VOLUME_FULL = (errno.ENOSPC, errno.EDQUOT)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DepotSettings:
    """What an installation may choose."""

    quota_bytes: int | None = None
    """For images and unfinished fetches together; None: as much as the volume holds."""
    image_limit_bytes: int = 2 << 40
    """The largest virtual disk, and the largest unpacked file, that is believed (2 TiB)."""
    parallel_fetches: int = 4
    parallel_downloads: int = 16
    """How many nodes are served at a time; the next one is told to come back."""
    patience: Patience = field(default_factory=Patience)
    policy: FetchPolicy = field(default_factory=FetchPolicy)


@dataclass(slots=True)
class _Fetch:
    """A fetch of this process: running, or failed."""

    meter: Meter
    wanted_by: set[str]
    """Owners. With the last of them the fetch ends."""
    since: float
    """The latest moment, in seconds since the epoch, of which anybody wants to know what the origin serves."""
    task: asyncio.Task[None] | None = None
    error: DepotError | None = None


class Depot:
    """The images of one installation, below `root`. One process fetches; any number may find and serve.

    `signing_key` is the installation's own, at least 16 bytes.
    """

    def __init__(
        self, root: Path, *, signing_key: bytes, clock: Clock, random: Random, settings: DepotSettings | None = None
    ) -> None:
        self.settings = settings or DepotSettings()
        self._clock = clock
        self._random = random
        self._signer = Signer(signing_key)
        self._store = Store(root)
        self._space = Space(self._store, quota_bytes=self.settings.quota_bytes)
        self._slots = asyncio.Semaphore(self.settings.parallel_fetches)
        self._executor = ThreadPoolExecutor(self.settings.parallel_fetches + 2, thread_name_prefix="depot")
        self._fetches: dict[str, _Fetch] = {}
        self._fetcher: Fetcher | None = None

    async def start(self) -> None:
        """Make ready to fetch: by the leader only, since it clears what an earlier process left behind.

        Finding and serving need no start. Raises OSError if the volume cannot be written.
        """
        await self._run(self._store.open)
        self._fetcher = Fetcher(
            policy=self.settings.policy,
            patience=self.settings.patience,
            clock=self._clock,
            random=self._random,
            run=self._run,
        )

    async def close(self) -> None:
        """Stop all fetches where they are; what they brought stays."""
        tasks = [fetch.task for fetch in self._fetches.values() if fetch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._fetcher is not None:
            await self._fetcher.close()
        await asyncio.to_thread(self._executor.shutdown)

    def begin(self, request: FetchRequest, *, owner: str, since: datetime) -> FetchState:
        """Fetch for `owner` unless that runs or is done (see `state`). Whatever else `owner` wanted, it wants no more.

        A fetch that has failed is begun anew, with this request.
        """
        self.abandon(owner, but=request.key)
        state = self.state(request, since=since)
        if state is not None and state.phase == "Done":
            return state
        if self._fetcher is None:
            raise RuntimeError("the depot has not been started")
        fetch = self._fetches.setdefault(request.key, _Fetch(Meter(self._clock), set(), since.timestamp()))
        fetch.wanted_by.add(owner)
        fetch.since = max(fetch.since, since.timestamp())
        if fetch.task is None:
            fetch.meter, fetch.error = Meter(self._clock), None
            fetch.task = asyncio.create_task(self._fetch(request, fetch, self._fetcher), name=f"fetch {request.source}")
            fetch.task.add_done_callback(bound(self._settle, request))
        return _running(fetch.meter)

    def abandon(self, owner: str, *, but: str | None = None) -> None:
        """`owner` wants no fetch any more, except that of the key `but`.

        A fetch that nobody wants is stopped; what it brought stays for the next one.
        """
        for key, fetch in list(self._fetches.items()):
            if key == but or owner not in fetch.wanted_by:
                continue
            fetch.wanted_by.discard(owner)
            if fetch.wanted_by:
                continue
            if fetch.task is None:
                del self._fetches[key]
            else:
                fetch.task.cancel()

    def state(self, request: FetchRequest, *, since: datetime) -> FetchState | None:
        """How far the fetch is; None if this process knows of none and none has brought the image.

        Without a checksum it is Done only with what the origin was seen to serve at `since` or later.
        """
        if (image := self.find_fetched(request, since=since)) is not None:
            return FetchState("Done", "Inspecting", image.size_bytes, image.size_bytes, image=image)
        fetch = self._fetches.get(request.key)
        if fetch is None:
            return None
        if fetch.task is not None:
            return _running(fetch.meter)
        meter = fetch.meter
        return FetchState("Failed", meter.stage, meter.bytes_done, meter.bytes_total, error=fetch.error)

    async def finished(self, request: FetchRequest, *, since: datetime) -> FetchState | None:
        """The state once no such fetch runs."""
        fetch = self._fetches.get(request.key)
        if fetch is not None and fetch.task is not None:
            await asyncio.wait([fetch.task])
        return self.state(request, since=since)

    def find(self, image_digest: str) -> Image | None:
        """The image of this digest, if it is stored."""
        return self._store.find(image_digest)

    def find_fetched(self, request: FetchRequest, *, since: datetime) -> Image | None:
        """The stored image that answers `request`, as `state` has it."""
        fetched = self._store.find_fetched(request.image_key)
        if fetched is None or (request.checksum is None and fetched.confirmed_at < since.timestamp()):
            return None
        return fetched.image

    def path(self, image: Image) -> Path:
        """The image's file. Notes that the image was used."""
        self._store.touch(image, now=self._clock.now().timestamp())
        return self._store.path(image)

    def pin(self, owner: str, digests: Collection[str]) -> None:
        """From now on `owner` needs exactly these images (by image digest); they are never removed for others.

        Raises DepotFull or DepotUnusable if the volume does not take the note; never for no images.
        """
        with _volume_faults():
            self._space.pin(owner, digests)

    def keep_owners(self, owners: Collection[str]) -> None:
        """Drop the pins of owners that are not among these."""
        self._space.keep_owners(owners)

    def used_bytes(self) -> int:
        """What images and unfinished fetches take on the volume."""
        return self._space.used_bytes()

    def url_for(self, image_digest: str, *, base_url: str, ttl_s: int = 900) -> str:
        """A URL below `base_url` that opens this image for `ttl_s` seconds. Raises ImageNotInDepot."""
        image = self.find(image_digest)
        if image is None:
            raise ImageNotInDepot(f"the depot does not hold the image {image_digest}")
        self._store.touch(image, now=self._clock.now().timestamp())
        expires = int(self._clock.now().timestamp()) + ttl_s
        signature = self._signer.sign(image_digest, expires=expires)
        path = f"images/{image_digest}/{image.file_name}"
        return f"{base_url.rstrip('/')}/{path}?expires={expires}&signature={signature}"

    def check_signature(self, image_digest: str, *, expires: str, signature: str) -> Verdict:
        """Whether a URL with this expiry and signature opens the image now."""
        return self._signer.check(image_digest, expires=expires, signature=signature, now=self._clock.now())

    async def _fetch(self, request: FetchRequest, fetch: _Fetch, fetcher: Fetcher) -> None:
        """Unless the origin still serves what is stored: download, verify, unpack, inspect, let the image be seen."""
        async with self._slots:
            try:
                with _volume_faults():
                    await self._run(self._space.claim, request.key, self._store.partial(request.key).size_bytes)
                    if not await self._is_still_right(request, fetch, fetcher):
                        await self._steps(request, fetch, fetcher)
            finally:
                self._space.release(request.key)
                await self._run(bound(self._store.scratch(request.key).unlink, missing_ok=True))

    async def _is_still_right(self, request: FetchRequest, fetch: _Fetch, fetcher: Fetcher) -> bool:
        """Whether what is stored answers the request; noted, if the origin had to be asked."""
        known = await self._run(self._store.find_fetched, request.image_key)
        if known is None or request.checksum is not None:
            return known is not None
        if not await fetcher.still_serves(request, known.validators, meter=fetch.meter):
            return False
        await self._run(bound(self._store.confirm, request.image_key, known, now=self._seen_at(fetch)))
        return True

    async def _steps(self, request: FetchRequest, fetch: _Fetch, fetcher: Fetcher) -> None:
        partial, meter = self._store.partial(request.key), fetch.meter
        try:
            served = await self._verified(request, meter, fetcher)
            compression = await self._run(compression_of, partial.path)
            if compression is None:
                file, image_digest = partial.path, served.digest
            else:
                file, image_digest = await self._plain(request, compression, meter)
            meter.start("Inspecting")
            found = await self._run(bound(inspect, file, limit_bytes=self.settings.image_limit_bytes))
        except (ChecksumMismatch, UnsupportedImage):
            await self._run(partial.condemn)
            raise
        image = Image(
            served_digest=served.digest,
            image_digest=image_digest,
            format=found.format,
            virtual_size_bytes=found.virtual_size_bytes,
            size_bytes=file.stat().st_size,
            file_name=file_name(image_digest, found.format),
        )
        fetched = Fetched(image, partial.validators, self._seen_at(fetch))
        await self._run(self._store.add, request.image_key, fetched, file)
        await self._run(partial.discard)

    async def _verified(self, request: FetchRequest, meter: Meter, fetcher: Fetcher) -> Served:
        """The whole file as served, equal to the declared checksum. Raises ChecksumMismatch.

        A file that was put together from several connections gets a second chance, in one piece: the fault may lie in
        the seam.
        """
        partial = self._store.partial(request.key)

        async def claim(size_bytes: int) -> None:
            await self._run(self._space.claim, request.key, size_bytes)

        served = await fetcher.download(request, partial, meter=meter, claim=claim)
        if served.patched and _differs(request, served):
            _log.info("%s differs from its checksum after it was resumed: fetching it anew", request.source)
            await self._run(partial.discard)
            served = await fetcher.download(request, partial, meter=meter, claim=claim)
        if _differs(request, served):
            raise ChecksumMismatch(
                f"{request.source} has {served.declared_digest}, declared is {request.checksum}",
                remedy="set spec.source.http.checksum to what the publisher states, or replace the file at its origin",
            )
        return served

    async def _plain(self, request: FetchRequest, compression: Compression, meter: Meter) -> tuple[Path, str]:
        """Unpack in steps of one chunk; the plain file and its digest."""
        source, target = self._store.partial(request.key).path, self._store.scratch(request.key)
        packed_bytes = source.stat().st_size
        chunks = unpacked(source, compression, limit_bytes=self.settings.image_limit_bytes)
        digest = hashlib.sha256()
        meter.start("Unpacking")
        claimed = 0
        with target.open("wb") as file:

            def step() -> int:
                chunk = next(chunks, b"")
                file.write(chunk)
                digest.update(chunk)
                return len(chunk)

            while size := await self._run(step):
                meter.add(size)
                if meter.bytes_done > claimed:
                    claimed = meter.bytes_done + _CLAIM_STEP_BYTES
                    await self._run(self._space.claim, request.key, packed_bytes + claimed)
        return target, f"sha256:{digest.hexdigest()}"

    def _seen_at(self, fetch: _Fetch) -> float:
        """Now; but no wish that the fetch answers is later, whatever the clock did meanwhile."""
        return max(self._clock.now().timestamp(), fetch.since)

    def _settle(self, request: FetchRequest, task: asyncio.Task[None]) -> None:
        """Keep the error of a fetch that failed, for who wants it; a fetch that is done is found on disk."""
        fetch = self._fetches.pop(request.key)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, DepotError):
            _log.error("fetching %s failed unexpectedly", request.source, exc_info=error)
            error = DepotUnusable(f"fetching {request.source} failed unexpectedly ({type(error).__name__})")
        if fetch.wanted_by:
            fetch.task, fetch.error = None, error
            self._fetches[request.key] = fetch

    async def _run(self, function: Callable[..., T], /, *args: object) -> T:
        """`function` in a thread. A fetch that is stopped waits for it: the next one of its key uses the same files."""
        job = asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            raise


def _running(meter: Meter) -> FetchState:
    return FetchState(
        "Running", meter.stage, meter.bytes_done, meter.bytes_total, meter.rate_bytes_s, error=meter.fault
    )


def _differs(request: FetchRequest, served: Served) -> bool:
    return request.checksum is not None and request.checksum != served.declared_digest


@contextmanager
def _volume_faults() -> Iterator[None]:
    """Turn what the volume raises into what a person can act on."""
    try:
        yield
    except OSError as fault:
        if fault.errno in _VOLUME_FULL:
            raise DepotFull("the depot's volume is full", remedy="give the depot a larger volume") from fault
        raise DepotUnusable(
            f"the depot's volume failed: {fault.strerror or type(fault).__name__}",
            remedy="look at the volume and its permissions",
        ) from fault
