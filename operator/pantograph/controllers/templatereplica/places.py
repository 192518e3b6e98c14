"""Whether a place can take a copy, and where the image file goes: read from the bulk observation alone."""

from __future__ import annotations

import re
from typing import Final

from pantograph.api.conditions import name_some
from pantograph.api.units import parse_quantity
from pantograph.controllers.templatereplica.hardware import CLOUD_INIT_DRIVE
from pantograph.controllers.templatereplica.resolving import require_answering
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.engine.errors import Terminal, Waiting
from pantograph.providers.proxmox import privileges
from pantograph.providers.proxmox.port import NodeStorage, VmConfig
from pantograph.providers.proxmox.remedies import allow_content

IMPORT_SINCE: Final = (8, 4)
"""qcow2, raw and vmdk are taken as content to import from libpve-storage 8.3.6, which is Proxmox VE 8.4."""

BASELESS: Final = frozenset({"lvm", "iscsi", "iscsidirect"})
"""Storage types without base volumes: their plugins lack the feature `template`, so that Proxmox calls a conversion OK
and leaves the disk as it was (libpve-storage, `volume_has_feature`). A plugin of others may lack it as well."""
NAME_ANOTHER: Final = (
    "name a storage of another type, such as dir, nfs, lvmthin, zfspool or rbd (placements[].proxmox.storage of the"
    " VMTemplate)"
)

_DISK = re.compile(r"^(scsi|virtio|sata|ide|efidisk|tpmstate)\d+$")


async def unusable_storage(scope: ReplicaScope) -> Terminal | None:
    """Why nobody can use the target storage on the node: not for us to see, not there, or disabled. None: they can."""
    if scope.node in scope.world.unread:
        return None  # nothing is known of the node's storages
    storage = scope.object.spec.storage
    found = scope.world.storages.get((scope.node, storage))
    if found is not None and found.enabled:
        return None
    if found is not None:
        return Terminal("PlaceUnusable", f"storage {storage} is disabled", remedy=f"pvesm set {storage} --disable 0")
    hidden = privileges.missing_for(scope.world.permissions, privileges.observe_storage(storage))
    if hidden:
        return Terminal(
            "PlaceUnusable",
            f"whether node {scope.node} has storage {storage} cannot be told: the credentials lack {name_some(hidden)}",
            remedy=privileges.remedy(hidden, await scope.pve.user()),
        )
    return Terminal(
        "PlaceUnusable",
        f"node {scope.node} has no storage {storage}",
        remedy=f"name another storage, or make it available there: pvesm set {storage} --nodes NODES,{scope.node}",
    )


async def require_usable_target(scope: ReplicaScope) -> None:
    """Refuses a target storage that is not there, not active, takes no disk images, or holds no base volumes."""
    require_answering(scope, scope.node)
    if (unusable := await unusable_storage(scope)) is not None:
        raise unusable
    storage = scope.object.spec.storage
    found = scope.world.storages[scope.node, storage]
    if not found.active:
        raise Waiting("PlaceUnusable", f"storage {storage} is not active on node {scope.node}", 30)
    if "images" not in found.content:
        raise Terminal(
            "PlaceUnusable",
            f"storage {storage} on node {scope.node} does not take disk images",
            remedy=allow_content(storage, found.content, "images"),
        )
    if found.type in BASELESS:
        raise Terminal(
            "NoBaseVolumes",
            f"storage {storage} of type {found.type} holds no base volumes, so no linked clone could be made there",
            remedy=NAME_ANOTHER,
        )


def staging_storage(scope: ReplicaScope) -> str:
    """The storage that takes the image file: the declared one, else the target, else the first of the node that can.

    Raises Terminal `ImportUnsupported` with the version or the storage that is in the way.
    """
    version = scope.world.versions.get(scope.node)
    if version is not None and _major_minor(version) < IMPORT_SINCE:
        raise Terminal(
            "ImportUnsupported",
            f"node {scope.node} runs Proxmox VE {version}, which cannot import disk images by API",
            remedy="upgrade the node to Proxmox VE 8.4 or newer",
        )
    usable = {name: storage for name, storage in _storages(scope).items() if _takes_imports(storage)}
    declared = scope.object.spec.staging_storage
    if declared is not None:
        if declared in usable:
            return declared
        raise _lacks_import(scope, declared)
    target = scope.object.spec.storage
    if target in usable:
        return target
    if usable:
        return min(usable)
    raise _lacks_import(scope, _candidate(scope))


def unconverted_disks(scope: ReplicaScope, machine: VmConfig) -> dict[str, str]:
    """The disks, volume by key, that can be base volumes and are none yet: the flag alone makes no linked clones
    possible. One that people moved to a storage without base volumes is as it can be: full clones are made of it."""
    return {
        key: volid
        for key, value in machine.values.items()
        if _DISK.match(key) and key != CLOUD_INIT_DRIVE and "media=cdrom" not in value and not _is_base(value)
        if _type_of(scope, machine.node, volid := value.partition(",")[0].removeprefix("file=")) not in BASELESS
    }


def _type_of(scope: ReplicaScope, node: str, volid: str) -> str | None:
    storage = scope.world.storages.get((node, volid.partition(":")[0]))
    return storage.type if storage else None


def has_base_volumes(machine: VmConfig) -> bool:
    """Whether it was a template once, with disks that linked clones may depend on; detached ones count too."""
    return any(_is_base(value) for value in machine.values.values())


def _is_base(value: str) -> bool:
    """Whether a configured disk is a base volume: named so after a slash on a directory storage, else after a colon."""
    return "/base-" in value or ":base-" in value


def disk_size(disk: str) -> int:
    """The size of a configured disk in bytes, as its `size=` option says; 0: it does not say."""
    for option in disk.split(",")[1:]:
        name, _, value = option.partition("=")
        if name == "size":
            return parse_quantity(f"{value}i" if value[-1:].isalpha() else value)
    return 0


def _storages(scope: ReplicaScope) -> dict[str, NodeStorage]:
    return {storage: row for (node, storage), row in scope.world.storages.items() if node == scope.node}


def _takes_imports(storage: NodeStorage) -> bool:
    return storage.enabled and storage.active and "import" in storage.content


def _candidate(scope: ReplicaScope) -> str | None:
    """The storage whose content list is the one to widen: the target if it holds files, else any that does."""
    files = [name for name, row in sorted(_storages(scope).items()) if row.content & {"iso", "vztmpl", "backup"}]
    return scope.object.spec.storage if scope.object.spec.storage in files else next(iter(files), None)


def _lacks_import(scope: ReplicaScope, storage: str | None) -> Terminal:
    if storage is None:
        return Terminal(
            "ImportUnsupported",
            f"node {scope.node} has no storage that can hold image files",
            remedy="add a directory storage: pvesm add dir NAME --path PATH --content import",
        )
    row = _storages(scope).get(storage)
    if row is None:
        return Terminal(
            "PlaceUnusable",
            f"node {scope.node} has no storage {storage} for the image file",
            remedy="name another stagingStorage",
        )
    return Terminal(
        "ImportUnsupported",
        f"storage {storage} on node {scope.node} does not take disk images to import",
        remedy=allow_content(storage, row.content),
    )


def _major_minor(version: str) -> tuple[int, int]:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)
