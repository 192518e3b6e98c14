"""`ProxmoxCluster`: how to reach one Proxmox VE cluster, and what was seen there."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pantograph.api.base import CommonStatus, KindInfo, PrinterColumn, Resource
from pantograph.api.declaration import CommonSpec
from pantograph.api.markers import ListMap, ListSet, exactly_one_of
from pantograph.api.meta import GROUP, VERSION, CelRule, LocalReference, Model, NamespaceOrAll, ResourceType

ProxmoxName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")]
"""A node's or a storage's name, as Proxmox allows it."""

MAX_NODES = 64
MAX_STORAGES = 256


class Tls(Model):
    """How the endpoints' certificates are verified."""

    ca_ref: LocalReference | None = None
    """A Secret in this namespace whose key `ca.crt` holds the authority's certificate (PEM)."""

    fingerprint: (
        Annotated[str, Field(min_length=95, max_length=95, pattern=r"^([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$")] | None
    ) = None
    """The sha256 fingerprint of the endpoint's certificate, as Proxmox shows it (`AA:BB:…`)."""

    insecure_skip_verify: Literal[True] | None = None
    """Trust any certificate. Whoever stands between can then read the credentials."""

    cel: ClassVar = (exactly_one_of("caRef", "fingerprint", "insecureSkipVerify"),)


class VmidRange(Model):
    """The VMIDs that may be taken for templates."""

    min: Annotated[int, Field(ge=100, le=999_999_999)] = 100
    """The first VMID."""

    max: Annotated[int, Field(ge=100, le=999_999_999)] = 999_999
    """The last VMID."""

    cel: ClassVar = (CelRule("self.min <= self.max", "vmidRange.min must not be greater than vmidRange.max"),)


class Limits(Model):
    """How hard the cluster's API may be used."""

    max_concurrent_requests: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests under way at once."""

    requests_per_second: Annotated[int, Field(ge=1, le=1000)] = 20
    """Requests begun in a second, on average."""


class ProxmoxClusterSpec(CommonSpec):
    """How to reach one Proxmox VE cluster."""

    cel: ClassVar = (
        CelRule(
            "self.endpoints.all(e, !e.startsWith('http://'))",
            "http:// would send the credentials unencrypted; write https:// in endpoints",
        ),
    )

    endpoints: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=300, pattern=r"^(https://)?[A-Za-z0-9\[\]:._-]+/?$")]],
        Field(min_length=1, max_length=16),
        ListSet(),
    ]
    """Addresses of nodes, `host`, `host:port` or `https://host:port` (default port 8006), tried in order."""

    credentials_ref: LocalReference
    """A Secret in this namespace: `tokenId` (`user@realm!token`) and `tokenSecret`, or `username` and `password`."""

    tls: Tls | None = None
    """How certificates are verified; absent: by the system's authorities."""

    vmid_range: VmidRange | None = None
    """The VMIDs that may be taken; absent: 100 to 999999."""

    limits: Limits | None = None
    """How hard the API may be used."""

    depot_url: Annotated[str, Field(min_length=8, max_length=300, pattern=r"^https?://[^\s?#]+$")] | None = Field(
        default=None, alias="depotURL"
    )
    """Where this cluster's nodes reach the operator's depot; absent: the operator's own setting."""

    allowed_namespaces: Annotated[list[NamespaceOrAll], Field(max_length=64), ListSet()] | None = None
    """Other namespaces whose objects may use this connection; `*` means all. Absent: only this namespace."""


class NodeStatus(Model):
    """One node, as the cluster reports it."""

    name: ProxmoxName
    online: bool
    version: Annotated[str, Field(max_length=32)] | None = None
    """Its Proxmox VE version."""


class StorageStatus(Model):
    """One storage and the nodes that have it."""

    name: ProxmoxName
    type: Annotated[str, Field(max_length=32)]
    shared: bool
    content: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=16), ListSet()]
    """What it may hold."""
    nodes: Annotated[list[ProxmoxName], Field(max_length=MAX_NODES), ListSet()]


class MissingPrivileges(Model):
    """Rights that the credentials lack for a feature."""

    feature: Annotated[str, Field(max_length=63)]
    path: Annotated[str, Field(max_length=253)]
    privileges: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=32), ListSet()]


class ProxmoxClusterStatus(CommonStatus):
    """What was seen of the cluster."""

    version: Annotated[str, Field(max_length=32)] | None = None
    """The Proxmox VE version of the node that answered."""
    cluster_name: Annotated[str, Field(max_length=63)] | None = None
    """The cluster's own name; absent for a single node that never joined one."""
    quorate: bool | None = None
    """Whether the cluster has quorum. Nothing is made or deleted without it."""
    nodes: Annotated[list[NodeStatus], Field(max_length=MAX_NODES), ListMap("name")] | None = None
    nodes_online: Annotated[str, Field(max_length=16)] | None = None
    """Online and all nodes, such as `3/3`."""
    storages: Annotated[list[StorageStatus], Field(max_length=MAX_STORAGES), ListMap("name")] | None = None
    missing_privileges: Annotated[list[MissingPrivileges], Field(max_length=64), ListMap("feature", "path")] | None = (
        None
    )


class ProxmoxCluster(Resource[ProxmoxClusterSpec, ProxmoxClusterStatus]):
    """How to reach one Proxmox VE cluster."""

    info: ClassVar[KindInfo] = KindInfo(
        resource=ResourceType(GROUP, VERSION, "proxmoxclusters", "ProxmoxCluster"),
        short_names=("pmx",),
        columns=(
            PrinterColumn("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Version", "string", ".status.version"),
            PrinterColumn("Nodes", "string", ".status.nodesOnline"),
            PrinterColumn("Message", "string", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
        ),
        rules=(
            CelRule(
                "self.metadata.name.size() <= 40",
                "metadata.name of a ProxmoxCluster must not be longer than 40 characters",
            ),
        ),
    )
