"""The port to one Proxmox VE cluster, in Proxmox's own words.

Implemented by the adapter over proxmoxer (`adapter.py`) and in-process by the tests' simulator. Reads may be repeated;
a mutation raises `OutcomeUnknown` when its answer was lost, and is never sent twice by this layer. Errors: those of
`providers/errors.py`, with the reasons of `errors.py` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NewType, Protocol

Upid = NewType("Upid", str)
"""`UPID:<node>:<pid>:<pstart>:<starttime>:<type>:<id>:<user>:`; status and log are asked of the node it names."""

Permissions = Mapping[str, Mapping[str, bool]]
"""By path: privilege → whether it propagates (GET /access/permissions)."""


@dataclass(frozen=True, slots=True)
class ClusterNode:
    name: str
    online: bool
    ip: str | None = None
    fingerprint: str | None = None
    """sha256 of the node's certificate, `AA:BB:…` (GET /nodes: ssl_fingerprint); identifies the real cluster."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """GET /cluster/status and /nodes."""

    name: str | None
    """The cluster's name; None: a single, never-clustered node."""
    quorate: bool
    """True for a never-clustered node, which has no `quorate` row."""
    nodes: Sequence[ClusterNode]


@dataclass(frozen=True, slots=True)
class GuestRow:
    """A guest's row in the bulk listing: vmid, node, tags, lock and pool are current; the rest lags by up to 10 s."""

    vmid: int
    node: str
    type: Literal["qemu", "lxc"]
    name: str | None
    status: str
    template: bool | None
    """None: the row does not say (new guest, or its node silent for 5 minutes)."""
    tags: tuple[str, ...] = ()
    lock: str | None = None
    pool: str | None = None
    maxdisk: int | None = None


@dataclass(frozen=True, slots=True)
class NodeStorage:
    """A storage as one node sees it (GET /nodes/{node}/storage)."""

    storage: str
    node: str
    type: str
    content: frozenset[str]
    shared: bool
    enabled: bool
    active: bool
    total: int | None = None
    avail: int | None = None


@dataclass(frozen=True, slots=True)
class StorageRow:
    """A storage on one node in the bulk listing, which knows them of offline nodes too (GET /cluster/resources)."""

    storage: str
    node: str
    type: str
    content: frozenset[str]
    shared: bool


@dataclass(frozen=True, slots=True)
class Volume:
    """A row of a storage's content listing; `size` is the file's for import content, the virtual size for images."""

    volid: str
    content: str
    format: str
    size: int
    vmid: int | None = None
    parent: str | None = None
    ctime: int | None = None


@dataclass(frozen=True, slots=True)
class VmConfig:
    """A guest's own configuration. While it is created or cloned there is little but `lock` in it."""

    vmid: int
    node: str
    values: Mapping[str, str] = field(default_factory=dict)
    """Every key as text; numbers and booleans as Proxmox prints them in the configuration file (`1`, `128`)."""

    @property
    def digest(self) -> str | None:
        return self.values.get("digest")

    @property
    def lock(self) -> str | None:
        return self.values.get("lock")

    @property
    def is_template(self) -> bool:
        return self.values.get("template") == "1"

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(t for t in self.values.get("tags", "").replace(",", ";").split(";") if t)

    @property
    def description(self) -> str:
        return self.values.get("description", "")


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A row of a node's task list. A clone's `id` is its source's VMID; image tasks have a file name or nothing."""

    upid: Upid
    node: str
    type: str
    id: str
    user: str
    starttime: int
    running: bool
    exitstatus: str | None = None


@dataclass(frozen=True, slots=True)
class TaskStatus:
    running: bool
    exitstatus: str | None

    @property
    def ok(self) -> bool:
        """`OK` and `WARNINGS: n` are success."""
        return (
            not self.running
            and self.exitstatus is not None
            and (self.exitstatus == "OK" or self.exitstatus.startswith("WARNINGS: "))
        )


@dataclass(frozen=True, slots=True)
class UrlMetadata:
    filename: str | None
    size: int | None
    mimetype: str | None


class ProxmoxApi(Protocol):
    """One cluster. `node` is always the node in the path; any reachable endpoint proxies to it."""

    # -- reads -------------------------------------------------------------
    async def version(self) -> str:
        """The answering node's `version`, e.g. `8.4.21`."""
        ...

    async def user(self) -> str:
        """The authenticated user as tasks show it: `op@pve!tok` for a token."""
        ...

    async def permissions(self) -> Permissions: ...

    async def cluster_status(self) -> ClusterStatus: ...

    async def node_version(self, node: str) -> str: ...

    async def guests(self) -> Sequence[GuestRow]:
        """GET /cluster/resources?type=vm. Short or empty, without an error, when rights are missing."""
        ...

    async def storage_rows(self) -> Sequence[StorageRow]:
        """GET /cluster/resources?type=storage: which nodes have which storages. Short when rights are missing."""
        ...

    async def storages(self, node: str) -> Sequence[NodeStorage]: ...

    async def content(self, node: str, storage: str, *, content: str, vmid: int | None = None) -> Sequence[Volume]: ...

    async def vm_config(self, node: str, vmid: int) -> VmConfig:
        """Raises `NotFound` when this node has no such guest: it may be on another."""
        ...

    async def tasks(self, node: str, *, type: str | None = None, since: int | None = None) -> Sequence[TaskRow]:
        """Running and finished tasks of a node, newest first (source=all)."""
        ...

    async def task_status(self, upid: Upid) -> TaskStatus:
        """Raises `NotFound` for a task the node does not know."""
        ...

    async def task_log(self, upid: Upid, *, tail: int = 50) -> Sequence[str]:
        """The last lines; empty for a task that has written nothing yet or is unknown."""
        ...

    async def query_url_metadata(self, node: str, url: str) -> UrlMetadata:
        """What the node itself sees at `url`; `Rejected` when it cannot reach it."""
        ...

    # -- mutations ----------------------------------------------------------
    async def download_url(
        self, node: str, storage: str, *, url: str, filename: str, checksum: str, content: str = "import"
    ) -> Upid:
        """`checksum` is `<algorithm>:<hex>`. A file that is there with this checksum is success."""
        ...

    async def create_vm(self, node: str, vmid: int, config: Mapping[str, str]) -> Upid: ...

    async def set_config(
        self, node: str, vmid: int, config: Mapping[str, str], *, delete: Sequence[str] = (), digest: str | None = None
    ) -> None:
        """PUT config: synchronous; waits up to 10 s for the guest's lock."""
        ...

    async def resize_disk(self, node: str, vmid: int, *, disk: str, size_bytes: int) -> Upid: ...

    async def convert_to_template(self, node: str, vmid: int, *, disk: str | None = None) -> Upid: ...

    async def destroy_vm(self, node: str, vmid: int) -> Upid:
        """With purge=1, and no disks but those that the configuration refers to. Without quorum Proxmox destroys the
        disks and then fails: callers check quorum first. A disk that cannot be removed is only a line in the log."""
        ...

    async def delete_volume(self, node: str, storage: str, volid: str) -> Upid: ...

    async def stop_task(self, upid: Upid) -> None: ...

    async def close(self) -> None: ...
