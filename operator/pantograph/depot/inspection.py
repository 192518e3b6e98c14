"""What an image is, by its header alone: no image tool ever runs on bytes that a stranger served.

Uses the format inspector of oslo.utils, which OpenStack wrote for the same purpose after CVE-2024-32498 (a qcow2 whose
data file was the host's own).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from oslo_utils.imageutils import format_inspector

from pantograph.depot.errors import UnsupportedImage
from pantograph.depot.model import Format, human_size

SECTOR_BYTES = 512
_CHUNK_BYTES = 1 << 20

# A disk with a partition table and one without are both raw to a hypervisor.
_FORMATS: dict[str, Format] = {"qcow2": "qcow2", "vmdk": "vmdk", "raw": "raw", "gpt": "raw"}
_ARCHIVES = {
    b"\x1f\x8b\x08": "a gz file (inside what was unpacked)",
    b"\xfd7zXZ\x00": "an xz file (inside what was unpacked)",
    b"\x28\xb5\x2f\xfd": "a zst file (inside what was unpacked)",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
}
_CONVERT = "convert it with `qemu-img convert -O qcow2 IN OUT.qcow2` and serve the result"


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the header says."""

    format: Format
    virtual_size_bytes: int


def inspect(path: Path, *, limit_bytes: int) -> Inspected:
    """Read the header of the image at `path`.

    Raises UnsupportedImage, naming the fault and the way out, for anything but a self-contained qcow2, a monolithic
    vmdk or a raw disk whose virtual size is at most `limit_bytes`.
    """
    refuse_what_is_no_disk(path)
    inspector = _detect(path)
    image_format = _FORMATS.get(str(inspector))
    if image_format is None:
        raise UnsupportedImage(f"{inspector} images cannot become templates", remedy=_CONVERT)
    if image_format == "raw":
        return _bounded(Inspected("raw", path.stat().st_size), limit_bytes)
    _refuse_unsafe(inspector)
    return _bounded(Inspected(image_format, int(inspector.virtual_size)), limit_bytes)


def refuse_what_is_no_disk(path: Path) -> None:
    """Raise UnsupportedImage for an error page, an archive, or a file too short to be a disk."""
    with path.open("rb") as file:
        head = file.read(SECTOR_BYTES)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<html", b"<!doctype", b"<?xml")):
        raise UnsupportedImage(
            "the file is a web page, no disk image",
            remedy="set spec.source.http.url to the image itself; a login page usually means missing credentials",
        )
    archive = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    if archive or head[257:262] == b"ustar":
        raise UnsupportedImage(
            f"the file is {archive or 'a tar archive'}, no disk image",
            remedy="serve the disk image that is inside it",
        )
    if len(head) < SECTOR_BYTES:
        raise UnsupportedImage(
            f"the file has {len(head)} bytes, less than one sector of a disk",
            remedy="replace the file at its origin",
        )


def _detect(path: Path) -> format_inspector.FileInspector:
    """The one format that matches; the library reads only as far as it must."""
    with path.open("rb") as file:
        wrapper = format_inspector.InspectWrapper(file)
        try:
            while wrapper.read(_CHUNK_BYTES):
                if wrapper.format is not None:
                    break
            wrapper.close()
            found = wrapper.format
        # The library leaves attributes unset, and fields unread, when a header is cut or contradicts itself.
        except (format_inspector.ImageFormatError, AttributeError, ValueError, struct.error) as fault:
            raise UnsupportedImage(f"the header of the image contradicts itself: {fault}", remedy=_CONVERT) from fault
    if found is None:
        raise UnsupportedImage("the header of the image is incomplete", remedy="replace the file at its origin")
    return found


def _refuse_unsafe(inspector: format_inspector.FileInspector) -> None:
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as failed:
        faults = "; ".join(f"{name}: {fault}" for name, fault in sorted(failed.failures.items()))
        raise UnsupportedImage(f"the {inspector} image is not safe to use ({faults})", remedy=_CONVERT) from failed


def _bounded(found: Inspected, limit_bytes: int) -> Inspected:
    if found.format == "raw" and found.virtual_size_bytes % SECTOR_BYTES:
        raise UnsupportedImage(
            f"the file matches no image format, and its {found.virtual_size_bytes} bytes are no whole number of "
            f"{SECTOR_BYTES}-byte sectors, so it is no raw disk either",
            remedy="check that spec.source.http.url points to a qcow2, vmdk or raw image",
        )
    if found.virtual_size_bytes <= 0:
        raise UnsupportedImage(f"the {found.format} image has no size", remedy="replace the file at its origin")
    if found.virtual_size_bytes > limit_bytes:
        raise UnsupportedImage(
            f"the {found.format} image is a disk of {human_size(found.virtual_size_bytes)}, more than the allowed "
            f"{human_size(limit_bytes)}",
            remedy="use a smaller image, or raise the depot's limit for images",
        )
    return found
