"""What changed between two observations of a cluster, and whom that concerns.

Only a short cut: everything is looked at again once an interval anyway. It costs nothing outside, since both
observations were made for everybody.
"""

from __future__ import annotations

from pantograph.api.meta import Key
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.controllers import indexes
from pantograph.engine.cache import Cache
from pantograph.providers.proxmox.port import GuestRow
from pantograph.providers.proxmox.snapshot import ClusterSnapshot

_GuestFacts = tuple[object, ...]
_NodeFacts = tuple[object, ...]


class ClusterChanges:
    """The last observation of every cluster, by the uid of its object."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[dict[int, _GuestFacts], dict[str, _NodeFacts]]] = {}

    def of(self, cluster: ProxmoxCluster, world: ClusterSnapshot, cache: Cache) -> list[Key]:
        """The replicas whose machine or node looks different from the last time; none the first time."""
        guests = {vmid: _guest_facts(row) for vmid, row in world.guests.items()}
        nodes = {node.name: _node_facts(node.name, world) for node in world.status.nodes}
        before = self._seen.get(cluster.metadata.uid)
        self._seen[cluster.metadata.uid] = (guests, nodes)
        if before is None:
            return []
        changed_vmids = {vmid for vmid in guests.keys() | before[0].keys() if guests.get(vmid) != before[0].get(vmid)}
        changed_nodes = {node for node in nodes.keys() | before[1].keys() if nodes.get(node) != before[1].get(node)}
        keys: set[Key] = set()
        for vmid in changed_vmids:
            keys |= cache.indexed(indexes.vmid(cluster.key, vmid))
        for node in changed_nodes:
            keys |= cache.indexed(indexes.node(cluster.key, node))
        return sorted(keys)


def _guest_facts(row: GuestRow) -> _GuestFacts:
    return (row.node, row.template, row.tags, row.lock)


def _node_facts(node: str, world: ClusterSnapshot) -> _NodeFacts:
    storages = sorted(
        (name, storage.enabled, storage.active, tuple(sorted(storage.content)))
        for (where, name), storage in world.storages.items()
        if where == node
    )
    online = any(each.name == node and each.online for each in world.status.nodes)
    rights = {path: dict(held) for path, held in world.permissions.items()}
    return (online, world.status.quorate, world.versions.get(node), tuple(storages), rights)
