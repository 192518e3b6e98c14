"""`VMTemplate`: plans the copies of one master image, and sums up how they stand. It copies nothing itself."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from pantograph.api.meta import Key
from pantograph.api.vmtemplate import VMTemplate
from pantograph.controllers import faults
from pantograph.controllers.outside import Outside
from pantograph.controllers.vmtemplate.image import (
    ensure_image,
    ensure_password_known,
    ensure_revision,
    owner_of,
    resolve_source,
    stop_fetch,
)
from pantograph.controllers.vmtemplate.replicas import (
    delete_replicas,
    ensure_replicas,
    give_turns,
    plan_places,
    prune_replicas,
)
from pantograph.controllers.vmtemplate.reporting import report
from pantograph.controllers.vmtemplate.scope import TemplateScope
from pantograph.engine.controller import Controller
from pantograph.engine.errors import StepError
from pantograph.engine.services import Services


class VMTemplateController(Controller[VMTemplate]):
    """Keeps one `TemplateReplica` in every wanted place."""

    model: ClassVar = VMTemplate
    steps: ClassVar = (
        resolve_source,
        ensure_image,
        ensure_revision,
        ensure_password_known,
        plan_places,
        ensure_replicas,
        prune_replicas,
        give_turns,
        report,
    )
    undo: ClassVar = (stop_fetch, delete_replicas)

    def __init__(self, services: Services, outside: Outside) -> None:
        super().__init__(services)
        self.outside = outside

    def open_scope(self, obj: VMTemplate) -> TemplateScope:
        return TemplateScope(object=obj, services=self.services, outside=self.outside)

    def shown(self, obj: VMTemplate) -> Hashable:
        """A replica builds upon the spec and the image; how the other places stand is not its business."""
        image = obj.status.image
        digest = image.image_digest if image else None
        return (obj.metadata.generation, obj.status.revision, digest, obj.status.password_fingerprint)

    def explain(self, error: Exception) -> StepError | None:
        return faults.step_error(error)

    def gone(self, key: Key) -> None:
        owner = owner_of(key)
        self.outside.depot.abandon(owner)
        self.outside.depot.pin(owner, ())

    def remains(self, obj: VMTemplate) -> str:
        return "the TemplateReplicas that it made keep their own finalizers and remove what they made"
