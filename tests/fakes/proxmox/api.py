"""The in-process face: the adapter's own calls, carried to the model instead of over HTTP.

Paths, parameters, decoding, limits and the meaning of refusals are the adapter's, so that a simulation exercises them
too and Proxmox's texts are the truth in both faces; sockets, threads and time-outs are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pantograph.providers.errors import OutcomeUnknown, Unreachable
from pantograph.providers.limiter import Limiter
from pantograph.providers.proxmox.adapter import ProxmoxerApi
from pantograph.providers.proxmox.errors import Call, http_error
from pantograph.providers.proxmox.port import ProxmoxApi
from pantograph.providers.proxmox.privileges import MissingRight, Need
from pantograph.providers.proxmox.session import Answer
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings, UserPassword
from tests.fakes.proxmox.answers import ConnectionLost, PveAnswer
from tests.fakes.proxmox.cluster import SimulatedCluster
from tests.fakes.proxmox.gate import Operation
from tests.fakes.proxmox.operations import OPERATIONS
from tests.fakes.proxmox.reads import LogPage

REFUSED_AFTER_S = 3.0
_VARIABLE = re.compile(r"\{(\w+)\}")


def _shape(method: str, template: str) -> tuple[str, str]:
    return method, _VARIABLE.sub("{}", template)


_BY_SHAPE = {_shape(operation.method, operation.path): operation for operation in OPERATIONS.values()}


class SimulatedTransport:
    """Carries calls to `cluster` through the first of `endpoints` (node names) that is up."""

    def __init__(
        self, cluster: SimulatedCluster, settings: ConnectionSettings, *, endpoints: Sequence[str] | None = None
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._endpoints = tuple(endpoints or cluster.nodes)
        limits = settings.limits
        self._limiter = Limiter(
            cluster.clock, concurrent=limits.concurrent, per_second=limits.per_second, burst=limits.burst
        )

    async def request(
        self,
        verb: str,
        template: str,
        values: Mapping[str, str],
        *,
        at: Mapping[str, str | int],
        needs: Sequence[Need] = (),
        claims: int | None = None,
        fail_over: bool = True,
    ) -> Answer:
        operation, path = _resolve(verb, template, at)
        call = Call(
            mutation=verb != "GET",
            user=self._settings.user,
            node=path.get("node"),
            storage=path.get("storage"),
            vmid=int(path["vmid"]) if "vmid" in path else claims,
            claims=claims,
            needs=tuple(MissingRight(need.path, need.privileges) for need in needs),
        )
        cluster = self._cluster
        try:
            async with self._limiter.turn():
                await self._authenticate()
                data = await cluster.gate.call(
                    operation, user=self._settings.user, entry=self._entry(), path=path, params=values
                )
        except PveAnswer as answer:
            raise http_error(answer.code, answer.text, answer.errors, call=call) from None
        except ConnectionLost as lost:
            if lost.sent and call.mutation:
                raise OutcomeUnknown(f"the answer was lost ({lost.text}): it may have happened") from None
            raise Unreachable(f"no endpoint answered: {lost.text}") from None
        return Answer(data, data.total if isinstance(data, LogPage) else None)

    def close(self) -> None:
        """Nothing is held."""

    def _entry(self) -> str:
        return next((node for node in self._endpoints if self._is_up(node)), self._endpoints[0])

    def _is_up(self, endpoint: str) -> bool:
        """A node that was removed from the cluster answers no more than one that is down."""
        node = self._cluster.nodes.get(endpoint)
        return node is not None and node.up

    async def _authenticate(self) -> None:
        access, credentials = self._cluster.access, self._settings.credentials
        if isinstance(credentials, UserPassword):
            accepted = access.login(credentials.username, credentials.password) is not None
        else:
            accepted = access.token_is_valid(credentials.token_id, credentials.secret)
        if not accepted and self._is_up(self._entry()):
            await self._cluster.clock.sleep(REFUSED_AFTER_S)
            raise PveAnswer(401, "Authentication failed!")


def _resolve(verb: str, template: str, at: Mapping[str, str | int]) -> tuple[Operation, dict[str, str]]:
    """The operation behind the adapter's template; its variables by our names."""
    operation = _BY_SHAPE.get(_shape(verb, template))
    if operation is None:
        raise AssertionError(f"the simulator does not model {verb} {template}")
    ours, theirs = _VARIABLE.findall(operation.path), _VARIABLE.findall(template)
    return operation, {mine: str(at[other]) for mine, other in zip(ours, theirs, strict=True)}


def simulated_api(
    cluster: SimulatedCluster,
    *,
    user: str | None = None,
    secret: str | None = None,
    endpoints: Sequence[str] | None = None,
) -> ProxmoxApi:
    """The port to `cluster` as the operator's token, unless told otherwise."""
    token = user or cluster.operator
    credentials = ApiToken(token, cluster.access.secret_of(token) if secret is None else secret)
    names = tuple(endpoints or cluster.nodes)
    settings = ConnectionSettings(
        endpoints=tuple(f"https://{name}.{cluster.name}:8006" for name in names), credentials=credentials
    )
    transport = SimulatedTransport(cluster, settings, endpoints=names)
    return ProxmoxerApi(settings, cluster.clock, transport=transport)


class SimulatedNetwork:
    """Several clusters by address: `https://<node>.<cluster>:8006`. `open_api` is what a `ConnectionPool` takes."""

    def __init__(self, clusters: Iterable[SimulatedCluster] = ()) -> None:
        self.clusters = {cluster.name or "": cluster for cluster in clusters}

    def open_api(self, settings: ConnectionSettings) -> ProxmoxApi:
        found: list[tuple[SimulatedCluster, str]] = []
        for url in settings.endpoints:
            node, _, name = (urlsplit(url).hostname or "").partition(".")
            cluster = self.clusters.get(name)
            if cluster is not None and node in cluster.nodes:
                found.append((cluster, node))
        if not found:
            transport: Any = _Nowhere(settings.endpoints)
            return ProxmoxerApi(settings, next(iter(self.clusters.values())).clock, transport=transport)
        cluster = found[0][0]
        nodes = [node for owner, node in found if owner is cluster]
        return ProxmoxerApi(settings, cluster.clock, transport=SimulatedTransport(cluster, settings, endpoints=nodes))


class _Nowhere:
    """Endpoints that no simulated cluster has."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = endpoints

    async def request(self, *_: object, **__: object) -> Answer:
        told = "; ".join(f"{url}: Name or service not known" for url in self._endpoints)
        raise Unreachable(f"no endpoint answered: {told}")

    def close(self) -> None:
        """Nothing is held."""
