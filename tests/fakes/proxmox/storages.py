"""Storages of the simulated cluster: what they take, what lies on them, and how much room is left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.fakes.proxmox.answers import PveAnswer, TaskError, refusal
from tests.fakes.proxmox.blobs import Blobs
from tests.fakes.proxmox.images import GIB

_FOLDERS = {"import": "import", "iso": "template/iso", "vztmpl": "template/cache"}
_FILE_TYPES = frozenset({"dir", "nfs", "cifs", "cephfs", "btrfs"})
_TYPES_WITH_BASE_VOLUMES = frozenset({"dir", "nfs", "cifs", "btrfs", "lvmthin", "zfspool", "zfs", "rbd"})
"""Those whose plugin has the feature `template`; thick LVM and iSCSI have not, nor has every plugin of others."""


@dataclass(slots=True)
class Storage:
    """An entry of storage.cfg."""

    name: str
    content: frozenset[str] = frozenset({"images", "import", "iso", "backup"})
    type: str = "dir"
    shared: bool = False
    nodes: frozenset[str] | None = None
    """None: every node."""
    enabled: bool = True
    total_bytes: int = 1024 * GIB
    """Per place: of a storage that is not shared each node has its own."""

    @property
    def is_file_based(self) -> bool:
        return self.type in _FILE_TYPES

    @property
    def holds_base_volumes(self) -> bool:
        return self.type in _TYPES_WITH_BASE_VOLUMES

    @property
    def path(self) -> str:
        if self.name == "local":
            return "/var/lib/vz"
        return f"/mnt/pve/{self.name}" if self.shared else f"/var/lib/{self.name}"

    def available_on(self, node: str) -> bool:
        return self.nodes is None or node in self.nodes


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A file or block volume. `name` is unique in its place: `x.qcow2` to import, `100/vm-100-disk-0.raw`."""

    storage: str
    name: str
    content: str
    format: str
    path: str
    """On the node that has it."""
    virtual_size: int
    used: int
    ctime: int
    vmid: int | None = None
    base: str | None = None
    """The `name` of the base volume of a linked clone."""

    @property
    def volid(self) -> str:
        if self.content != "images":
            return f"{self.storage}:{self.content}/{self.name}"
        return f"{self.storage}:{self.base}/{self.name}" if self.base else f"{self.storage}:{self.name}"

    @property
    def is_base(self) -> bool:
        return self.name.rpartition("/")[2].startswith("base-")


