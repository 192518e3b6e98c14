"""`VMTemplate`: a golden image and its hardware, and where copies of it must be."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pantograph.api.base import CommonStatus, KindInfo, PrinterColumn, Resource
from pantograph.api.declaration import CommonSpec
from pantograph.api.markers import IntOrString, ListMap, ListSet
from pantograph.api.meta import (
    GROUP,
    VERSION,
    CelRule,
    Key,
    LocalReference,
    Model,
    Name,
    ObjectReference,
    Quantity,
    ResourceType,
)
from pantograph.api.proxmoxcluster import MAX_NODES, ProxmoxName
from pantograph.api.units import Timestamp

Digest = Annotated[str, Field(max_length=135, pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")]
DeletionPolicy = Literal["Delete", "Retain"]
MinReady = Annotated[int | Literal["All"], IntOrString()]
"""How many places: a number of them, or `All`."""
MAX_PLACEMENTS = 32
MAX_LOCATIONS = 256


class HttpSource(Model):
    """An image that the operator downloads once and verifies before anyone sees it."""

    url: Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[^\s]+$")]
    """Where the image is; `http` or `https`. Compressed images (`.gz .xz .zst .bz2`) are unpacked."""

    checksum: Digest | None = None
    """`sha256:<hex>` or `sha512:<hex>` of the file as served, before it is unpacked."""

    headers_from: LocalReference | None = None
    """A Secret in this namespace; each key is sent as a request header with its value."""


class Source(Model):
    """Where the master copy comes from."""

    http: HttpSource
    """An image on an HTTP server."""


class Disk(Model):
    """The boot disk."""

    size: Quantity | None = None
    """Its size; larger than the image's: grown before the template is made. Absent: the image's."""

    bus: Literal["scsi", "virtio", "sata", "ide"] = "scsi"
    """The bus it is attached to."""


class Network(Model):
    """The first network card."""

    bridge: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_.-]+$")]
    """The node's bridge, such as `vmbr0`."""

    model: Literal["virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"] = "virtio"

    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None
    """The VLAN tag."""


class Hardware(Model):
    """The machine that clones start from. Disk, scsiController, machine, firmware, tpm and osType cannot change once
    the image is known; everything else is applied to the existing templates in place."""

    cores: Annotated[int, Field(ge=1, le=512)] = 1
    """CPU cores per socket."""
    sockets: Annotated[int, Field(ge=1, le=16)] = 1
    memory: Annotated[str, Field(max_length=16, pattern=r"^[1-9][0-9]*(Mi|Gi|Ti)$")] = "1Gi"
    """Memory, such as `512Mi` or `4Gi`."""
    cpu_type: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")] = "x86-64-v2-AES"
    """The emulated CPU type."""
    machine: Literal["q35", "pc"] | None = None
    """The machine type; absent: Proxmox's default (i440fx)."""
    firmware: Literal["SeaBIOS", "OVMF", "OVMFSecureBoot"] = "SeaBIOS"
    """OVMF adds an EFI disk; OVMFSecureBoot one with pre-enrolled keys."""
    tpm: Literal["v2.0"] | None = None
    """Adds a TPM state volume."""
    scsi_controller: Literal["virtio-scsi-single", "virtio-scsi-pci", "lsi", "megasas", "pvscsi"] = "virtio-scsi-single"
    disk: Disk | None = None
    network: Network | None = None
    """Absent: no network card."""
    agent: bool = True
    """Whether the QEMU guest agent is expected in the guest."""
    os_type: Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[a-z0-9]+$")] = "l26"
    """Proxmox's `ostype`, such as `l26` or `win11`."""
    tags: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9_][a-z0-9_+.-]*$")]],
            Field(max_length=16),
            ListSet(),
        ]
        | None
    ) = None
    """Further Proxmox tags."""

    cel: ClassVar = (
        CelRule(
            "!has(self.tpm) || self.firmware != 'SeaBIOS'",
            "hardware.tpm needs hardware.firmware OVMF or OVMFSecureBoot",
        ),
        CelRule(
            "!has(self.tags) || self.tags.all(t, t != 'pantograph' && !t.startsWith('pg-'))",
            "hardware.tags must not contain 'pantograph' or 'pg-…': these mark what the operator owns",
        ),
    )


