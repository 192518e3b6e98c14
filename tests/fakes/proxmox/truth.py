"""What is really there: for assertions, never for the operator."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.faults import Mutation
from tests.fakes.proxmox.guests import BOOT_DISK, Guest, options_of

_IDENTITIES = frozenset({"smbios1", "vmgenid", "meta"})


@dataclass(frozen=True, slots=True)
class Machine:
    """A guest as it is."""

    vmid: int
    node: str
    name: str
    template: bool
    lock: str | None
    tags: tuple[str, ...]
    config: dict[str, str]
    disks: dict[str, str]
    """Key → volid, cloud-init drives included."""

    @property
    def is_real_template(self) -> bool:
        """The flag, and every disk a base volume."""
        return self.template and all("base-" in volid for volid in self.disks.values() if _is_image(volid))


@dataclass(frozen=True, slots=True)
class StagedFile:
    node: str
    """`*` on shared storage."""
    storage: str
    name: str
    size: int
    sha256: str


class Truth:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster

    def machines(self) -> list[Machine]:
        return [_machine(guest) for _, guest in sorted(self._cluster.guests.items())]

    def machine(self, vmid: int) -> Machine:
        return _machine(self._cluster.guests[vmid])

    def machines_marked(self, uid16: str | None = None) -> list[Machine]:
        """Guests with the tag `pg-<uid16>-<vmid>` of their own VMID; a copied tag marks nothing. None: of any maker."""
        uid = "[0-9a-f]{16}" if uid16 is None else re.escape(uid16)
        return [m for m in self.machines() if any(re.fullmatch(f"pg-{uid}-{m.vmid}", tag) for tag in m.tags)]

    def stubs(self) -> list[Machine]:
        """Guests that are locked."""
        return [m for m in self.machines() if m.lock]

    def staged_files(self) -> list[StagedFile]:
        """Every image to import, on every storage."""
        found = []
        for place in self._cluster.storages.places():
            for volume in place.volumes.values():
                if volume.content == "import":
                    sha256 = self._sha256(place.blob_path(volume.path))
                    found.append(StagedFile(place.owner, place.storage.name, volume.name, volume.used, sha256))
        return sorted(found, key=lambda file: (file.node, file.storage, file.name))

    def disk_sha256(self, vmid: int, disk: str | None = None) -> str:
        """sha256 of the bytes of the guest's (first) disk; for a linked clone, of its base."""
        guest = self._cluster.guests[vmid]
        volid = next(v for k, v in guest.disks() if k == disk or (disk is None and BOOT_DISK.match(k) and _is_image(v)))
        located = self._cluster.storages.locate(volid, guest.node)
        if located is None:
            raise KeyError(f"{volid} of {vmid} is gone")
        place, volume = located
        if volume.base is not None:
            volume = place.volumes["images", volume.base]
        return self._sha256(place.blob_path(volume.path))

    def leftover_volumes(self) -> list[str]:
        """Volumes of guests that do not exist, and of guests that do not refer to them."""
        referred = {volid for guest in self._cluster.guests.values() for _, volid in guest.disks()}
        return sorted(
            f"{place.owner} {volume.volid}"
            for place in self._cluster.storages.places()
            for volume in place.volumes.values()
            if volume.content == "images" and volume.volid not in referred
        )

    @property
    def mutations(self) -> list[Mutation]:
        """Every change that was asked for, in order, refused ones included."""
        return self._cluster.gate.ledger

    @property
    def calls(self) -> dict[str, int]:
        """How often each operation was called, reads included, since the cluster began."""
        return dict(self._cluster.gate.calls)

    @property
    def task_logs(self) -> dict[str, list[str]]:
        """Every task's log by its UPID."""
        return {task.upid: list(task.log) for task in self._cluster.tasks.all()}

    def mutation_counts(self) -> dict[str, int]:
        """By verb, without those that were refused."""
        counts: dict[str, int] = {}
        for mutation in self.mutations:
            if not mutation.refused:
                counts[mutation.call.verb] = counts.get(mutation.call.verb, 0) + 1
        return counts

    def state(self, *, vmids: bool = False) -> dict[str, Any]:
        """Staged files, guests and volumes, without what is random or of the moment (MAC, uuids, creation time).

        Without `vmids` numbers are masked and guests sorted by content, so that two runs that chose other numbers for
        the same guests compare equal.
        """
        guests = [self._guest_state(machine) for machine in self.machines()]
        if not vmids:
            guests = [_masked(guest) for guest in guests]
        return {
            "staged": [[f.node, f.storage, f.name, f.size, f.sha256] for f in self.staged_files()],
            "guests": sorted(guests, key=lambda guest: json.dumps(guest, sort_keys=True)),
            "leftovers": self.leftover_volumes(),
        }

    def state_digest(self, *, vmids: bool = False) -> str:
        """One hash over `state`."""
        return hashlib.sha256(json.dumps(self.state(vmids=vmids), sort_keys=True).encode()).hexdigest()

    def _guest_state(self, machine: Machine) -> dict[str, Any]:
        config = {
            key: re.sub(r"=[0-9A-F:]{17}", "", value) if key.startswith("net") else value
            for key, value in machine.config.items()
            if key not in _IDENTITIES
        }
        disks = {key: self._disk_state(machine, volid) for key, volid in machine.disks.items()}
        return {"vmid": machine.vmid, "node": machine.node, "config": config, "disks": disks}

    def _disk_state(self, machine: Machine, volid: str) -> list[Any] | None:
        located = self._cluster.storages.locate(volid, machine.node)
        if located is None:
            return None
        place, volume = located
        return [volume.format, volume.virtual_size, self._sha256(place.blob_path(volume.path))]

    def _sha256(self, path: str) -> str:
        blob = self._cluster.blobs.get(path)
        return "" if blob is None else blob.sha256


def _is_image(volid: str) -> bool:
    return "cloudinit" not in volid


def _machine(guest: Guest) -> Machine:
    disks = {key: options_of(volid)[0] for key, volid in guest.disks()}
    return Machine(
        guest.vmid, guest.node, guest.name, guest.is_template, guest.lock, guest.tags, dict(guest.config), disks
    )


def _masked(guest: dict[str, Any]) -> dict[str, Any]:
    text = re.sub(rf"(?<![0-9A-Za-z]){guest['vmid']}(?![0-9A-Za-z])", "VMID", json.dumps(guest))
    masked: dict[str, Any] = json.loads(re.sub(r'"vmid": VMID', '"vmid": "VMID"', text))
    return masked
