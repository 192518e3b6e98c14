"""The outside as controllers see it: the connections, the depot, and who we are there."""

from __future__ import annotations

from dataclasses import dataclass, field

from pantograph.controllers.changes import ClusterChanges
from pantograph.controllers.claims import Claims
from pantograph.controllers.connections import Connections
from pantograph.controllers.installation import Installation
from pantograph.controllers.verified import VerifiedMachines
from pantograph.depot.port import ImageDepot


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """One a process; in simulation, one a life of the simulated process."""

    installation: Installation
    connections: Connections
    depot: ImageDepot
    verified: VerifiedMachines
    changes: ClusterChanges
    depot_url: str | None
    """Where nodes reach the depot, unless their cluster says otherwise."""
    claims: Claims = field(default_factory=Claims)
