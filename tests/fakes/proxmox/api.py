"""The in-process face: the port `ProxmoxApi`, straight onto the model, for simulations and measurements.

It asks with the parameters that the HTTP adapter sends and turns refusals into errors by the adapter's own table, so
that Proxmox's texts are the truth in both faces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from pantograph.providers.errors import OutcomeUnknown, ProviderError, Unreachable
from pantograph.providers.proxmox import errors
from pantograph.providers.proxmox.port import (
    ClusterNode,
    ClusterStatus,
    GuestRow,
    NodeStorage,
    Permissions,
    TaskRow,
    TaskStatus,
    Upid,
    UrlMetadata,
    VmConfig,
    Volume,
)
from tests.fakes.proxmox.answers import ConnectionLost, PveAnswer
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.guests import split_tags
from tests.fakes.proxmox.operations import OPERATIONS

REFUSED_AFTER_S = 3.0


class SimulatedProxmoxApi:
    """A connection to the simulated cluster as `user`, through the first of `endpoints` (node names) that is up."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        *,
        user: str | None = None,
        secret: str | None = None,
        endpoints: Sequence[str] | None = None,
    ) -> None:
        self._cluster = cluster
        self._user = user or cluster.operator
        self._secret = cluster.access.secret_of(self._user) if secret is None else secret
        self._endpoints = tuple(endpoints or cluster.nodes)
        self._rows: dict[int, tuple[tuple[object, ...], GuestRow]] = {}

    # -- reads -------------------------------------------------------------------------------------------------------
    async def version(self) -> str:
        return str((await self._ask("version"))["version"])

    async def user(self) -> str:
        return self._user

    async def permissions(self) -> Permissions:
        answer: dict[str, dict[str, int]] = await self._ask("permissions")
        return {path: {name: bool(flag) for name, flag in rights.items()} for path, rights in answer.items()}

    async def cluster_status(self) -> ClusterStatus:
        rows = await self._ask("cluster_status")
        fingerprints = {row["node"]: row.get("ssl_fingerprint") for row in await self._ask("nodes")}
        of_cluster = next((row for row in rows if row["type"] == "cluster"), None)
        return ClusterStatus(
            name=of_cluster["name"] if of_cluster else None,
            quorate=bool(of_cluster["quorate"]) if of_cluster else True,
            nodes=[
                ClusterNode(row["name"], bool(row["online"]), row.get("ip"), fingerprints.get(row["name"]))
                for row in rows
                if row["type"] == "node"
            ],
        )

    async def node_version(self, node: str) -> str:
        return str((await self._ask("node_version", node=node))["version"])

    async def guests(self) -> Sequence[GuestRow]:
        return [self._guest_row(row) for row in await self._ask("guests", {"type": "vm"})]

    def _guest_row(self, row: dict[str, Any]) -> GuestRow:
        """Rows that did not change are handed out again: a bulk listing of thousands stays cheap."""
        vmid = int(row["vmid"])
        key = tuple(row.get(name) for name in ("node", "name", "status", "template", "tags", "lock", "pool", "maxdisk"))
        cached = self._rows.get(vmid)
        if cached is not None and cached[0] == key:
            return cached[1]
        made = GuestRow(
            vmid=vmid,
            node=row["node"],
            type=cast("Literal['qemu', 'lxc']", row["type"]),
            name=row.get("name"),
            status=row["status"],
            template=bool(row["template"]) if "template" in row else None,
            tags=split_tags(row.get("tags", "")),
            lock=row.get("lock"),
            pool=row.get("pool"),
            maxdisk=row.get("maxdisk"),
        )
        self._rows[vmid] = (key, made)
        return made

    async def storages(self, node: str) -> Sequence[NodeStorage]:
        return [
            NodeStorage(
                storage=row["storage"],
                node=node,
                type=row["type"],
                content=frozenset(row["content"].split(",")),
                shared=bool(row["shared"]),
                enabled=bool(row["enabled"]),
                active=bool(row["active"]),
                total=row.get("total"),
                avail=row.get("avail"),
            )
            for row in await self._ask("storages", node=node)
        ]

    async def content(self, node: str, storage: str, *, content: str, vmid: int | None = None) -> Sequence[Volume]:
        params = {"content": content} | ({} if vmid is None else {"vmid": str(vmid)})
        return [
            Volume(
                volid=row["volid"],
                content=row["content"],
                format=row["format"],
                size=row["size"],
                vmid=row.get("vmid"),
                parent=row.get("parent"),
                ctime=row.get("ctime"),
            )
            for row in await self._ask("content", params, node=node, storage=storage)
        ]

    async def vm_config(self, node: str, vmid: int) -> VmConfig:
        values = await self._ask("vm_config", node=node, vmid=str(vmid))
        return VmConfig(vmid, node, {key: str(value) for key, value in values.items()})

    async def tasks(self, node: str, *, type: str | None = None, since: int | None = None) -> Sequence[TaskRow]:
        params = {"source": "all", "limit": "500"}
        if type is not None:
            params["typefilter"] = type
        if since is not None:
            params["since"] = str(since)
        return [_task_row(row) for row in await self._ask("tasks", params, node=node)]

    async def task_status(self, upid: Upid) -> TaskStatus:
        row = await self._ask("task_status", node=_node_of(upid), upid=upid)
        return TaskStatus(row["status"] == "running", row.get("exitstatus"))

    async def task_log(self, upid: Upid, *, tail: int = 50) -> Sequence[str]:
        rows = await self._ask("task_log", {"limit": "0"}, node=_node_of(upid), upid=upid)
        if isinstance(rows, dict):
            return []
        lines = [str(row["t"]) for row in rows]
        return [] if lines == ["no content"] else lines[-tail:]

    async def query_url_metadata(self, node: str, url: str) -> UrlMetadata:
        answer = await self._ask("query_url_metadata", {"url": url}, node=node)
        return UrlMetadata(answer.get("filename"), answer.get("size"), answer.get("mimetype"))

    # -- mutations ---------------------------------------------------------------------------------------------------
    async def download_url(
        self, node: str, storage: str, *, url: str, filename: str, checksum: str, content: str = "import"
    ) -> Upid:
        algorithm, _, expected = checksum.partition(":")
        params = {"content": content, "filename": filename, "url": url, "checksum": expected,
                  "checksum-algorithm": algorithm}  # fmt: skip
        return Upid(await self._ask("download_url", params, node=node, storage=storage))

    async def create_vm(self, node: str, vmid: int, config: Mapping[str, str]) -> Upid:
        return Upid(await self._ask("create_vm", {**config, "vmid": str(vmid)}, node=node))

    async def set_config(
        self, node: str, vmid: int, config: Mapping[str, str], *, delete: Sequence[str] = (), digest: str | None = None
    ) -> None:
        params = dict(config)
        if delete:
            params["delete"] = ",".join(delete)
        if digest is not None:
            params["digest"] = digest
        await self._ask("set_config", params, node=node, vmid=str(vmid))

    async def resize_disk(self, node: str, vmid: int, *, disk: str, size_bytes: int) -> Upid:
        params = {"disk": disk, "size": str(size_bytes)}
        return Upid(await self._ask("resize_disk", params, node=node, vmid=str(vmid)))

    async def convert_to_template(self, node: str, vmid: int, *, disk: str | None = None) -> Upid:
        params = {} if disk is None else {"disk": disk}
        return Upid(await self._ask("convert_to_template", params, node=node, vmid=str(vmid)))

    async def destroy_vm(self, node: str, vmid: int) -> Upid:
        params = {"purge": "1", "destroy-unreferenced-disks": "1"}
        return Upid(await self._ask("destroy_vm", params, node=node, vmid=str(vmid)))

    async def delete_volume(self, node: str, storage: str, volid: str) -> Upid:
        return Upid(await self._ask("delete_volume", node=node, storage=storage, volume=volid))

    async def stop_task(self, upid: Upid) -> None:
        await self._ask("stop_task", node=_node_of(upid), upid=upid)

    async def close(self) -> None:
        self._rows.clear()

    # -- one call ----------------------------------------------------------------------------------------------------
    async def _ask(self, name: str, params: Mapping[str, str] | None = None, **path: str) -> Any:
        operation = OPERATIONS[name]
        cluster, given = self._cluster, params or {}
        call = errors.Call(
            mutation=operation.method != "GET",
            user=self._user,
            node=path.get("node"),
            storage=path.get("storage"),
            vmid=int(path["vmid"]) if "vmid" in path else None,
            claims=int(given["vmid"]) if name == "create_vm" else None,
        )
        entry = next((node for node in self._endpoints if cluster.nodes[node].up), self._endpoints[0])
        if not cluster.access.token_is_valid(self._user, self._secret):
            await cluster.clock.sleep(REFUSED_AFTER_S)
            raise errors.http_error(401, "Authentication failed!", call=call)
        try:
            return await cluster.gate.call(operation, user=self._user, entry=entry, path=path, params=given)
        except PveAnswer as answer:
            raise errors.http_error(answer.code, answer.text, answer.errors, call=call) from None
        except ConnectionLost as lost:
            raise _transport_error(lost, call) from None


def _transport_error(lost: ConnectionLost, call: errors.Call) -> ProviderError:
    if lost.sent and call.mutation:
        return OutcomeUnknown(f"the connection ended before the answer: {lost.text}")
    return Unreachable(f"no node of the cluster answers: {lost.text}")


def _task_row(row: Mapping[str, Any]) -> TaskRow:
    running = row["status"] == "RUNNING"
    user = row["user"] if running or "tokenid" not in row else f"{row['user']}!{row['tokenid']}"
    exitstatus = None if running else str(row["status"])
    return TaskRow(Upid(row["upid"]), row["node"], row["type"], row["id"], user, row["starttime"], running, exitstatus)


def _node_of(upid: str) -> str:
    return upid.split(":")[1] if upid.count(":") > 1 else ""
