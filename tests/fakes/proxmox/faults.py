"""Faults as verbs: what the lab does to a simulated cluster from outside its API.

A fault is a fact about the cluster from the moment of the call on; `mend`, `thaw` and the like end it. Hooks see every
call before its effect and after it, and may raise to end the caller there.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.fakes.proxmox.answers import ConnectionLost
from tests.fakes.proxmox.storages import StoredVolume

if TYPE_CHECKING:
    from tests.fakes.proxmox.cluster import Node, SimulatedCluster


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API, as the hooks and the ledger see it."""

    verb: str
    """The operation's name, e.g. `create_vm`."""
    method: str
    path: str
    node: str | None
    user: str
    params: dict[str, str]
    number: int
    """Counts all calls, from 1."""
    mutation: int
    """Counts mutations, from 1; 0 for a read."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change that was asked for, and how it was answered."""

    call: Call
    at: float
    """Monotonic seconds."""
    answer: str
    """The UPID, `done`, or the refusal."""
    refused: bool
    answer_lost: bool = False


Hook = Callable[[Call, Literal["before", "after"]], Awaitable[None] | None]
LossKind = Literal["596", "reset"]


@dataclass(slots=True)
class _Loss:
    match: str | int
    left: int
    kind: LossKind


@dataclass(slots=True)
class _Freeze:
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    acts: Literal["at once", "when thawed", "never"] = "at once"
    silent_since: float | None = None
    """Monotonic seconds since when it tells nobody of its guests; None: it still does."""


