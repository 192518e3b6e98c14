"""Where the bytes of the simulated files lie: in memory, on disk, or nowhere (their hash only).

A path is `<owner>:<path on the node>`; the owner is a node's name, or `*` for a shared storage. Copies keep the bytes
as they are, whatever format the copy is said to have: `sha256` of a disk equals that of the image it came from.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Blob:
    size: int
    sha256: str
    header: bytes
    """The first bytes: enough to read an image's format and virtual size."""
    digests: dict[str, str] = field(default_factory=dict)
    """Other digests that were asked for when it was written, by algorithm."""


class NoSpace(Exception):
    """No space left on device."""


class Blobs(Protocol):
    async def write(
        self, path: str, chunks: AsyncIterator[bytes], *, room: int | None, algorithm: str | None = None
    ) -> Blob:
        """Store the stream; also hash it by `algorithm`. Raises `NoSpace` beyond `room` bytes, leaving nothing."""
        ...

    async def copy(self, source: str, target: str) -> Blob: ...
    async def digest(self, path: str, algorithm: str) -> str: ...
    def rename(self, source: str, target: str) -> None: ...
    def delete(self, path: str) -> None: ...
    def get(self, path: str) -> Blob | None: ...
    def read(self, path: str) -> bytes: ...


class _Hashing:
    """Hashes a stream as it passes."""

    def __init__(self, algorithm: str | None) -> None:
        self._hashes = {name: hashlib.new(name) for name in {"sha256", algorithm or "sha256"}}
        self._header = b""
        self.size = 0

    def update(self, chunk: bytes) -> None:
        for digest in self._hashes.values():
            digest.update(chunk)
        if len(self._header) < HEADER_BYTES:
            self._header = (self._header + chunk)[:HEADER_BYTES]
        self.size += len(chunk)

    def check_room(self, room: int | None) -> None:
        if room is not None and self.size > room:
            raise NoSpace(f"{self.size} bytes, room for {room}")

    def blob(self) -> Blob:
        digests = {name: digest.hexdigest() for name, digest in self._hashes.items()}
        return Blob(self.size, digests["sha256"], bytes(self._header), digests)


class _Recorded:
    """What the three stores share: a record per path."""

    def __init__(self) -> None:
        self._blobs: dict[str, Blob] = {}

    def get(self, path: str) -> Blob | None:
        return self._blobs.get(path)

    def _must(self, path: str) -> Blob:
        blob = self._blobs.get(path)
        if blob is None:
            raise FileNotFoundError(path)
        return blob


class MemoryBlobs(_Recorded):
    """Bytes in memory; a copy shares them with its source."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes: dict[str, bytes] = {}

    async def write(
        self, path: str, chunks: AsyncIterator[bytes], *, room: int | None, algorithm: str | None = None
    ) -> Blob:
        hashing, parts = _Hashing(algorithm), []
        async for chunk in chunks:
            hashing.update(chunk)
            hashing.check_room(room)
            parts.append(chunk)
        self._bytes[path] = b"".join(parts)
        self._blobs[path] = blob = hashing.blob()
        return blob

    async def copy(self, source: str, target: str) -> Blob:
        blob = self._must(source)
        self._bytes[target], self._blobs[target] = self._bytes[source], blob
        return blob

    async def digest(self, path: str, algorithm: str) -> str:
        blob = self._must(path)
        return blob.digests.get(algorithm) or hashlib.new(algorithm, self._bytes[path]).hexdigest()

    def rename(self, source: str, target: str) -> None:
        self._bytes[target], self._blobs[target] = self._bytes.pop(source), self._blobs.pop(source)

    def delete(self, path: str) -> None:
        self._bytes.pop(path, None)
        self._blobs.pop(path, None)

    def read(self, path: str) -> bytes:
        self._must(path)
        return self._bytes[path]


class HashBlobs(_Recorded):
    """Hashes and discards: for measurements where the bytes must flow but need no room."""

    async def write(
        self, path: str, chunks: AsyncIterator[bytes], *, room: int | None, algorithm: str | None = None
    ) -> Blob:
        hashing = _Hashing(algorithm)
        async for chunk in chunks:
            hashing.update(chunk)
            hashing.check_room(room)
        self._blobs[path] = blob = hashing.blob()
        return blob

    async def copy(self, source: str, target: str) -> Blob:
        self._blobs[target] = blob = self._must(source)
        return blob

    async def digest(self, path: str, algorithm: str) -> str:
        known = self._must(path).digests.get(algorithm)
        if known is None:
            raise ValueError(f"{path}: its bytes were discarded; {algorithm} was not asked for when they passed")
        return known

    def rename(self, source: str, target: str) -> None:
        self._blobs[target] = self._blobs.pop(source)

    def delete(self, path: str) -> None:
        self._blobs.pop(path, None)

    def read(self, path: str) -> bytes:
        raise ValueError(f"{path}: its bytes were discarded")


class DiskBlobs(_Recorded):
    """Real files below `root/<owner>/<path on the node>`."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def file(self, path: str) -> Path:
        owner, _, inner = path.partition(":")
        return self._root / ("shared" if owner == "*" else owner) / inner.lstrip("/")

    async def write(
        self, path: str, chunks: AsyncIterator[bytes], *, room: int | None, algorithm: str | None = None
    ) -> Blob:
        hashing, file = _Hashing(algorithm), self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("wb") as out:
                async for chunk in chunks:
                    hashing.update(chunk)
                    hashing.check_room(room)
                    out.write(chunk)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        self._blobs[path] = blob = hashing.blob()
        return blob

    async def copy(self, source: str, target: str) -> Blob:
        blob = self._must(source)
        destination = self.file(target)
        destination.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(shutil.copyfile, self.file(source), destination)
        self._blobs[target] = blob
        return blob

    async def digest(self, path: str, algorithm: str) -> str:
        self._must(path)
        return await asyncio.to_thread(_digest_of_file, self.file(path), algorithm)

    def rename(self, source: str, target: str) -> None:
        self.file(target).parent.mkdir(parents=True, exist_ok=True)
        self.file(source).rename(self.file(target))
        self._blobs[target] = self._blobs.pop(source)

    def delete(self, path: str) -> None:
        self.file(path).unlink(missing_ok=True)
        self._blobs.pop(path, None)

    def read(self, path: str) -> bytes:
        self._must(path)
        return self.file(path).read_bytes()


def _digest_of_file(file: Path, algorithm: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()
