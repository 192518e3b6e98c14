"""Making a guest's volumes: import, empty disks, cloud-init, EFI and TPM, and copies of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tests.fakes.proxmox.answers import TaskError, forbidden, parameter_error, refusal
from tests.fakes.proxmox.blobs import NoSpace
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.fetching import chunks_of
from tests.fakes.proxmox.gate import Request
from tests.fakes.proxmox.guests import DISK_KEY, Guest, options_of, size_text, with_options
from tests.fakes.proxmox.images import GIB, inspect
from tests.fakes.proxmox.storages import Place, StoredVolume
from tests.fakes.proxmox.tasks import Task

CLOUDINIT_BYTES, EFI_BYTES, TPM_BYTES = 4 * 1024**2, 528 * 1024, 4 * 1024**2


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """One disk key of a create or update, as far as it makes a volume."""

    key: str
    storage: str
    options: dict[str, str]
    source: str | None = None
    """`import-from`."""
    size: int = 0
    kind: str = "disk"
    """disk, cloudinit, efidisk, tpmstate."""


def parse_disks(r: Request, node: str, values: Mapping[str, str]) -> list[DiskSpec]:
    """The volumes these values ask for, checked as Proxmox checks them before it starts a task."""
    return [spec for key, value in values.items() if DISK_KEY.match(key) and (spec := _parse(r, node, key, value))]


def _parse(r: Request, node: str, key: str, value: str) -> DiskSpec | None:
    first, options = options_of(value)
    first = options.pop("file", first) if first.startswith("file=") else first
    if first.startswith("/"):
        raise refusal("Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 581.")
    if first in {"none", "cdrom"}:
        return None
    storage, _, wanted = first.partition(":")
    source = options.pop("import-from", None)
    if wanted != "cloudinit" and not re.fullmatch(r"\d+(\.\d+)?", wanted):
        _check_existing(r, node, key, first)
        return None
    defined = r.cluster.storages.get(storage)
    if not r.cluster.access.allows(r.user, f"/storage/{storage}", "Datastore.AllocateSpace"):
        raise forbidden(f"/storage/{storage}, Datastore.AllocateSpace")
    if "images" not in defined.content:
        raise parameter_error("storage", f"storage '{storage}' does not support vm images")
    kind = "cloudinit" if wanted == "cloudinit" else re.sub(r"\d+$", "", key)
    if kind in {"scsi", "virtio", "sata", "ide"}:
        kind = "disk"
    size = 0 if kind == "cloudinit" else int(float(wanted) * GIB)
    if source is not None:
        _check_source(r, key, source, size)
    return DiskSpec(key, storage, options, source, size, kind)


def _check_existing(r: Request, node: str, key: str, volid: str) -> None:
    if r.cluster.storages.locate(volid, node) is None and "media=cdrom" not in r.params.get(key, ""):
        raise refusal(f"volume '{volid}' does not exist")


def _check_source(r: Request, key: str, source: str, size: int) -> None:
    if size:
        raise parameter_error(key, "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>")
    if source.startswith("/"):
        raise refusal("Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 581.")
    storage, _, inner = source.partition(":")
    r.cluster.storages.get(storage)
    content = inner.partition("/")[0]
    if content in {"iso", "vztmpl"}:
        raise parameter_error(key, f"{source} has wrong type '{content}' - needs to be 'images' or 'import'")
    if content == "import":
        r.require(f"/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace")
        return
    owner = re.search(r"(?:^|/)(?:vm|base)-(\d+)-", inner)
    if owner is not None:
        r.require(f"/vms/{owner[1]}", "VM.Clone")


async def make_disk(cluster: SimulatedCluster, task: Task, guest: Guest, spec: DiskSpec) -> str:
    """Allocate the volume `spec` asks for and return the configuration's value for it."""
    place = cluster.storages.in_task(spec.storage, guest.node)
    if spec.kind == "cloudinit":
        volume = await allocate(cluster, task, place, guest, size=CLOUDINIT_BYTES, stem=f"vm-{guest.vmid}-cloudinit")
        value = with_options(volume.volid, {"media": "cdrom"})
        task.say(f"{spec.key}: successfully created disk '{value}'")
        return value
    if spec.source is not None:
        volume = await _import(cluster, task, place, guest, spec)
    else:
        fixed = {"efidisk": EFI_BYTES, "tpmstate": TPM_BYTES}
        size = fixed.get(spec.kind, spec.size)
        format = "raw" if spec.kind == "tpmstate" else spec.options.get("format")
        volume = await allocate(cluster, task, place, guest, size=size, format=format)
    options = {k: v for k, v in spec.options.items() if k != "format"} | {"size": size_text(volume.virtual_size)}
    value = with_options(volume.volid, options)
    task.say(f"{spec.key}: successfully created disk '{value}'")
    return value


