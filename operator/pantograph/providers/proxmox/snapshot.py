"""What one tick saw of a cluster, and what may be concluded from it: least of all that something is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pantograph.providers.errors import NotFound, ProviderError
from pantograph.providers.proxmox.port import (
    ClusterStatus,
    GuestRow,
    NodeStorage,
    Permissions,
    ProxmoxApi,
    StorageRow,
    TaskRow,
)
from pantograph.providers.proxmox.privileges import held_at


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSnapshot:
    """One look at a whole cluster. Guests are the cluster's; storages, versions and tasks are each node's own."""

    taken_at: datetime
    """When the look began."""
    status: ClusterStatus
    guests: Mapping[int, GuestRow]
    permissions: Permissions
    version: str = ""
    """Of the node that answered."""
    storage_rows: Sequence[StorageRow] = ()
    """Which nodes have which storages, offline nodes included."""
    storages: Mapping[tuple[str, str], NodeStorage] = field(default_factory=dict)
    """By (node, storage)."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """By node; may be older than the rest."""
    running: Mapping[str, Sequence[TaskRow]] = field(default_factory=dict)
    """Running tasks by node, where the observer asks for them."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Nodes of which nothing but membership is known, and why: an absent storage there means nothing."""
    problem: str | None = None
    """Why the list of guests cannot be taken for whole."""
    tagged: Mapping[str, int] = field(default_factory=dict)
    """VMIDs by the first 16 digits of the uid that a guest's own tag names: a lead, no proof."""

    @property
    def complete(self) -> bool:
        """Whether the list of guests is whole: the cluster is quorate and the credentials see every guest.

        Says nothing of storages: for those, see `unread`.
        """
        return self.problem is None

    def node_online(self, node: str) -> bool | None:
        """None: the cluster has no such member."""
        return next((member.online for member in self.status.nodes if member.name == node), None)


def completeness_problem(status: ClusterStatus, permissions: Permissions) -> str | None:
    """Why a listing made under these conditions may be short: lists lose rows, not their 200, with missing rights."""
    if not status.quorate:
        return "the cluster has no quorum"
    if "VM.Audit" not in held_at(permissions, "/vms", propagating=True):
        return "the credentials do not hold a propagating VM.Audit on /vms"
    return None


@dataclass(frozen=True, slots=True)
class Absence:
    """Whether a guest is proved to be gone, and what the verdict rests on."""

    proved: bool
    why: str


async def absence(api: ProxmoxApi, snapshot: ClusterSnapshot, *, vmid: int, last_node: str) -> Absence:
    """Whether `vmid`, last seen on `last_node`, is gone: what is not proved gone is unknown, and nothing follows.

    Proved: the list was whole, has no such VMID, and the last node says that it has no such configuration (or is no
    member any more, so that no configuration of its could be left out of the list). Raises nothing: a question that
    cannot be asked proves nothing.
    """
    if snapshot.problem is not None:
        return Absence(False, snapshot.problem)
    if (row := snapshot.guests.get(vmid)) is not None:
        return Absence(False, f"guest {vmid} is on node {row.node!r}")
    if "VM.Audit" not in held_at(snapshot.permissions, f"/vms/{vmid}"):
        return Absence(False, f"the credentials do not hold VM.Audit on /vms/{vmid}")
    if snapshot.node_online(last_node) is None:
        return Absence(True, f"guest {vmid} is not listed, and node {last_node!r} has left the cluster")
    try:
        await api.vm_config(last_node, vmid)
    except NotFound as error:
        return Absence(error.reason == "GuestNotOnNode", error.message)
    except ProviderError as error:
        return Absence(False, error.message)
    return Absence(False, f"guest {vmid} is not listed, yet node {last_node!r} has its configuration")
