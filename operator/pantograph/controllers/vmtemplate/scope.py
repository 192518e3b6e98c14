"""What one reconcile of a `VMTemplate` has read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pantograph.api.meta import Key
from pantograph.api.templatereplica import TemplateReplica
from pantograph.api.vmtemplate import Hardware, VMTemplate, VMTemplateStatus
from pantograph.controllers.outside import Outside
from pantograph.controllers.vmtemplate.planning import Plan
from pantograph.depot.model import FetchRequest
from pantograph.engine.scope import Scope


@dataclass(kw_only=True)
class TemplateScope(Scope[VMTemplate, VMTemplateStatus]):
    """The template, its plan and its replicas; each set by the step that its name says."""

    outside: Outside
    request: FetchRequest = field(init=False)
    """By `resolve_source`."""
    plan: Plan = field(init=False)
    """By `plan_places`."""

    @property
    def hardware(self) -> Hardware:
        return self.object.spec.hardware or Hardware()

    def children(self) -> Sequence[TemplateReplica]:
        """The replicas that this template made, as the cache has them now."""
        return self._replicas(self.services.cache.owned_by(self.object.metadata.uid, kind="TemplateReplica"))

    def extras(self) -> Sequence[TemplateReplica]:
        """The copies that people declared beside the plan."""
        owned = {child.key for child in self.children()}
        referring = self.services.cache.referrers(self.key, kind="TemplateReplica")
        return self._replicas([key for key in referring if key not in owned])

    def _replicas(self, keys: Sequence[Key]) -> Sequence[TemplateReplica]:
        found = (self.services.cache.read(key, TemplateReplica) for key in keys)
        return [replica for replica in found if replica is not None]
