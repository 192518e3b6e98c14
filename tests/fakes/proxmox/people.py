"""What people and other tools do to a cluster beside the operator, with all rights and at once."""

from __future__ import annotations

from typing import Any

from tests.fakes.proxmox import disks
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.gate import Request
from tests.fakes.proxmox.guests import Guest, options_of, with_options
from tests.fakes.proxmox.operations import OPERATIONS
from tests.fakes.proxmox.storages import Place, StoredVolume
from tests.fakes.proxmox.tasks import Task


class People:
    """root@pam at the web interface. Each verb returns when its task has ended; a refusal raises `PveAnswer`."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster

    async def linked_clone(self, vmid: int, newid: int, *, name: str | None = None) -> None:
        await self._clone(vmid, newid, {"full": "0"} | ({"name": name} if name else {}))

    async def full_clone(self, vmid: int, newid: int, *, name: str | None = None) -> None:
        await self._clone(vmid, newid, {"full": "1"} | ({"name": name} if name else {}))

    async def create(self, vmid: int, node: str, **config: str) -> None:
        await self._do("create_vm", {"vmid": str(vmid), **config}, node=node)

    async def make_template(self, vmid: int) -> None:
        await self._do("convert_to_template", {}, **self._where(vmid))

    async def destroy(self, vmid: int, *, unreferenced: bool = True) -> None:
        """With `unreferenced` as the web interface offers it, else as `qm destroy --purge` does it."""
        params = {"purge": "1", "destroy-unreferenced-disks": str(int(unreferenced))}
        await self._do("destroy_vm", params, **self._where(vmid))

    async def set_config(self, vmid: int, **config: str) -> None:
        """`delete=` removes keys."""
        await self._do("set_config", config, **self._where(vmid))

    async def start(self, vmid: int) -> None:
        await self._do("start_vm", {}, **self._where(vmid))

    async def stop(self, vmid: int) -> None:
        await self._do("stop_vm", {}, **self._where(vmid))

    def lose_template_flag(self, vmid: int) -> None:
        """The line `template: 1` goes from the configuration; the disks stay base volumes."""
        guest = self._cluster.guests[vmid]
        self._cluster.write_config(guest, {k: v for k, v in guest.config.items() if k != "template"})

    def move(self, vmid: int, node: str) -> None:
        """`qm migrate` has ended: configuration and disks are on `node`."""
        guest = self._cluster.guests[vmid]
        for _, volid in list(guest.disks()):
            located = self._cluster.storages.locate(volid, guest.node)
            assert located is not None, f"{volid} is on no storage"
            place, volume = located
            if not place.storage.shared:
                place.volumes.pop((volume.content, volume.name))
                self._cluster.storages.place(place.storage, node).put(volume)
        self._cluster.before_change(guest)
        guest.node = node

    async def move_disk(self, vmid: int, key: str, storage: str) -> None:
        """`qm disk move --delete`: of a template it is a base volume there as well, where the storage holds such."""
        cluster, guest = self._cluster, self._cluster.guests[vmid]
        volid, options = options_of(guest.config[key])
        located = cluster.storages.locate(volid, guest.node)
        assert located is not None, f"{volid} is on no storage"
        source, volume = located
        target = cluster.storages.on_node(storage, guest.node)
        upid = cluster.fork(
            node=guest.node,
            type="qmmove",
            id=str(vmid),
            user="root@pam",
            body=lambda task: self._move(task, guest, key, (source, volume), target, options),
        )
        await self._ended("move_disk", upid)

    async def _move(
        self,
        task: Task,
        guest: Guest,
        key: str,
        source: tuple[Place, StoredVolume],
        target: Place,
        options: dict[str, str],
    ) -> None:
        cluster = self._cluster
        format = source[1].format if target.storage.is_file_based else "raw"
        moved = await disks.copy_volume(cluster, task, *source, target, guest, format=format)
        if guest.is_template and target.storage.holds_base_volumes:
            moved = target.to_base(moved, cluster.blobs)
        source[0].drop(source[1], cluster.blobs)
        cluster.write_config(guest, guest.config | {key: with_options(moved.volid, options)})

    def remove_staged_file(self, node: str, storage: str, name: str) -> None:
        self._cluster.faults.remove_file(node, f"{storage}:import/{name}")

    async def _clone(self, vmid: int, newid: int, params: dict[str, str]) -> None:
        await self._do("clone_vm", {"newid": str(newid), **params}, **self._where(vmid))

    def _where(self, vmid: int) -> dict[str, str]:
        return {"node": self._cluster.guests[vmid].node, "vmid": str(vmid)}

    async def _do(self, name: str, params: dict[str, str], **path: str) -> Any:
        """Not through the gate: people are neither counted nor hooked, and no answer of theirs is lost."""
        operation = OPERATIONS[name]
        operation.check(params)
        request = Request(self._cluster, "root@pam", path, params, entry=path["node"])
        upid = await operation.handler(request)
        if isinstance(upid, str):
            await self._ended(name, upid)

    async def _ended(self, name: str, upid: str) -> None:
        task = self._cluster.task(upid)
        await task.done.wait()
        if task.exitstatus != "OK":
            raise AssertionError(f"{name} by hand failed: {task.exitstatus}")