class SecretKey(Model):
    """One key of a Secret in this namespace."""

    name: Name
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]


class CloudInit(Model):
    """Cloud-init defaults of the template; clones may override them."""

    user: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")] | None = None
    password_from: SecretKey | None = None
    """The user's password."""
    ssh_keys: Annotated[list[Annotated[str, Field(min_length=16, max_length=2048)]], Field(max_length=32)] | None = None
    """Public keys, one a line of `authorized_keys`."""
    ip_config: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9=,.:/]+$")] | None = None
    """Proxmox's `ipconfig0`, such as `ip=dhcp`."""


class ProxmoxPlacement(Model):
    """Nodes of one Proxmox VE cluster."""

    cluster_ref: ObjectReference
    """The ProxmoxCluster."""
    storage: ProxmoxName
    """The storage that holds the template's disks. On shared storage one template serves every node."""
    staging_storage: ProxmoxName | None = None
    """The storage that takes the image file (content `import`); absent: `storage` if it can, else the first."""
    nodes: Annotated[list[ProxmoxName], Field(min_length=1, max_length=MAX_NODES), ListSet()] | None = None
    """The nodes; absent: every node of the cluster that has the storage."""
    exclude_nodes: Annotated[list[ProxmoxName], Field(max_length=MAX_NODES), ListSet()] | None = None
    """Nodes left out."""


class Placement(Model):
    """Places that must hold a copy."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Tells this placement from the others."""
    proxmox: ProxmoxPlacement
    """Nodes of a Proxmox VE cluster."""
    transfer: Literal["Auto", "Depot"] | None = None
    """How the image reaches the node; absent: `Auto`. `Depot`: the node downloads it from the operator."""


class VMTemplateSpec(CommonSpec):
    """A golden image and its hardware, and where copies of it must be."""

    cel: ClassVar = (
        CelRule(
            "!has(self.minReady) || (type(self.minReady) == int ? self.minReady >= 1 : self.minReady == 'All')",
            "minReady must be a number from 1 on, or 'All'",
        ),
    )

    source: Source
    hardware: Hardware | None = None
    cloud_init: CloudInit | None = None
    placements: Annotated[list[Placement], Field(min_length=1, max_length=MAX_PLACEMENTS), ListMap("name")]
    min_ready: MinReady | None = None
    """How many places must be ready for the template to be Ready: a number or `All` (the default)."""
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 4
    """Copies made at once."""
    deletion_policy: DeletionPolicy = "Delete"
    """Whether deleting this object deletes the templates that were made for it."""


class ImageStatus(Model):
    """The master image, once it was fetched and verified."""

    served_digest: Digest
    """Of the file as served: what `checksum` speaks of."""
    image_digest: Digest
    """Of the unpacked file: what nodes verify."""
    format: Literal["qcow2", "raw", "vmdk"]
    virtual_size_bytes: Annotated[int, Field(ge=0)]


class ReplicaCounts(Model):
    """Places and how they stand."""

    desired: Annotated[int, Field(ge=0)] = 0
    ready: Annotated[int, Field(ge=0)] = 0
    failed: Annotated[int, Field(ge=0)] = 0
    extra: Annotated[int, Field(ge=0)] = 0
    """Copies that people declared beside the plan."""
    summary: Annotated[str, Field(max_length=32)] = "0/0"
    """Ready and desired, such as `3/3`."""


class Location(Model):
    """One place that holds a copy."""

    replica: Name
    """The TemplateReplica."""
    cluster: Annotated[str, Field(max_length=320)]
    """The ProxmoxCluster, `namespace/name`."""
    node: ProxmoxName
    storage: ProxmoxName
    vmid: Annotated[int, Field(ge=100, le=999_999_999)] | None = None
    ready: bool
    primary: bool | None = None
    """The copy from which others could be cloned."""


