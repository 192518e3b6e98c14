"""The way of every call through the cluster: reachability, hooks, effect, ledger, loss of the answer.

Both faces go through `Gate.call`, so that a fault bites the same in both.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tests.fakes.proxmox.answers import ConnectionLost, PveAnswer, parameter_error
from tests.fakes.proxmox.faults import Call, Mutation
from tests.fakes.proxmox.locks import happens_within

if TYPE_CHECKING:
    from tests.fakes.proxmox.cluster import SimulatedCluster

PROXY_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """A call on its way to a handler."""

    cluster: SimulatedCluster
    user: str
    path: Mapping[str, str]
    """The variables of the path: node, vmid, storage, …"""
    params: Mapping[str, str]
    entry: str
    """The node that took the request; it proxies to the node in the path."""
    body: Any = None
    """An upload's file part."""

    @property
    def node(self) -> str:
        return self.path["node"]

    @property
    def vmid(self) -> int:
        return vmid_of(self.path["vmid"], "vmid")

    def require(self, path: str, *any_of: str) -> None:
        self.cluster.access.require(self.user, path, *any_of)

    def flag(self, name: str, *, default: bool = False) -> bool:
        return self.params.get(name, str(int(default))) in {"1", "true", "yes", "on"}


Handler = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that the API offers."""

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    """Template: `/nodes/{node}/qemu/{vmid}/config`."""
    handler: Handler
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    free: bool = False
    """The handler knows its parameters itself (guest configuration)."""

    def check(self, params: Mapping[str, str]) -> None:
        if missing := sorted(self.required - params.keys()):
            raise parameter_error(missing[0], "property is missing and it is not optional")
        if self.free:
            return
        if unknown := sorted(params.keys() - self.required - self.optional):
            raise parameter_error(
                unknown[0],
                "property is not defined in schema and the schema does not allow additional properties",
            )


class Gate:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self.ledger: list[Mutation] = []
        self.calls: Counter[str] = Counter()
        """Calls by operation."""
        self.mutations_counted = 0
        self._number = 0
        self._late: set[asyncio.Task[Any]] = set()

    async def call(
        self,
        operation: Operation,
        *,
        user: str,
        entry: str,
        path: Mapping[str, str],
        params: Mapping[str, str],
        body: Any = None,
    ) -> Any:
        """Carry the call out. Raises `PveAnswer`, or `ConnectionLost` when no answer comes back."""
        cluster, faults = self._cluster, self._cluster.faults
        call = self._count(operation, user=user, path=path, params=params)
        await self._hook(call, "before")
        if entry not in cluster.nodes or not cluster.nodes[entry].up:
            raise ConnectionLost("Connection refused", sent=False)
        target = path.get("node")
        if delay := max(faults.delay(target), faults.delay(entry)):
            await cluster.clock.sleep(delay)
        if target is not None and not cluster.node(target).up:
            raise PveAnswer(595, "Connection refused")
        request = Request(cluster, user, path, params, entry, body)
        if faults.frozen(target or entry) is not None or faults.frozen(entry) is not None:
            answer = await self._frozen(operation, request, call)
        else:
            answer = await self._act(operation, request, call)
        await self._hook(call, "after")
        loss = faults.loses(call)
        if loss is None:
            return answer
        if call.mutation:
            self._mark_lost(call)
        if loss == "596":
            await cluster.clock.sleep(PROXY_TIMEOUT_S)
            raise PveAnswer(596, "Connection timed out")
        raise ConnectionLost("Remote end closed connection without response", sent=True)

    def _count(self, operation: Operation, *, user: str, path: Mapping[str, str], params: Mapping[str, str]) -> Call:
        self._number += 1
        self.calls[operation.name] += 1
        mutates = operation.method != "GET" and operation.name != "login"
        self.mutations_counted += mutates
        return Call(
            verb=operation.name,
            method=operation.method,
            path=operation.path.format(**path),
            node=path.get("node"),
            user=user,
            params=dict(params) | {k: v for k, v in path.items() if k == "vmid"},
            number=self._number,
            mutation=self.mutations_counted if mutates else 0,
        )

    async def _act(self, operation: Operation, request: Request, call: Call) -> Any:
        try:
            operation.check(request.params)
            answer = await operation.handler(request)
        except PveAnswer as refusal:
            self._record(call, str(refusal), refused=True)
            raise
        self._record(call, answer if isinstance(answer, str) else "done", refused=False)
        return answer

    async def _frozen(self, operation: Operation, request: Request, call: Call) -> Any:
        """The request is taken and not answered within 30 s, unless the node thaws before."""
        cluster, faults = self._cluster, self._cluster.faults
        frozen = faults.frozen(request.path.get("node")) or faults.frozen(request.entry)
        if frozen is None:
            return await self._act(operation, request, call)
        if frozen.acts == "at once" and call.mutation:
            await self._act(operation, request, call)
            await cluster.clock.sleep(PROXY_TIMEOUT_S)
            self._mark_lost(call)
            raise PveAnswer(596, "Connection timed out")
        if await happens_within(frozen.thawed, PROXY_TIMEOUT_S, cluster.clock):
            return await self._act(operation, request, call)
        if frozen.acts == "when thawed" and call.mutation:
            late = asyncio.create_task(self._later(frozen.thawed, operation, request, call))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
        raise PveAnswer(596, "Connection timed out")

    async def _later(self, thawed: asyncio.Event, operation: Operation, request: Request, call: Call) -> None:
        await thawed.wait()
        try:
            await self._act(operation, request, call)
        except PveAnswer:
            return  # nobody listens any more; the ledger has it
        self._mark_lost(call)

    def _record(self, call: Call, answer: str, *, refused: bool) -> None:
        if call.mutation:
            self.ledger.append(Mutation(call, self._cluster.clock.monotonic(), answer, refused))

    def _mark_lost(self, call: Call) -> None:
        for index in range(len(self.ledger) - 1, -1, -1):
            mutation = self.ledger[index]
            if mutation.call is call:
                self.ledger[index] = Mutation(call, mutation.at, mutation.answer, mutation.refused, answer_lost=True)
                return

    async def _hook(self, call: Call, when: Literal["before", "after"]) -> None:
        for hook in list(self._cluster.faults.hooks):
            outcome = hook(call, when)
            if inspect.isawaitable(outcome):
                await outcome


def vmid_of(text: str, parameter: str) -> int:
    if not text.isdigit() or not 100 <= int(text) <= 999999999:
        raise parameter_error(parameter, "invalid format - value does not look like a valid VM ID\n")
    return int(text)
