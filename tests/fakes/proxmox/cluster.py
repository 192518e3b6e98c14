"""The simulated cluster: one model behind both faces.

Everything it does to guests, storages and tasks is in the modules of their own; this one holds them together and
answers who is a member, who is up, and who has quorum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from pantograph.clock import Clock
from tests.fakes.proxmox.access import OPERATOR_PRIVILEGES, Access
from tests.fakes.proxmox.answers import PveAnswer, no_such_config, refusal
from tests.fakes.proxmox.blobs import Blobs, MemoryBlobs
from tests.fakes.proxmox.faults import Faults
from tests.fakes.proxmox.fetching import Fetch, no_network
from tests.fakes.proxmox.gate import Gate
from tests.fakes.proxmox.guests import Guest, Identities, Seen
from tests.fakes.proxmox.images import GIB
from tests.fakes.proxmox.locks import GuestLocks
from tests.fakes.proxmox.storages import Storage, Storages
from tests.fakes.proxmox.tasks import Body, Task, Tasks

OPERATOR_TOKEN = "pantograph@pve!operator"
BROADCAST_S = 10.0
"""Cycle of each node's status broadcast."""
BROADCAST_EXPIRES_S = 300.0
COROSYNC_NOTICES_S = 9.0
"""From the loss of a peer until the others say so."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, in seconds of the cluster's clock."""

    task_s: float = 1.0
    """What a task takes besides moving bytes."""
    copy_bytes_per_s: float = 400e6
    """Import and full clone, of the virtual size."""
    download_bytes_per_s: float | None = None
    """A node's network; None: as fast as the bytes come."""
    progress_lines: int = 32
    """`transferred` lines of a copy."""


@dataclass(slots=True)
class Node:
    name: str
    id: int
    version: str = "8.4.21"
    up: bool = True
    changed_at: float = 0.0
    """Monotonic seconds of the last change of `up`."""

    @property
    def ip(self) -> str:
        return f"10.0.0.{10 + self.id}"

    def at_least(self, *wanted: int) -> bool:
        return tuple(int(part) for part in self.version.split(".")[: len(wanted)]) >= wanted


@dataclass(slots=True)
class Datacenter:
    """What of datacenter.cfg matters here."""

    tags: str = "free"
    """user-tag-access user-allow: free, existing, list, none."""
    allowed_tags: frozenset[str] = frozenset()
    registered_tags: frozenset[str] = frozenset()
    """Only with Sys.Modify on `/`."""


