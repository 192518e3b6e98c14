"""A hand-made port: fixed answers, counted, any of which a test may replace by an error or hold back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pantograph.providers.errors import NotFound, ProviderError
from pantograph.providers.proxmox.port import (
    ClusterNode,
    ClusterStatus,
    GuestRow,
    NodeStorage,
    Permissions,
    StorageRow,
    TaskRow,
    VmConfig,
)

FULL: Permissions = {"/": {"Sys.Audit": True}, "/vms": {"VM.Audit": True}, "/storage": {"Datastore.Audit": True}}


def node(name: str, *, online: bool = True) -> ClusterNode:
    return ClusterNode(name, online, ip=f"10.0.0.{name[-1]}", fingerprint=f"AA:{name}")


def guest(vmid: int, node: str = "pve1") -> GuestRow:
    return GuestRow(vmid, node, "qemu", f"vm-{vmid}", "stopped", False)


@dataclass
class FakePort:
    """The reads that an observer makes."""

    nodes: list[ClusterNode] = field(default_factory=lambda: [node("pve1"), node("pve2"), node("pve3")])
    rows: list[GuestRow] = field(default_factory=list)
    rights: Permissions = field(default_factory=lambda: FULL)
    quorate: bool = True
    name: str | None = "prod"
    user_name: str = "op@pve!tok"
    errors: dict[str, ProviderError] = field(default_factory=dict)
    """By call (`storages pve3`)."""
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    closed: bool = False

    async def _answer(self, call: str) -> None:
        self.calls[call] += 1
        if call in self.held:
            await self.held[call].wait()
        if call in self.errors:
            raise self.errors[call]

    async def user(self) -> str:
        return self.user_name

    async def permissions(self) -> Permissions:
        await self._answer("permissions")
        return self.rights

    async def cluster_status(self) -> ClusterStatus:
        await self._answer("cluster_status")
        return ClusterStatus(self.name, self.quorate, tuple(self.nodes))

    async def guests(self) -> Sequence[GuestRow]:
        rows = tuple(self.rows)
        await self._answer("guests")
        return rows

    async def storage_rows(self) -> Sequence[StorageRow]:
        await self._answer("storage_rows")
        return [StorageRow("local", one.name, "dir", frozenset({"images"}), shared=False) for one in self.nodes]

    async def version(self) -> str:
        await self._answer("version")
        return "8.4.21"

    async def storages(self, node: str) -> Sequence[NodeStorage]:
        await self._answer(f"storages {node}")
        return [NodeStorage("local", node, "dir", frozenset({"import"}), False, True, True, 100, 50)]

    async def node_version(self, node: str) -> str:
        await self._answer(f"node_version {node}")
        return "8.4.21"

    async def tasks(self, node: str, *, type: str | None = None, since: int | None = None) -> Sequence[TaskRow]:
        await self._answer(f"tasks {node}")
        return []

    async def vm_config(self, node: str, vmid: int) -> VmConfig:
        await self._answer(f"vm_config {node} {vmid}")
        if not any(row.vmid == vmid and row.node == node for row in self.rows):
            raise NotFound(f"guest {vmid} is not on node {node!r}", reason="GuestNotOnNode")
        return VmConfig(vmid, node)

    async def close(self) -> None:
        self.closed = True
