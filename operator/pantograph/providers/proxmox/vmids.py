"""The choice of a VMID. Proxmox reserves nothing (`nextid` only looks), so the number is chosen here, under the lock of
the real cluster (`connection.py`), and is ours once the intent that names it is written."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from pantograph.providers.errors import Rejected


class Vmids:
    """Chooses numbers round and round, so that a choice costs no walk over all the guests that there are."""

    def __init__(self) -> None:
        self._next = 0

    def choose(self, wanted: range, is_taken: Callable[[int], bool]) -> int:
        """The next free number of `wanted`. Call it under the cluster's lock. Raises Rejected `VmidRangeExhausted`."""
        first = self._next if self._next in wanted else wanted.start
        for vmid in chain(range(first, wanted.stop), range(wanted.start, first)):
            if not is_taken(vmid):
                self._next = vmid + 1
                return vmid
        raise Rejected(
            f"every VMID from {wanted.start} to {wanted.stop - 1} is in use",
            reason="VmidRangeExhausted",
            remedy="widen spec.vmidRange of the ProxmoxCluster",
        )
