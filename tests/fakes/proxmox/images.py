"""Disk images as far as the simulator looks into them: format, virtual size, backing file; and small ones to serve."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_QCOW2_MAGIC = b"QFI\xfb"
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class ImageInfo:
    format: str
    virtual_size: int
    backing_file: bool


def inspect(header: bytes, *, size: int) -> ImageInfo:
    """What `qemu-img info` would say from the first bytes; anything that is no qcow2 is raw of its own size."""
    if header[:4] != _QCOW2_MAGIC or len(header) < 32:
        return ImageInfo("raw", size, backing_file=False)
    backing_offset, _, _, virtual_size = struct.unpack(">QIIQ", header[8:32])
    return ImageInfo("qcow2", virtual_size, backing_file=backing_offset != 0)


def qcow2(*, virtual_size: int = GIB, payload: bytes = b"", backing_file: bool = False) -> bytes:
    """A version 3 qcow2 header with empty tables, followed by `payload`: enough for everything that reads headers."""
    backing = b"base.qcow2" if backing_file else b""
    l1_entries = max(1, -(-virtual_size // (64 * 1024 * 8192)))
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        _QCOW2_MAGIC, 3, 512 if backing else 0, len(backing), 16, virtual_size, 0, l1_entries,
        3 * 65536, 65536, 1, 0, 0, 0, 0, 0, 4, 104,
    )  # fmt: skip
    first = header.ljust(512, b"\0") + backing
    refcount_table = struct.pack(">Q", 2 * 65536).ljust(65536, b"\0")
    refcounts = struct.pack(">4H", 1, 1, 1, 1).ljust(65536, b"\0")
    return first.ljust(65536, b"\0") + refcount_table + refcounts + bytes(65536) + payload