@dataclass(slots=True)
class Place:
    """One storage as it exists once: per node, or once for all nodes when shared."""

    storage: Storage
    owner: str
    """The node's name, `*` when shared."""
    volumes: dict[tuple[str, str], StoredVolume] = field(default_factory=dict)
    """By (content, name)."""
    ballast: int = 0
    """Bytes of somebody else's."""
    _used: int = 0
    _by_guest: dict[int, dict[str, StoredVolume]] = field(default_factory=dict)
    _by_base: dict[str, set[str]] = field(default_factory=dict)

    @property
    def used(self) -> int:
        return self.ballast + self._used

    @property
    def avail(self) -> int:
        return max(0, self.storage.total_bytes - self.used)

    def blob_path(self, path: str) -> str:
        return f"{self.owner}:{path}"

    def of_guest(self, vmid: int) -> list[StoredVolume]:
        return list(self._by_guest.get(vmid, {}).values())

    def find(self, volid: str) -> StoredVolume | None:
        """The volume of this id; a linked clone is also found without its base in the id."""
        _, _, inner = volid.partition(":")
        first, _, rest = inner.partition("/")
        if first in _FOLDERS:
            return self.volumes.get((first, rest))
        parts = inner.split("/")
        return self.volumes.get(("images", "/".join(parts[-2:]))) or self.volumes.get(("images", parts[-1]))

    def clones_of(self, name: str) -> list[StoredVolume]:
        """Linked clones of a base volume. LVM-thin does not know its own."""
        if self.storage.type == "lvmthin":
            return []
        return [self.volumes["images", clone] for clone in self._by_base.get(name, ())]

    def put(self, volume: StoredVolume) -> StoredVolume:
        """Add the volume, or replace the one of its name."""
        self._forget(volume)
        self.volumes[volume.content, volume.name] = volume
        self._used += volume.used
        if volume.vmid is not None:
            self._by_guest.setdefault(volume.vmid, {})[volume.name] = volume
        if volume.base is not None:
            self._by_base.setdefault(volume.base, set()).add(volume.name)
        return volume

    def drop(self, volume: StoredVolume, blobs: Blobs) -> None:
        self._forget(volume)
        blobs.delete(self.blob_path(volume.path))

    def _forget(self, volume: StoredVolume) -> None:
        known = self.volumes.pop((volume.content, volume.name), None)
        if known is None:
            return
        self._used -= known.used
        if known.vmid is not None:
            del self._by_guest[known.vmid][known.name]
        if known.base is not None:
            self._by_base[known.base].discard(known.name)

    def file_path(self, content: str, name: str) -> str:
        return f"{self.storage.path}/{_FOLDERS.get(content, 'images')}/{name}"

    def disk_name(self, vmid: int, stem: str, format: str) -> str:
        return f"{vmid}/{stem}.{format}" if self.storage.is_file_based else stem

    def next_disk(self, vmid: int, format: str) -> str:
        taken = {v.name.rpartition("/")[2].partition(".")[0].partition("-")[2] for v in self.of_guest(vmid)}
        number = next(n for n in range(1000) if f"{vmid}-disk-{n}" not in taken)
        return self.disk_name(vmid, f"vm-{vmid}-disk-{number}", format)

    def to_base(self, volume: StoredVolume, blobs: Blobs) -> StoredVolume:
        """Rename `vm-…` to `base-…`, as the conversion to a template does on storages that have base volumes."""
        name = re.sub(r"(^|/)vm-", r"\1base-", volume.name)
        path = self.file_path("images", name)
        if blobs.get(self.blob_path(volume.path)) is not None:
            blobs.rename(self.blob_path(volume.path), self.blob_path(path))
        self._forget(volume)
        return self.put(replace(volume, name=name, path=path))


class Storages:
    """The datacenter's storages and their places."""

    def __init__(self) -> None:
        self.defined: dict[str, Storage] = {}
        self._places: dict[tuple[str, str], Place] = {}

    def define(self, storage: Storage) -> Storage:
        self.defined[storage.name] = storage
        return storage

    def undefine(self, name: str) -> None:
        """Remove it from storage.cfg; what lies on it stays where it is."""
        del self.defined[name]

    def get(self, name: str) -> Storage:
        storage = self.defined.get(name)
        if storage is None:
            raise refusal(f"storage '{name}' does not exist")
        return storage

    def on_node(self, name: str, node: str) -> Place:
        """The storage's place for that node, if the node may use it."""
        storage = self.get(name)
        if not storage.enabled:
            raise refusal(f"storage '{name}' is disabled")
        if not storage.available_on(node):
            raise refusal(f"storage '{name}' is not available on node '{node}'")
        return self.place(storage, node)

    def in_task(self, name: str, node: str) -> Place:
        """The same inside a task, where the refusal is the task's error."""
        try:
            return self.on_node(name, node)
        except PveAnswer as answer:
            raise TaskError(answer.text) from None

    def place(self, storage: Storage, node: str) -> Place:
        owner = "*" if storage.shared else node
        place = self._places.get((storage.name, owner))
        if place is None:
            place = self._places[storage.name, owner] = Place(storage, owner)
        place.storage = storage
        return place

    def share(self, name: str, other: Storages) -> None:
        """From now on both clusters have the same shared storage."""
        self._places[name, "*"] = other.place(other.get(name), "*")

    def places(self) -> Iterator[Place]:
        """Every place that was ever used."""
        yield from self._places.values()

    def visible_on(self, node: str) -> list[Storage]:
        return [s for s in self.defined.values() if s.available_on(node)]

    def locate(self, volid: str, node: str) -> tuple[Place, StoredVolume] | None:
        """The volume as `node` sees it, whether or not the storage is enabled."""
        storage = self.defined.get(volid.partition(":")[0])
        if storage is None:
            return None
        place = self.place(storage, node)
        volume = place.find(volid)
        return None if volume is None else (place, volume)