class TemplateProgress(Model):
    """How far the places under way have come."""

    percent: Annotated[int, Field(ge=0, le=100)]
    updated_at: Timestamp
    """When the counts, the places and this figure were last written."""


class VMTemplateStatus(CommonStatus):
    """The image, the revision and the places."""

    image: ImageStatus | None = None
    revision: Annotated[str, Field(max_length=10, pattern=r"^[0-9a-f]{10}$")] | None = None
    """Names what a copy cannot change in place: image, disk, controllers, firmware."""
    current: Annotated[str, Field(max_length=10, pattern=r"^[0-9a-f]{10}$")] | None = None
    """The revision that enough places hold (`minReady`)."""
    password_fingerprint: Annotated[str, Field(max_length=32)] | None = None
    """Changes when the cloud-init password changes; an HMAC that tells nothing about it."""
    replicas: ReplicaCounts | None = None
    progress: TemplateProgress | None = None
    locations: Annotated[list[Location], Field(max_length=MAX_LOCATIONS), ListMap("replica")] | None = None
    """Where copies are; all of them stand in the ConfigMap `<name>-locations`."""
    further_locations: Annotated[str, Field(max_length=10)] | None = None
    """Changes with the places that only the ConfigMap holds; absent: there are none."""


def _frozen(path: str, absent: str = "") -> CelRule:
    """`spec.<path>` cannot change once `status.image` is set; where it is absent, it counts as `absent`.

    Spelt out by `has`: the API server knows no bounds of an optional (`.?`) and refuses it as too expensive.
    """
    parts = path.split(".")
    steps = [".".join(parts[: length + 1]) for length in range(len(parts))]

    def value(root: str) -> str:
        present = " && ".join(f"has({root}.spec.{step})" for step in steps)
        return f"({present} ? {root}.spec.{path} : '{absent}')"

    return CelRule(
        f"!has(oldSelf.status) || !has(oldSelf.status.image) || {value('self')} == {value('oldSelf')}",
        f"spec.{path} cannot change after the image was fetched: every copy was made from it; "
        "create another VMTemplate instead",
        field_path=f".spec.{path}",
    )


def _frozen_default(model: type[Model], field: str, path: str) -> CelRule:
    """The same for a field with a default: giving the default explicitly, or giving other hardware, is no change."""
    return _frozen(path, model.model_fields[field].default)


class VMTemplate(Resource[VMTemplateSpec, VMTemplateStatus]):
    """A golden image that becomes a template in every place it is wanted."""

    info: ClassVar[KindInfo] = KindInfo(
        resource=ResourceType(GROUP, VERSION, "vmtemplates", "VMTemplate"),
        short_names=("vmt",),
        columns=(
            PrinterColumn("Ready", "string", ".status.replicas.summary"),
            PrinterColumn("Status", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Progress", "integer", ".status.progress.percent"),
            PrinterColumn("Revision", "string", ".status.current"),
            PrinterColumn("Message", "string", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
        ),
        rules=(
            CelRule(
                "self.metadata.name.size() <= 40", "metadata.name of a VMTemplate must not be longer than 40 characters"
            ),
            _frozen("source.http.url"),
            _frozen("source.http.checksum"),
            _frozen("hardware.disk.size"),
            _frozen_default(Disk, "bus", "hardware.disk.bus"),
            _frozen_default(Hardware, "scsi_controller", "hardware.scsiController"),
            _frozen("hardware.machine"),
            _frozen_default(Hardware, "firmware", "hardware.firmware"),
            _frozen("hardware.tpm"),
            _frozen_default(Hardware, "os_type", "hardware.osType"),
        ),
    )

    def refers_to(self) -> tuple[Key, ...]:
        clusters = {
            placement.proxmox.cluster_ref.key("ProxmoxCluster", self.metadata.namespace)
            for placement in self.spec.placements
        }
        return tuple(sorted(clusters))
