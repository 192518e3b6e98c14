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
    _read: dict[Key, TemplateReplica] = field(init=False, default_factory=dict)

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
        return [replica for replica in map(self._replica, keys) if replica is not None]

    def _replica(self, key: Key) -> TemplateReplica | None:
        # All templates together have more replicas than the cache keeps parsed: each version is parsed once a
        # reconcile, not once a step.
        entry, known = self.services.cache.entry(key), self._read.get(key)
        if known is not None and entry is not None and known.metadata.resource_version == str(entry.version):
            return known
        replica = self.services.cache.read(key, TemplateReplica)
        if replica is not None:
            self._read[key] = replica
        return replica