class SimulatedCluster:
    """A cluster of `nodes` with storage `local` (dir, per node, every content type) unless told otherwise."""

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        name: str | None = "prod",
        nodes: Sequence[str] = ("pve1", "pve2", "pve3"),
        storages: Iterable[Storage] | None = None,
        blobs: Blobs | None = None,
        fetch: Fetch = no_network,
        pace: Pace | None = None,
        version: str = "8.4.21",
        bridges: Iterable[str] = ("vmbr0",),
    ) -> None:
        self.clock, self.random, self.name = clock, random, name
        self.pace = pace or Pace()
        self.nodes = {n: Node(n, i, version) for i, n in enumerate(nodes, start=1)}
        self.datacenter = Datacenter()
        self.bridges = set(bridges)
        self.broadcast_s = BROADCAST_S
        self.pools: set[str] = set()
        self.access = Access(random)
        self.storages = Storages()
        for storage in [Storage("local", total_bytes=4096 * GIB)] if storages is None else storages:
            self.storages.define(storage)
        self.blobs: Blobs = MemoryBlobs() if blobs is None else blobs
        self.fetch = fetch
        self.tasks = Tasks(clock, random)
        self.locks = GuestLocks(clock)
        self.guests: dict[int, Guest] = {}
        self.identities = Identities(random)
        self.fingerprints: dict[str, str] = {n: _fingerprint(f"{name}/{n}") for n in self.nodes}
        self.operator = OPERATOR_TOKEN
        """The token that `faults` speaks of when it names none."""
        self.token_secret = self.access.add_token(OPERATOR_TOKEN)
        for who in (OPERATOR_TOKEN, OPERATOR_TOKEN.partition("!")[0]):
            self.access.grant(who, "/", OPERATOR_PRIVILEGES)
        self.gate = Gate(self)
        self.faults = Faults(self)

    # -- membership and quorum ---------------------------------------------------------------------------------------
    def node(self, name: str) -> Node:
        node = self.nodes.get(name)
        if node is None:
            raise refusal(
                f"hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known"
            )
        return node

    def is_clustered(self) -> bool:
        return self.name is not None

    def known_online(self, node: Node) -> bool:
        """What the others say of it: the truth, `COROSYNC_NOTICES_S` late when it went down."""
        if node.up:
            return True
        return self.clock.monotonic() - node.changed_at < COROSYNC_NOTICES_S

    def quorate(self) -> bool:
        """As the answering side reports it: late by what corosync needs to notice."""
        if not self.is_clustered():
            return True
        if self.faults.quorum_lost:
            return False
        return sum(self.known_online(n) for n in self.nodes.values()) * 2 > len(self.nodes)

    def require_quorum(self) -> None:
        if not self.quorate():
            raise refusal("cluster not ready - no quorum?")

    # -- guests ------------------------------------------------------------------------------------------------------
    def guest_on(self, node: str, vmid: int) -> Guest:
        """The guest, if it is on that node. Raises the 500 that also stands for "on another node"."""
        guest = self.guests.get(vmid)
        if guest is None or guest.node != node:
            raise no_such_config(node, vmid)
        return guest

    def add_guest(self, vmid: int, node: str, config: dict[str, str], *, type: str = "qemu") -> Guest:
        guest = Guest(vmid, node, config, self.clock.monotonic(), type=type)
        self.guests[vmid] = guest
        return guest

    def write_config(self, guest: Guest, config: dict[str, str]) -> None:
        """Replace the guest's configuration; the broadcast follows within its cycle."""
        self.before_change(guest)
        guest.config = config

    def before_change(self, guest: Guest) -> None:
        """Keep what the broadcast said so far, as something that it carries is about to change."""
        now = self.clock.monotonic()
        if guest.changed_at <= self.last_broadcast(guest.node):
            guest.published = guest.seen
        guest.changed_at = now
        guest.version += 1

    def seen(self, guest: Guest) -> Seen | None:
        """The guest as /cluster/resources shows it; None: nothing is known (any more)."""
        last = self.last_broadcast(guest.node)
        if self.clock.monotonic() - last > BROADCAST_EXPIRES_S:
            return None
        return guest.seen if guest.changed_at <= last else guest.published

    def last_broadcast(self, node_name: str) -> float:
        """When the node last told the others about its guests. Phases differ from node to node."""
        node = self.nodes[node_name]
        until = self.clock.monotonic() if node.up else node.changed_at
        if self.faults.broadcasts_stopped_at is not None:
            until = min(until, self.faults.broadcasts_stopped_at)
        frozen = self.faults.frozen(node_name)
        if frozen is not None and frozen.silent_since is not None:
            until = min(until, frozen.silent_since)
        phase = (node.id * 3.7) % self.broadcast_s
        return (until - phase) // self.broadcast_s * self.broadcast_s + phase

    # -- tasks -------------------------------------------------------------------------------------------------------
    def fork(self, *, node: str, type: str, id: str, user: str, body: Body) -> str:
        return self.tasks.start(node=node, type=type, id=id, user=user, body=body)

    def task(self, upid: str) -> Task:
        parts = upid.split(":")
        if len(parts) != 9 or parts[0] != "UPID" or parts[8]:
            raise PveAnswer(400, "Parameter verification failed.", {"upid": "unable to parse worker upid"})
        task = self.tasks.get(upid)
        if task is None:
            raise PveAnswer(400, "Parameter verification failed.", {"upid": "no such task"})
        return task

    async def close(self) -> None:
        """End what still runs."""
        await self.tasks.close()


def _fingerprint(seed: str) -> str:
    digest = hashlib.sha256(seed.encode()).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))
