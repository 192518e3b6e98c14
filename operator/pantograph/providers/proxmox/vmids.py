"""The choice of a VMID. Proxmox reserves nothing (`nextid` only looks), so the number is chosen here, under the lock of
the real cluster (`connection.py`), and is ours once the intent that names it is written."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from pantograph.providers.errors import Rejected


def lowest_free(wanted: range, *used: AbstractSet[int]) -> int:
    """The lowest number of `wanted` in none of `used`: the bulk listing's (containers too), statuses', intents'."""
    for vmid in wanted:
        if not any(vmid in taken for taken in used):
            return vmid
    raise Rejected(
        f"every VMID from {wanted.start} to {wanted.stop - 1} is in use",
        reason="VmidRangeExhausted",
        remedy="widen spec.vmidRange of the ProxmoxCluster",
    )
