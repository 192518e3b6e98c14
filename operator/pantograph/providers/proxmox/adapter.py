"""The port to a Proxmox cluster, call by call: paths and parameters in, the port's dataclasses out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from pantograph.clock import Clock
from pantograph.providers.errors import OutcomeUnknown, ProtocolError, ProviderError
from pantograph.providers.proxmox import decode, privileges
from pantograph.providers.proxmox.port import (
    ClusterStatus,
    GuestRow,
    NodeStorage,
    Permissions,
    StorageRow,
    TaskRow,
    TaskStatus,
    Upid,
    UrlMetadata,
    VmConfig,
    Volume,
)
from pantograph.providers.proxmox.privileges import Need
from pantograph.providers.proxmox.session import Answer
from pantograph.providers.proxmox.settings import ConnectionSettings
from pantograph.providers.proxmox.tasks import parse_upid, upid_of
from pantograph.providers.proxmox.transport import CallHook, CircuitHook, Transport, no_circuit_hook, no_hook

T = TypeVar("T")

TASKS_LIMIT = 500
"""Rows of a node's task list that are asked for: Proxmox's default of 50 hides a task on a busy node."""


class Requests(Protocol):
    """What carries a call to the cluster and back: `Transport`, or a cluster simulated in this process."""

    async def request(
        self,
        verb: str,
        template: str,
        values: Mapping[str, str],
        *,
        at: Mapping[str, str | int],
        needs: Sequence[Need] = (),
        claims: int | None = None,
        fail_over: bool = True,
    ) -> Answer: ...

    def close(self) -> None: ...


class ProxmoxerApi:
    """`ProxmoxApi` over proxmoxer."""

    def __init__(
        self,
        settings: ConnectionSettings,
        clock: Clock,
        *,
        on_call: CallHook = no_hook,
        on_circuit: CircuitHook = no_circuit_hook,
        transport: Requests | None = None,
    ) -> None:
        self._user = settings.user
        self._transport = transport or Transport(settings, clock, on_call=on_call, on_circuit=on_circuit)

    # -- reads -------------------------------------------------------------

    async def version(self) -> str:
        return await self._read("/version", lambda data: str(data["version"]))

    async def user(self) -> str:
        return self._user

    async def permissions(self) -> Permissions:
        return await self._read("/access/permissions", decode.permissions)

    async def cluster_status(self) -> ClusterStatus:
        status = await self._read("/cluster/status", list)
        nodes = await self._read("/nodes", list)
        return _decoded(lambda: decode.cluster_status(status, nodes))

    async def node_version(self, node: str) -> str:
        return await self._read(
            "/nodes/{node}/status", lambda data: decode.pve_version(data["pveversion"]), at={"node": node}
        )

    async def guests(self) -> Sequence[GuestRow]:
        return await self._read("/cluster/resources", _rows(decode.guest), values={"type": "vm"})

    async def storage_rows(self) -> Sequence[StorageRow]:
        return await self._read("/cluster/resources", _rows(decode.storage_row), values={"type": "storage"})

    async def storages(self, node: str) -> Sequence[NodeStorage]:
        return await self._read(
            "/nodes/{node}/storage", _rows(lambda row: decode.node_storage(node, row)), at={"node": node}
        )

    async def content(self, node: str, storage: str, *, content: str, vmid: int | None = None) -> Sequence[Volume]:
        values = {"content": content} | ({"vmid": str(vmid)} if vmid is not None else {})
        return await self._read(
            "/nodes/{node}/storage/{storage}/content",
            _rows(decode.volume),
            values=values,
            at={"node": node, "storage": storage},
        )

    async def vm_config(self, node: str, vmid: int) -> VmConfig:
        return await self._read(
            "/nodes/{node}/qemu/{vmid}/config",
            lambda data: decode.vm_config(node, vmid, data),
            at={"node": node, "vmid": vmid},
        )

    async def tasks(self, node: str, *, type: str | None = None, since: int | None = None) -> Sequence[TaskRow]:
        values = {"source": "all", "limit": str(TASKS_LIMIT)}
        if type is not None:
            values["typefilter"] = type
        if since is not None:
            values["since"] = str(since)
        rows = await self._read("/nodes/{node}/tasks", _rows(decode.task), values=values, at={"node": node})
        return sorted(rows, key=lambda row: row.starttime, reverse=True)

    async def task_status(self, upid: Upid) -> TaskStatus:
        return await self._read(
            "/nodes/{node}/tasks/{upid}/status", decode.task_status, at={"node": parse_upid(upid).node, "upid": upid}
        )

    async def task_log(self, upid: Upid, *, tail: int = 50) -> Sequence[str]:
        template, node = "/nodes/{node}/tasks/{upid}/log", parse_upid(upid).node
        first = await self._transport.request(
            "GET", template, {"start": "0", "limit": str(tail)}, at={"node": node, "upid": upid}
        )
        if first.total is None or first.total <= tail:
            return _decoded(lambda: decode.log_lines(first.data))
        values = {"start": str(first.total - tail), "limit": str(tail)}
        return await self._read(template, decode.log_lines, values=values, at={"node": node, "upid": upid})

    async def query_url_metadata(self, node: str, url: str) -> UrlMetadata:
        return await self._read(
            "/nodes/{node}/query-url-metadata",
            decode.url_metadata,
            values={"url": url},
            needs=(privileges.look_at_url(node),),
            at={"node": node},
        )

    # -- mutations ----------------------------------------------------------

    async def download_url(
        self, node: str, storage: str, *, url: str, filename: str, checksum: str, content: str = "import"
    ) -> Upid:
        algorithm, _, digest = checksum.partition(":")
        values = {
            "content": content,
            "filename": filename,
            "url": url,
            "checksum": digest,
            "checksum-algorithm": algorithm,
        }
        return await self._begin(
            "POST",
            "/nodes/{node}/storage/{storage}/download-url",
            values,
            needs=privileges.download(node, storage),
            at={"node": node, "storage": storage},
        )

    async def create_vm(self, node: str, vmid: int, config: Mapping[str, str]) -> Upid:
        with _hushed(config):
            return await self._begin(
                "POST",
                "/nodes/{node}/qemu",
                {**config, "vmid": str(vmid)},
                needs=(Need(f"/vms/{vmid}", ("VM.Allocate",)),),
                claims=vmid,
                at={"node": node},
            )

    async def set_config(
        self, node: str, vmid: int, config: Mapping[str, str], *, delete: Sequence[str] = (), digest: str | None = None
    ) -> None:
        values = dict(config)
        if delete:
            values["delete"] = ",".join(delete)
        if digest is not None:
            values["digest"] = digest
        with _hushed(config):
            await self._transport.request(
                "PUT", "/nodes/{node}/qemu/{vmid}/config", values, at={"node": node, "vmid": vmid}
            )

    async def resize_disk(self, node: str, vmid: int, *, disk: str, size_bytes: int) -> Upid:
        values = {"disk": disk, "size": str(size_bytes)}
        return await self._begin("PUT", "/nodes/{node}/qemu/{vmid}/resize", values, at={"node": node, "vmid": vmid})

    async def convert_to_template(self, node: str, vmid: int, *, disk: str | None = None) -> Upid:
        values = {} if disk is None else {"disk": disk}
        return await self._begin("POST", "/nodes/{node}/qemu/{vmid}/template", values, at={"node": node, "vmid": vmid})

    async def destroy_vm(self, node: str, vmid: int) -> Upid:
        # What the configuration does not refer to is not proved ours: Proxmox would take every volume of this number on
        # all enabled storages, also those of an earlier guest, or of another cluster on the same storage.
        values = {"purge": "1", "destroy-unreferenced-disks": "0"}
        # No other endpoint in its place: the caller saw quorum at this one.
        return await self._begin(
            "DELETE", "/nodes/{node}/qemu/{vmid}", values, fail_over=False, at={"node": node, "vmid": vmid}
        )

    async def delete_volume(self, node: str, storage: str, volid: str) -> Upid:
        return await self._begin(
            "DELETE",
            "/nodes/{node}/storage/{storage}/content/{volid}",
            {},
            needs=privileges.delete_staged(storage),
            at={"node": node, "storage": storage, "volid": volid},
        )

    async def stop_task(self, upid: Upid) -> None:
        await self._transport.request(
            "DELETE", "/nodes/{node}/tasks/{upid}", {}, at={"node": parse_upid(upid).node, "upid": upid}
        )

    async def close(self) -> None:
        self._transport.close()

    # -- the two forms of a call ----------------------------------------------

    async def _read(
        self,
        template: str,
        read: Callable[[Any], T],
        *,
        at: Mapping[str, str | int] | None = None,
        values: Mapping[str, str] | None = None,
        needs: Sequence[Need] = (),
    ) -> T:
        answer = await self._transport.request("GET", template, values or {}, at=at or {}, needs=needs)
        return _decoded(lambda: read(answer.data))

    async def _begin(self, verb: str, template: str, values: Mapping[str, str], **options: Any) -> Upid:
        answer = await self._transport.request(verb, template, values, **options)
        try:
            return upid_of(answer.data)
        except ProtocolError as error:
            raise OutcomeUnknown(f"{verb} {template}: {error.message}") from None


@contextmanager
def _hushed(config: Mapping[str, str]) -> Iterator[None]:
    """Proxmox's parameter checks may repeat what they were given; a password must not get into a message so."""
    try:
        yield
    except ProviderError as error:
        password = config.get("cipassword")
        if not password or password not in error.message:
            raise
        told = error.message.replace(password, "(password)")
        raise type(error)(told, reason=error.reason, remedy=error.remedy) from None


def _decoded(read: Callable[[], T]) -> T:
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"Proxmox answered in a form that is not its own: {error!r}") from error


def _rows(one: Callable[[Mapping[str, Any]], T]) -> Callable[[Any], list[T]]:
    return lambda data: [one(row) for row in data]