class Faults:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self.hooks: list[Hook] = []
        self.watchers: list[Callable[[str, bool], None]] = []
        """Told when a node goes down or comes up (name, up)."""
        self.quorum_lost = False
        self.broadcasts_stopped_at: float | None = None
        self._frozen: dict[str, _Freeze] = {}
        self._delays: dict[str, float] = {}
        self._losses: list[_Loss] = []
        self._unreachable_urls: dict[str, set[str]] = {}
        self.copy_slowness = 1.0
        self.held_disks: set[str] = set()
        """Volumes that cannot be removed."""

    # -- nodes -------------------------------------------------------------------------------------------------------
    def cut(self, node: str, *, power: bool = False, ago_s: float = 0.0) -> None:
        """The node cannot be reached by anyone, since `ago_s` seconds. With `power`, what runs on it dies too."""
        self._set_up(self._cluster.nodes[node], up=False)
        self._cluster.nodes[node].changed_at -= ago_s
        if power:
            for task in [t for t in self._cluster.tasks.running() if t.node == node]:
                self._cluster.tasks.kill(task)
            for guest in self._cluster.guests.values():
                if guest.node == node and guest.running:
                    guest.running = False

    def mend(self, node: str) -> None:
        """The node is reachable again, and answers."""
        self._set_up(self._cluster.nodes[node], up=True)
        self.thaw(node)

    def remove_node(self, node: str) -> None:
        """`pvecm delnode`: no member any more, and what was on it is out of reach for ever."""
        self.cut(node, power=True)
        del self._cluster.nodes[node]
        for guest in [guest for guest in self._cluster.guests.values() if guest.node == node]:
            del self._cluster.guests[guest.vmid]

    def freeze(self, node: str, *, acts: Literal["at once", "when thawed", "never"] = "at once") -> None:
        """The node takes requests and does not answer: 596 after 30 s. `acts`: when the action happens all the same."""
        self._frozen[node] = _Freeze(acts=acts)

    def hang(self, node: str) -> None:
        """As `freeze`, and nothing ever happens; the node tells nobody of its guests either, and stays a member."""
        self._frozen[node] = _Freeze(acts="never", silent_since=self._cluster.clock.monotonic())

    def thaw(self, node: str) -> None:
        frozen = self._frozen.pop(node, None)
        if frozen is not None:
            frozen.thawed.set()

    def frozen(self, node: str | None) -> _Freeze | None:
        return self._frozen.get(node) if node is not None else None

    def slow(self, node: str, seconds: float) -> None:
        """Every answer that concerns this node takes `seconds` longer; 0 ends it."""
        self._delays[node] = seconds

    def slow_copies(self, factor: float) -> None:
        """Imports and clones take `factor` times as long; applies to those that run, too."""
        self.copy_slowness = factor

    def delay(self, node: str | None) -> float:
        return self._delays.get(node, 0.0) if node is not None else 0.0

    def lag_listing(self, seconds: float) -> None:
        """Each node tells the others about its guests only this often."""
        self._cluster.broadcast_s = seconds

    def lose_quorum(self) -> None:
        """The side that answers is the minority: reads work, /etc/pve cannot be written."""
        self.quorum_lost = True

    def regain_quorum(self) -> None:
        self.quorum_lost = False

    def hold_broadcasts(self) -> None:
        """The nodes stop telling each other about their guests: /cluster/resources keeps what it last heard."""
        self.broadcasts_stopped_at = self._cluster.clock.monotonic()

    def release_broadcasts(self) -> None:
        self.broadcasts_stopped_at = None

    # -- answers -----------------------------------------------------------------------------------------------------
    def lose_answer(self, match: str | int, *, count: int = 1, kind: LossKind = "reset") -> None:
        """Lose the answers of the next `count` calls of this verb (`create_vm`), or that of the n-th mutation from now
        on (1 is the next), after their effect."""
        mutations = self._cluster.gate.mutations_counted
        self._losses.append(_Loss(mutations + match if isinstance(match, int) else match, count, kind))

    def loses(self, call: Call) -> LossKind | None:
        """Whether the answer of this call is lost, and how; uses the fault up."""
        for loss in self._losses:
            hit = loss.match == (call.mutation or None) if isinstance(loss.match, int) else loss.match == call.verb
            if not hit:
                continue
            loss.left -= 1
            if loss.left <= 0:
                self._losses.remove(loss)
            return loss.kind
        return None

    def kill_process(self, pid: int, verb: str, when: Literal["before", "after"], *, nth: int = 1) -> None:
        """SIGKILL for a client before the effect of its n-th call of `verb` from now on, or after it, unanswered."""
        left = nth

        def hook(call: Call, at: Literal["before", "after"]) -> None:
            nonlocal left
            if call.verb != verb or at != when:
                return
            left -= 1
            if left > 0:
                return
            self.hooks.remove(hook)
            os.kill(pid, signal.SIGKILL)
            raise ConnectionLost("the client is dead", sent=at == "after")

        self.hooks.append(hook)

    # -- rights ------------------------------------------------------------------------------------------------------
    def lose_rights(self, path: str, privilege: str, *, who: str | None = None) -> None:
        """The token loses `privilege` at `path` and below."""
        self._cluster.access.revoke(who or self._cluster.operator, path, privilege)

    def regain_rights(self, path: str, privilege: str, *, who: str | None = None) -> None:
        self._cluster.access.restore(who or self._cluster.operator, path, privilege)

    def change_token_secret(self, secret: str) -> None:
        """The operator's token is made anew: the old secret is refused."""
        self._cluster.access.change_secret(self._cluster.operator, secret)

    # -- storages ----------------------------------------------------------------------------------------------------
    def remove_storage(self, name: str) -> None:
        self._cluster.storages.undefine(name)

    def disable_storage(self, name: str, *, enabled: bool = False) -> None:
        self._cluster.storages.get(name).enabled = enabled

    def restrict_storage(self, name: str, *nodes: str) -> None:
        """`pvesm set NAME --nodes …`; without nodes: no restriction any more."""
        self._cluster.storages.get(name).nodes = frozenset(nodes) or None

    def remove_content_type(self, storage: str, content: str) -> None:
        defined = self._cluster.storages.get(storage)
        defined.content = defined.content - {content}

    def add_content_type(self, storage: str, content: str) -> None:
        defined = self._cluster.storages.get(storage)
        defined.content = defined.content | {content}

    def fill_storage(self, storage: str, node: str, *, leave_bytes: int = 0) -> None:
        """Somebody else's files take all room but `leave_bytes`."""
        place = self._cluster.storages.place(self._cluster.storages.get(storage), node)
        place.ballast = 0
        place.ballast = max(0, place.avail - leave_bytes)

    def empty_storage(self, storage: str, node: str) -> None:
        """Somebody else's files are gone."""
        self._cluster.storages.place(self._cluster.storages.get(storage), node).ballast = 0

    def leave_disk(self, storage: str, node: str, vmid: int) -> str:
        """Somebody's disk of this number, to which no configuration of this cluster refers; its volume id."""
        place = self._cluster.storages.place(self._cluster.storages.get(storage), node)
        name = place.next_disk(vmid, "raw")
        path = place.file_path("images", name)
        ctime = int(self._cluster.clock.now().timestamp())
        return place.put(StoredVolume(storage, name, "images", "raw", path, 1 << 30, 4096, ctime, vmid)).volid

    def hold_disk(self, volid: str) -> None:
        """The storage fails to remove this volume: to Proxmox that is a warning in the log, not an error."""
        self.held_disks.add(volid)

    def share_storage(self, storage: str, other: SimulatedCluster) -> None:
        """One NFS export: what lies on the other cluster's storage of this name is seen, named and removed here too."""
        self._cluster.storages.share(storage, other.storages)

    def remove_file(self, node: str, volid: str) -> None:
        """A file is deleted on the node, behind the API."""
        located = self._cluster.storages.locate(volid, node)
        if located is None:
            raise KeyError(f"{volid} on {node}")
        place, volume = located
        place.drop(volume, self._cluster.blobs)

    def block_url(self, node: str, prefix: str) -> None:
        """The node cannot connect to URLs that begin so."""
        self._unreachable_urls.setdefault(node, set()).add(prefix)

    def unblock_url(self, node: str, prefix: str) -> None:
        self._unreachable_urls.get(node, set()).discard(prefix)

    def url_blocked(self, node: str, url: str) -> bool:
        return any(url.startswith(prefix) for prefix in self._unreachable_urls.get(node, ()))

    # -- guests and tasks --------------------------------------------------------------------------------------------
    def lock_vm(self, vmid: int, lock: str = "backup") -> None:
        """The `lock` property, which another operation (or its remains) has set."""
        guest = self._cluster.guests[vmid]
        self._cluster.write_config(guest, {**guest.config, "lock": lock})

    def unlock_vm(self, vmid: int) -> None:
        """`qm unlock` on the node."""
        guest = self._cluster.guests[vmid]
        self._cluster.write_config(guest, {k: v for k, v in guest.config.items() if k != "lock"})

    async def hold_flock(self, vmid: int, seconds: float) -> None:
        """Hold the guest's file lock: calls that need it time out. Returns when it is let go."""
        async with self._cluster.locks.hold(vmid, wait_s=seconds):
            await self._cluster.clock.sleep(seconds)

    def hold_tasks(self) -> None:
        """Tasks that start from now on get nowhere until `release_tasks`: what they lock stays locked."""
        self._cluster.tasks.hold()

    def release_tasks(self) -> None:
        self._cluster.tasks.let_go()

    async def settle_tasks(self) -> None:
        """No fault: return when no task runs any more."""
        await self._cluster.tasks.settle()

    def kill_task(self, upid: str) -> None:
        """`kill -9` of the worker."""
        self._cluster.tasks.kill(self._cluster.task(upid))

    def kill_tasks(self, type: str) -> int:
        """Kill every running worker of this type; returns how many."""
        victims = [t for t in self._cluster.tasks.running() if t.type == type]
        for task in victims:
            self._cluster.tasks.kill(task)
        return len(victims)

    def forget_tasks(self, node: str) -> None:
        """The node loses its list of tasks; what they do goes on."""
        self._cluster.tasks.forget(node)

    def take_vmid(self, vmid: int, node: str, *, name: str = "somebody-elses") -> None:
        """Another tool has a guest of this number."""
        self._cluster.add_guest(vmid, node, {"name": name, "memory": "512", "cores": "1", "boot": " "})

    def take_vmid_before_create(self, node: str, *, count: int = 1) -> None:
        """Another tool takes the number of the next `count` creations, between their choice and their call."""
        left = count

        def hook(call: Call, when: Literal["before", "after"]) -> None:
            nonlocal left
            if when == "before" and call.verb == "create_vm" and left > 0:
                left -= 1
                self.take_vmid(int(call.params["vmid"]), node)
                if left == 0:
                    self.hooks.remove(hook)

        self.hooks.append(hook)

    def _set_up(self, node: Node, *, up: bool) -> None:
        if node.up == up:
            return
        node.up, node.changed_at = up, self._cluster.clock.monotonic()
        for watcher in self.watchers:
            watcher(node.name, up)
