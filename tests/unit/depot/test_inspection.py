"""What headers say, and which ones are believed."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pantograph.depot.errors import UnsupportedImage
from pantograph.depot.inspection import Inspected, inspect
from tests.fakes.images import iso, qcow2, raw, vmdk

LIMIT = 2 << 40


def inspected(tmp_path: Path, content: bytes) -> Inspected:
    path = tmp_path / "image"
    path.write_bytes(content)
    return inspect(path, limit_bytes=LIMIT)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (qcow2(5 << 30), Inspected("qcow2", 5 << 30)),
        (qcow2(version=2), Inspected("qcow2", 1 << 30)),
        (vmdk(3 << 30), Inspected("vmdk", 3 << 30)),
        (raw(4 << 20), Inspected("raw", 4 << 20)),
        (b"\x07" * (2 << 20), Inspected("raw", 2 << 20)),
        (qcow2(LIMIT), Inspected("qcow2", LIMIT)),
    ],
    ids=["qcow2", "qcow2 v2", "vmdk", "raw", "raw without a table", "at the limit"],
)
def test_format_and_virtual_size_come_from_the_content(tmp_path: Path, content: bytes, found: Inspected) -> None:
    assert inspected(tmp_path, content) == found


def tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("disk.qcow2"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (qcow2(backing_file="/etc/shadow"), "backing_file"),
        (qcow2(incompatible_features=1 << 2), "data_file"),
        (qcow2(incompatible_features=1 << 5), "unknown_features"),
        (qcow2(version=1), "not safe to use"),
        (qcow2(0), "has no size"),
        (qcow2(LIMIT + 512), "more than the allowed 2.0 TiB"),
        (vmdk(create_type="twoGbMaxExtentSparse"), "Unsupported subformat"),
        (vmdk(extent="../other.vmdk"), "not safe to use"),
        (iso(), "iso images cannot become templates"),
        (b"conectix".ljust(1024, b"\0"), "vhd images cannot become templates"),
        (iso()[: 32 << 10].replace(b"\0" * 4, b"QFI\xfb", 1) + iso()[32 << 10 :], "contradicts itself"),
        (tar(), "a tar archive"),
        (b"PK\x03\x04".ljust(1024, b"\0"), "a zip archive"),
        (b"\n  <HTML><body>".ljust(1024), "web page"),
        (b"x" * 511, "511 bytes, less than one sector"),
        (b"x" * 1000, "no whole number of 512-byte sectors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_else_is_refused_with_its_fault_and_a_way_out(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        inspected(tmp_path, content)
    assert said in caught.value.message
    assert caught.value.remedy
