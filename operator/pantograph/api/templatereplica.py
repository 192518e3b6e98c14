"""`TemplateReplica`: one copy of a template in one place."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pantograph.api.base import CommonStatus, KindInfo, PrinterColumn, Resource
from pantograph.api.declaration import CommonSpec
from pantograph.api.markers import ListMap
from pantograph.api.meta import GROUP, VERSION, CelRule, Key, LocalReference, Model, ObjectReference, ResourceType
from pantograph.api.proxmoxcluster import ProxmoxName
from pantograph.api.vmtemplate import DeletionPolicy

Phase = Literal["Pending", "Staging", "Importing", "Converting", "Ready", "Missing", "NotTemplate", "Unknown", "Failed"]
Vmid = Annotated[int, Field(ge=100, le=999_999_999)]


class TemplateReplicaSpec(CommonSpec):
    """One copy of a template in one place."""

    type: Literal["Copy", "Logical"]
    """`Copy`: a real template. `Logical`: another node's view of a copy on shared storage."""
    template_ref: LocalReference
    """The VMTemplate, in this namespace."""
    revision: Annotated[str, Field(max_length=10, pattern=r"^[0-9a-f]{10}$")] | None = None
    """The template's revision; absent: the one it has when the copy is begun."""
    cluster_ref: ObjectReference
    """The ProxmoxCluster."""
    node: ProxmoxName
    """The node that must hold the copy."""
    storage: ProxmoxName
    """The storage that holds the template's disks."""
    staging_storage: ProxmoxName | None = None
    """The storage that takes the image to import."""
    transfer: Literal["Auto", "Depot"] = "Auto"
    """How the image reaches the node."""
    copy_ref: LocalReference | None = None
    """Of a `Logical` one: the real copy."""
    deletion_policy: DeletionPolicy = "Delete"
    """Whether deleting this object deletes its template."""

    cel: ClassVar = (
        CelRule(
            "(self.type == 'Logical') == has(self.copyRef)",
            "copyRef is required with type Logical and only allowed there",
        ),
        *(
            CelRule(f"self.{name} == oldSelf.{name}", f"{name} is immutable; delete this replica and make another")
            for name in ("type", "templateRef", "clusterRef", "node", "storage")
        ),
        CelRule(
            "!has(oldSelf.revision) || (has(self.revision) && self.revision == oldSelf.revision)",
            "revision is immutable once set; delete this replica and make another",
        ),
    )


class StagedStatus(Model):
    """The image file on the node, from which the disk is imported."""

    storage: ProxmoxName
    volid: Annotated[str, Field(max_length=320)]


class Leftover(Model):
    """Something outside that could not be removed, and the command that removes it."""

    node: ProxmoxName
    vmid: Vmid
    command: Annotated[str, Field(max_length=320)]


class TemplateReplicaStatus(CommonStatus):
    """What the copy is and how far it has come."""

    phase: Phase | None = None
    """For people; conditions decide."""
    revision: Annotated[str, Field(max_length=10)] | None = None
    vmid: Vmid | None = None
    node: ProxmoxName | None = None
    """The node that holds the real template."""
    transfer: Annotated[str, Field(max_length=32)] | None = None
    """The way that was taken."""
    staged: StagedStatus | None = None
    applied_digest: Annotated[str, Field(max_length=64)] | None = None
    """Of the hardware and cloud-init settings last applied, secrets by HMAC."""
    leftovers: Annotated[list[Leftover], Field(max_length=16), ListMap("node", "vmid")] | None = None

    @property
    def holds_anything(self) -> bool:
        """Whether anything of it is outside, or was at least intended: without a stored intent nothing is ever made."""
        return bool(self.operation or self.vmid or self.staged or self.leftovers)


class TemplateReplica(Resource[TemplateReplicaSpec, TemplateReplicaStatus]):
    """One copy of a template in one place."""

    info: ClassVar[KindInfo] = KindInfo(
        resource=ResourceType(GROUP, VERSION, "templatereplicas", "TemplateReplica"),
        short_names=("trep",),
        columns=(
            PrinterColumn("Type", "string", ".spec.type", priority=1),
            PrinterColumn("Node", "string", ".spec.node"),
            PrinterColumn("VMID", "integer", ".status.vmid"),
            PrinterColumn("Phase", "string", ".status.phase"),
            PrinterColumn("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Progress", "integer", ".status.operation.progress.percent"),
            PrinterColumn("Message", "string", '.status.conditions[?(@.type=="Ready")].message', priority=1),
            PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
        ),
    )

    def refers_to(self) -> tuple[Key, ...]:
        namespace = self.metadata.namespace
        keys = [
            Key("VMTemplate", namespace, self.spec.template_ref.name),
            self.spec.cluster_ref.key("ProxmoxCluster", namespace),
        ]
        if self.spec.copy_ref:
            keys.append(Key("TemplateReplica", namespace, self.spec.copy_ref.name))
        return tuple(keys)