async def allocate(
    cluster: SimulatedCluster,
    task: Task,
    place: Place,
    guest: Guest,
    *,
    size: int,
    format: str | None = None,
    stem: str | None = None,
) -> StoredVolume:
    """An empty volume; qcow2 on file storages unless told otherwise (cloud-init), raw disks by default."""
    if not place.storage.is_file_based:
        format = "raw"
    elif format is None:
        format = "qcow2" if stem else "raw"
    name = place.disk_name(guest.vmid, stem, format) if stem else place.next_disk(guest.vmid, format)
    path = place.file_path("images", name)
    if ("images", name) in place.volumes:
        raise TaskError(f"disk image '{path}' already exists")
    task.say(f"Formatting '{path}', fmt={format} size={size}")
    used = min(size, 200 * 1024)
    if used > place.avail:
        raise TaskError(f"unable to create image: qemu-img: {path}: Could not create file: No space left on device")
    await cluster.blobs.write(place.blob_path(path), chunks_of(b""), room=None)
    return place.put(
        StoredVolume(place.storage.name, name, "images", format, path, size, used, _now(cluster), guest.vmid)
    )


async def _import(cluster: SimulatedCluster, task: Task, place: Place, guest: Guest, spec: DiskSpec) -> StoredVolume:
    source = spec.source or ""
    located = cluster.storages.locate(source, guest.node)
    storage = cluster.storages.in_task(source.partition(":")[0], guest.node).storage
    inner = source.partition(":")[2]
    if located is None:
        if inner.startswith("import/"):
            raise TaskError(f"failed to stat '{storage.path}/{inner}'")
        raise TaskError(f"cannot import from '{source}' - could not get size of {source}")
    source_place, volume = located
    owner = cluster.guests.get(volume.vmid) if volume.vmid else None
    if owner is not None and owner.node != guest.node:
        raise TaskError(f"cannot import from '{source}' - owner VM {volume.vmid} not on local node")
    task.say(f"create full clone of drive ({source})")
    wanted = spec.options.get("format") or volume.format
    format = wanted if place.storage.is_file_based and wanted in {"qcow2", "raw", "vmdk"} else "raw"
    header = cluster.blobs.get(source_place.blob_path(volume.path))
    if header is not None and inspect(header.header, size=header.size).backing_file:
        raise TaskError(f"backing file not allowed for untrusted image '{volume.path}'!")
    try:
        return await copy_volume(cluster, task, source_place, volume, place, guest, format=format)
    except NoSpace:
        command = f"/usr/bin/qemu-img convert -p -n -f {volume.format} -O {format} {volume.path} zeroinit:.."
        raise TaskError(
            f"cannot import from '{source}' - copy failed: command '{command}' failed: exit code 1"
        ) from None


async def copy_volume(
    cluster: SimulatedCluster,
    task: Task,
    source_place: Place,
    source: StoredVolume,
    place: Place,
    guest: Guest,
    *,
    format: str,
) -> StoredVolume:
    """Copy bytes and size with `transferred` lines. Raises `NoSpace`; a copy that was cut short leaves no volume."""
    name = place.next_disk(guest.vmid, format)
    path = place.file_path("images", name)
    task.say(f"Formatting '{path}', fmt={format} size={source.virtual_size}")
    volume = place.put(
        StoredVolume(
            place.storage.name, name, "images", format, path, source.virtual_size, 0, _now(cluster), guest.vmid
        )
    )
    try:
        _check_room(task, source, place)
        await _progress(cluster, task, source.virtual_size)
        await cluster.blobs.copy(source_place.blob_path(source.path), place.blob_path(path))
    except BaseException:
        if not task.killed:
            place.drop(volume, cluster.blobs)
        raise
    return place.put(replace(volume, used=source.used))


def _check_room(task: Task, source: StoredVolume, place: Place) -> None:
    if source.used > place.avail:
        task.say("qemu-img: error while writing at byte 0: No space left on device")
        raise NoSpace(source.volid)


async def _progress(cluster: SimulatedCluster, task: Task, total: int) -> None:
    steps = max(1, cluster.pace.progress_lines)
    seconds = cluster.pace.task_s + total / cluster.pace.copy_bytes_per_s
    for step in range(steps + 1):
        done = total * step // steps
        task.say(f"transferred {_human(done)} of {_human(total)} ({100 * step / steps:.2f}%)")
        if step < steps:
            await cluster.clock.sleep(seconds / steps * cluster.faults.copy_slowness)
    task.say(f"transferred {_human(total)} of {_human(total)} (100.00%)")


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def drop_made(cluster: SimulatedCluster, node: str, values: Iterable[str]) -> None:
    """What a failed create takes back: the volumes that it made, and no other of this number."""
    for value in values:
        located = cluster.storages.locate(options_of(value)[0], node)
        if located is not None:
            place, volume = located
            place.drop(volume, cluster.blobs)


def drop_volumes(cluster: SimulatedCluster, node: str, vmid: int) -> None:
    """Remove every volume of this number on the enabled storages of `node`, whosever it is (`vdisk_free`)."""
    for storage in cluster.storages.visible_on(node):
        if not storage.enabled:
            continue
        place = cluster.storages.place(storage, node)
        for volume in place.of_guest(vmid):
            place.drop(volume, cluster.blobs)


def _now(cluster: SimulatedCluster) -> int:
    return int(cluster.clock.now().timestamp())
