"""What a revision covers: everything that a copy cannot change in place."""

from __future__ import annotations

from pantograph.api.names import short_hash
from pantograph.api.vmtemplate import Hardware


def revision_of(served_digest: str, hardware: Hardware | None) -> str:
    """Ten hex digits that change when, and only when, existing copies could not follow in place."""
    hardware = hardware or Hardware()
    covered = {
        "servedDigest": served_digest,
        "diskSize": hardware.disk.size if hardware.disk else None,
        "diskBus": hardware.disk.bus if hardware.disk else "scsi",
        "scsiController": hardware.scsi_controller,
        "machine": hardware.machine,
        "firmware": hardware.firmware,
        "tpm": hardware.tpm,
        "osType": hardware.os_type,
    }
    return short_hash({key: value for key, value in covered.items() if value is not None})
