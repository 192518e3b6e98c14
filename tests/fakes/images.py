"""Disk images made by hand, so that no test needs an image tool: each is what the real tools would read."""

from __future__ import annotations

import struct

_CLUSTER = 1 << 16
_COPIED = 1 << 63


def qcow2(
    virtual_size: int = 1 << 30,
    *,
    payload: bytes = b"",
    backing_file: str | None = None,
    incompatible_features: int = 0,
    version: int = 3,
) -> bytes:
    """A qcow2 (docs/interop/qcow2.txt of QEMU) whose guest reads `payload` (at most 512 MiB) and then zeros."""
    l1_entries = max(1, -(-virtual_size // (_CLUSTER * (_CLUSTER // 8))))
    data_clusters = -(-len(payload) // _CLUSTER)
    clusters = 4 + (1 + data_clusters if payload else 0)
    refcount_table, refcount_block, l1_table, l2_table = (n * _CLUSTER for n in range(1, 5))
    name = (backing_file or "").encode()
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        version,
        512 if name else 0,
        len(name),
        16,
        virtual_size,
        0,
        l1_entries,
        l1_table,
        refcount_table,
        1,
        0,
        0,
    )
    header += struct.pack(">QQQII", incompatible_features, 0, 0, 4, 104)
    image = bytearray(clusters * _CLUSTER)
    image[: len(header)] = header
    image[512 : 512 + len(name)] = name
    image[refcount_table : refcount_table + 8] = struct.pack(">Q", refcount_block)
    image[refcount_block : refcount_block + 2 * clusters] = struct.pack(">H", 1) * clusters
    if payload:
        image[l1_table : l1_table + 8] = struct.pack(">Q", l2_table | _COPIED)
        entries = [(5 + n) * _CLUSTER | _COPIED for n in range(data_clusters)]
        image[l2_table : l2_table + 8 * len(entries)] = struct.pack(f">{len(entries)}Q", *entries)
        image[5 * _CLUSTER : 5 * _CLUSTER + len(payload)] = payload
    return bytes(image)


def vmdk(virtual_size: int = 1 << 30, *, create_type: str = "monolithicSparse", extent: str = "disk.vmdk") -> bytes:
    """A sparse vmdk (VMware's Virtual Disk Format 5.0) with its descriptor embedded, and no grains."""
    sectors = virtual_size // 512
    descriptor = (
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="{create_type}"\n\n# Extent description\nRW {sectors} SPARSE "{extent}"\n'
        '\n# The Disk Data Base\nddb.adapterType = "lsilogic"\n'
    ).encode()
    header = struct.pack("<4sIIQQQQIQQQB", b"KDMV", 1, 3, sectors, 128, 1, 20, 512, 21, 26, 128, 0)
    return (header.ljust(512, b"\0") + descriptor.ljust(20 * 512, b"\0")).ljust(1 << 17, b"\0")


def raw(size: int = 1 << 20, *, payload: bytes = b"") -> bytes:
    """A raw disk with a DOS partition table of one partition."""
    entry = struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, size // 512 - 1)
    boot_sector = (b"\0" * 446 + entry).ljust(510, b"\0") + b"\x55\xaa"
    return (boot_sector + payload).ljust(size, b"\0")


def iso() -> bytes:
    """The head of an ISO 9660 file system."""
    descriptor = b"\x01CD001\x01".ljust(2048, b"\0")
    return (b"\0" * (32 << 10) + descriptor).ljust(1 << 20, b"\0")
