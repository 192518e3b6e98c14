"""The last steps of a copy: it is there, verified, and can be used; say so."""

from __future__ import annotations

from pantograph.controllers.templatereplica import places
from pantograph.controllers.templatereplica.leftovers import forget_removed
from pantograph.controllers.templatereplica.resolving import unknown
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.engine.errors import Waiting

SETTLE_S = 5.0


async def require_storage(scope: ReplicaScope) -> None:
    """After this the storage that holds the copy can be used on its node; otherwise the copy is Unknown, and stays."""
    if (unusable := await places.unusable_storage(scope)) is not None:
        raise unknown(scope, unusable.reason, unusable.message, remedy=unusable.remedy)


async def report(scope: ReplicaScope) -> None:
    """After this the status says Ready, and the next look costs no call of its own."""
    uid = scope.object.metadata.uid
    scope.status.phase = "Ready"
    await forget_removed(scope)
    vmid = scope.status.vmid
    if vmid is None:
        raise Waiting("Importing", "the machine is not visible yet", SETTLE_S)
    row = scope.world.guests.get(vmid)
    if scope.verified or row is None:
        return
    if row.template is True:
        scope.outside.verified.remember(uid, row)
    else:
        # The bulk listing lags by some seconds behind a conversion; look once more when it has caught up.
        scope.look_again(2 * SETTLE_S)
