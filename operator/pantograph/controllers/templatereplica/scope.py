"""What one reconcile of a `TemplateReplica` has read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from pantograph.api import operation as records
from pantograph.api.meta import Key
from pantograph.api.names import short_hash
from pantograph.api.operation import Operation
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.api.templatereplica import TemplateReplica, TemplateReplicaStatus
from pantograph.api.vmtemplate import CloudInit, Hardware, ImageStatus, VMTemplate
from pantograph.controllers import operations
from pantograph.controllers.outside import Outside
from pantograph.controllers.secrets import read_secret_key
from pantograph.controllers.templatereplica.hardware import Machine, network, settings
from pantograph.engine.scope import Scope
from pantograph.providers.proxmox.connection import ProxmoxConnection
from pantograph.providers.proxmox.mark import Mark, carrier_tag, foreign_mark, own_mark, staged_name
from pantograph.providers.proxmox.port import ProxmoxApi, VmConfig
from pantograph.providers.proxmox.snapshot import ClusterSnapshot

STUB_LOCK: Final = "create"
"""The lock of a machine whose create has not ended, or was killed: then nobody but root can clear it."""


@dataclass(kw_only=True)
class ReplicaScope(Scope[TemplateReplica, TemplateReplicaStatus]):
    """The replica, what it refers to, and its place as it was observed; each set by the step that its name says."""

    outside: Outside
    template: VMTemplate = field(init=False)
    """By `resolve_template`; it has an image."""
    cluster: ProxmoxCluster = field(init=False)
    """By `resolve_cluster`, with `connection` and `world`."""
    connection: ProxmoxConnection = field(init=False)
    world: ClusterSnapshot = field(init=False)
    machine: VmConfig | None = None
    """By `observe`: our virtual machine's configuration; None: there is none, or it need not be read again."""
    verified: bool = False
    """By `observe`: the machine is there, was verified lately, and its row has not changed since."""
    settled: Operation | None = None
    """By `settle_operation`: the work that has just ended, or came to nothing."""

    @property
    def pve(self) -> ProxmoxApi:
        return self.connection.api

    @property
    def node(self) -> str:
        return self.object.spec.node

    @property
    def home(self) -> str:
        """The node where the machine was last seen: on shared storage it may have moved."""
        return self.status.node or self.node

    @property
    def cluster_key(self) -> Key:
        return self.object.spec.cluster_ref.key("ProxmoxCluster", self.object.metadata.namespace)

    @property
    def made(self) -> bool:
        """Whether our machine is there."""
        return self.verified or self.machine is not None

    @property
    def image(self) -> ImageStatus:
        image = self.template.status.image
        assert image is not None, "resolve_template has made sure"
        return image

    @property
    def hardware(self) -> Hardware:
        return self.template.spec.hardware or Hardware()

    @property
    def image_file(self) -> str:
        """The staged file's name: on Proxmox it is the mark."""
        return staged_name(self.image.image_digest, self.image.format)

    def machine_for(self, vmid: int) -> Machine:
        """What the virtual machine must be."""
        return Machine(
            name=self.object.metadata.name,
            storage=self.object.spec.storage,
            hardware=self.hardware,
            cloud_init=self.template.spec.cloud_init or CloudInit(),
            mark=self.mark(vmid),
        )

    def settings_digest(self, vmid: int) -> str:
        """Changes when anything that is applied in place changes, the password included, and gives nothing away."""
        machine = self.machine_for(vmid)
        return short_hash(
            [
                settings(machine),
                network(machine),
                machine.mark.line,
                self.template.status.password_fingerprint,
            ],
            length=32,
        )

    async def read_password(self) -> str | None:
        """The cloud-init password, for the one call that sets it."""
        reference = self.template.spec.cloud_init.password_from if self.template.spec.cloud_init else None
        if reference is None:
            return None
        return await read_secret_key(self.kube, self.object.metadata.namespace, reference)

    def owns(self, config: VmConfig) -> bool:
        """Whether the machine carries our mark: the line of its description, or (that edited away) the tag."""
        uid, installation = self.object.metadata.uid, self.outside.installation.id
        mark = own_mark(config, installation=installation)
        if mark is not None:
            return mark.uid == uid
        return carrier_tag(uid, config.vmid) in config.tags and foreign_mark(config, installation=installation) is None

    def mark(self, vmid: int) -> Mark:
        """What tells this replica's virtual machine from every other."""
        metadata = self.object.metadata
        return Mark(
            installation=self.outside.installation.id,
            kind="TemplateReplica",
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
            vmid=vmid,
            revision=self.status.revision or "",
        )

    async def warn(self, *, reason: str, message: str) -> None:
        """Say it in an Event."""
        await self.services.events.record(
            self.object.info.resource, self.object.metadata, type="Warning", reason=reason, message=message
        )

    async def announce(
        self, type: str, *, node: str | None = None, vmid: int | None = None, volid: str | None = None
    ) -> None:
        """Store the intent of long work on `node` (where the machine is, unless told); see `operations.announce`."""
        operation = records.intend(
            type,
            uid=self.object.metadata.uid,
            generation=self.generation,
            now=self.now,
            attempt=records.next_attempt(self.settled, type=type, generation=self.generation),
            node=node or self.home,
            vmid=vmid,
            volid=volid,
        )
        await operations.announce(self, operation)

    async def ask(self, call: Callable[[], Awaitable[str]]) -> NoReturn:
        """Ask Proxmox for the announced work; see `operations.ask`."""
        await operations.ask(self, call)

    async def begin(
        self,
        type: str,
        call: Callable[[], Awaitable[str]],
        *,
        node: str | None = None,
        vmid: int | None = None,
        volid: str | None = None,
    ) -> NoReturn:
        """Announce long work and ask for it."""
        await self.announce(type, node=node, vmid=vmid, volid=volid)
        await self.ask(call)
