"""Compressed images made plain: recognised by content, read as a stream, never more than a few chunks in memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from backports import zstd

from pantograph.depot.errors import UnsupportedImage
from pantograph.depot.model import human_size

Compression = Literal["gz", "xz", "zst", "bz2"]

CHUNK_BYTES = 1 << 20
# A window that an archive asks for is memory that we must have: 128 MiB covers `xz -9` (64 MiB) and `zstd --long`.
_WINDOW_LOG = 27
_DECODER_MEMORY_BYTES = 160 << 20

_MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b\x08": "gz",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"BZh": "bz2",
}
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstd.ZstdError)


class _Decoder(Protocol):
    """What bz2, lzma and zstd decoders have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def compression_of(path: Path) -> Compression | None:
    """How the file is compressed, by its first bytes; None if it is not."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def unpacked(path: Path, compression: Compression, *, limit_bytes: int) -> Iterator[bytes]:
    """The plain content in chunks, all members or frames of it.

    Raises UnsupportedImage when the stream is damaged or ends early, or when more than `limit_bytes` come out.
    """
    total = 0
    with path.open("rb") as file:
        chunks = _READERS[compression](file)
        while True:
            try:
                chunk = next(chunks, b"")
            except _DAMAGE as damage:
                raise UnsupportedImage(
                    f"the {compression} stream is damaged after {human_size(total)} of content: {damage}",
                    remedy="replace the file at its origin, and declare its checksum",
                ) from damage
            if not chunk:
                return
            total += len(chunk)
            if total > limit_bytes:
                raise UnsupportedImage(
                    f"the {compression} file unpacks to more than the allowed {human_size(limit_bytes)}",
                    remedy="use a smaller image, or raise the depot's limit for images",
                )
            yield chunk


def _gzip_chunks(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as plain:
        while chunk := plain.read(CHUNK_BYTES):
            yield chunk


def _member_chunks(file: BinaryIO, new_decoder: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Decode member after member; zero bytes between members are padding, as the xz format has it."""
    decoder, data = new_decoder(), b""
    while True:
        if decoder.eof:
            rest = decoder.unused_data.lstrip(b"\0")
            while not rest:
                piece = file.read(CHUNK_BYTES)
                if not piece:
                    return
                rest = piece.lstrip(b"\0")
            decoder, data = new_decoder(), rest
        elif decoder.needs_input:
            data = file.read(CHUNK_BYTES)
            if not data:
                raise EOFError("it ends before its end mark")
        if chunk := decoder.decompress(data, CHUNK_BYTES):
            yield chunk
        data = b""


_READERS: dict[Compression, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gz": _gzip_chunks,
    "bz2": lambda file: _member_chunks(file, bz2.BZ2Decompressor),
    "xz": lambda file: _member_chunks(
        file, lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_DECODER_MEMORY_BYTES)
    ),
    "zst": lambda file: _member_chunks(
        file, lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    ),
}
