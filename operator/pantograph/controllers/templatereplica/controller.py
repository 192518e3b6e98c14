"""`TemplateReplica`: makes and keeps one copy of a template in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from pantograph.api.meta import Key
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.api.templatereplica import TemplateReplica
from pantograph.api.vmtemplate import VMTemplate
from pantograph.controllers import faults, indexes
from pantograph.controllers.outside import Outside
from pantograph.controllers.templatereplica.leftovers import report_left_behind, report_left_disks
from pantograph.controllers.templatereplica.logical import mirror_copy
from pantograph.controllers.templatereplica.making import (
    await_turn,
    ensure_imported,
    ensure_settings,
    ensure_size,
    ensure_staged,
    ensure_template,
)
from pantograph.controllers.templatereplica.observing import observe
from pantograph.controllers.templatereplica.removing import ensure_purged, ensure_unstaged
from pantograph.controllers.templatereplica.reporting import report, require_storage
from pantograph.controllers.templatereplica.resolving import (
    require_node,
    resolve_cluster,
    resolve_template,
    settle_operation,
)
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.engine.controller import Controller, Step
from pantograph.engine.errors import StepError
from pantograph.engine.services import Services


class TemplateReplicaController(Controller[TemplateReplica]):
    """Makes and keeps one copy of a template in one place."""

    model: ClassVar = TemplateReplica
    steps: ClassVar = (
        resolve_template,
        resolve_cluster,
        require_node,
        settle_operation,
        observe,
        await_turn,
        ensure_staged,
        ensure_imported,
        ensure_size,
        ensure_template,
        ensure_settings,
        ensure_unstaged,
        require_storage,
        report,
    )
    undo: ClassVar = (
        resolve_cluster,
        require_node,
        settle_operation,
        observe,
        ensure_purged,
        report_left_disks,
        ensure_unstaged,
        report_left_behind,
    )

    def __init__(self, services: Services, outside: Outside) -> None:
        super().__init__(services)
        self.outside = outside

    def open_scope(self, obj: TemplateReplica) -> ReplicaScope:
        return ReplicaScope(object=obj, services=self.services, outside=self.outside)

    def recipe(self, obj: TemplateReplica) -> Sequence[Step]:
        """A view has nothing outside; a copy of which no intent was ever stored has nothing to undo."""
        if obj.spec.type == "Logical":
            return () if obj.deleting else (mirror_copy,)
        if obj.deleting and not obj.status.holds_anything:
            return ()
        return super().recipe(obj)

    def needs_finalizer(self, obj: TemplateReplica) -> bool:
        return obj.spec.type == "Copy"

    def is_suspended(self, obj: TemplateReplica) -> bool:
        """Suspending a template suspends its copies, suspending a connection all copies on that cluster."""
        template = self.services.cache.read(
            Key("VMTemplate", obj.metadata.namespace, obj.spec.template_ref.name), VMTemplate
        )
        cluster = self.services.cache.read(
            obj.spec.cluster_ref.key("ProxmoxCluster", obj.metadata.namespace), ProxmoxCluster
        )
        return any(each is not None and each.spec.suspend for each in (obj, template, cluster))

    def index(self, obj: TemplateReplica) -> Iterable[tuple[str, ...]]:
        return indexes.of(obj)

    def explain(self, error: Exception) -> StepError | None:
        return faults.step_error(error)

    def remains(self, obj: TemplateReplica) -> str:
        if obj.status.vmid is None:
            return "no virtual machine of it is known"
        node, vmid = obj.status.node or obj.spec.node, obj.status.vmid
        return f"template {vmid} stays on node {node}; to remove it there: qm destroy {vmid} --purge"
