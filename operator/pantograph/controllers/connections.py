"""From a `ProxmoxCluster` object and its Secrets to an open connection.

Secrets are not watched: one is read when a connection is opened, when the spec changes, once an interval, when a person
asks, at the next look if a certificate was refused, and, while the credentials are refused, once a minute; no login is
tried before its resourceVersion has changed, or a person asks (a token may be mended on Proxmox alone).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.clock import Clock
from pantograph.controllers.secrets import SecretNotFound, read_authority, read_secret
from pantograph.engine.errors import Terminal
from pantograph.engine.kube import KubeApi
from pantograph.providers import errors as provider
from pantograph.providers.proxmox.connection import ConnectionPool, ProxmoxConnection
from pantograph.providers.proxmox.observer import PATIENCE_S
from pantograph.providers.proxmox.settings import ApiToken, ConnectionSettings, Credentials, Limits, Tls, UserPassword

SECRET_INTERVAL_S: Final = 600.0
REFUSED_INTERVAL_S: Final = 60.0


@dataclass(slots=True)
class _Open:
    generation: int
    secret_version: str
    read_at: float
    settings: ConnectionSettings
    refused: provider.Unauthorized | None = None


class Connections:
    """The open connections of this process, by the uid of their `ProxmoxCluster`."""

    def __init__(self, pool: ConnectionPool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._open: dict[str, _Open] = {}

    async def open(
        self,
        cluster: ProxmoxCluster,
        kube: KubeApi,
        *,
        finalising: bool = False,
        afresh: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> ProxmoxConnection:
        """The cluster's connection, opened or opened anew if its spec or a Secret of it has changed.

        `afresh`: read the Secrets now, and try credentials that were refused once more. `finalising`: the credentials
        last read serve, should their Secret be gone (a namespace ends in any order). `patience_s`: as in
        `ConnectionPool.get`.
        Raises Waiting if a Secret is missing, Terminal if it lacks keys or its credentials were refused.
        """
        uid = cluster.metadata.uid
        known = self._open.get(uid)
        if known is None or known.generation != cluster.metadata.generation or self._is_due(known) or afresh:
            try:
                known = await self._read(cluster, kube, known)
            except SecretNotFound:
                if known is None or not finalising:
                    raise
            self._open[uid] = known
        if afresh:
            known.refused = None
        if known.refused is not None:
            raise known.refused
        try:
            return await self._pool.get(known.settings, patience_s=patience_s)
        except provider.Unauthorized as refused:
            known.refused = refused
            raise

    def refuse(self, cluster: ProxmoxCluster, error: provider.Unauthorized) -> None:
        """The credentials were refused: nobody logs in with them again until the Secret changes."""
        known = self._open.get(cluster.metadata.uid)
        if known is not None:
            known.refused = error

    def doubt(self, cluster: ProxmoxCluster) -> None:
        """The Secrets of this connection may be stale: they are read at the next look."""
        known = self._open.get(cluster.metadata.uid)
        if known is not None:
            known.read_at = -math.inf

    async def close(self, cluster: ProxmoxCluster) -> None:
        known = self._open.pop(cluster.metadata.uid, None)
        if known is not None:
            await self._pool.release(known.settings)

    def _is_due(self, known: _Open) -> bool:
        interval_s = REFUSED_INTERVAL_S if known.refused is not None else SECRET_INTERVAL_S
        return self._clock.monotonic() - known.read_at >= interval_s

    async def _read(self, cluster: ProxmoxCluster, kube: KubeApi, known: _Open | None) -> _Open:
        namespace = cluster.metadata.namespace
        name = cluster.spec.credentials_ref.name
        version, values = await read_secret(kube, namespace, name)
        settings = ConnectionSettings(
            endpoints=tuple(_endpoint(text) for text in cluster.spec.endpoints),
            credentials=_credentials(name, values),
            tls=await _tls(cluster, kube),
            limits=_limits(cluster),
        )
        fresh = _Open(cluster.metadata.generation, version, self._clock.monotonic(), settings)
        if known is None:
            return fresh
        if (known.generation, known.secret_version) == (fresh.generation, fresh.secret_version):
            fresh.refused = known.refused
        if known.settings != settings:
            await self._pool.release(known.settings)
        return fresh


def _credentials(secret: str, values: dict[str, str]) -> Credentials:
    if "tokenId" in values and "tokenSecret" in values:
        return ApiToken(values["tokenId"].strip(), values["tokenSecret"].strip())
    if "username" in values and "password" in values:
        return UserPassword(values["username"].strip(), values["password"])
    raise Terminal(
        "SecretKeyMissing",
        f"Secret {secret} has neither tokenId and tokenSecret nor username and password",
        remedy=f"kubectl create secret generic {secret} --from-literal=tokenId=ID --from-literal=tokenSecret=UUID",
    )


async def _tls(cluster: ProxmoxCluster, kube: KubeApi) -> Tls:
    declared = cluster.spec.tls
    if declared is None:
        return Tls()
    if declared.ca_ref is None:
        return Tls(fingerprint=declared.fingerprint, insecure_skip_verify=bool(declared.insecure_skip_verify))
    return Tls(ca_pem=await read_authority(kube, cluster.metadata.namespace, declared.ca_ref))


def _limits(cluster: ProxmoxCluster) -> Limits:
    declared = cluster.spec.limits
    if declared is None:
        return Limits()
    return Limits(
        concurrent=declared.max_concurrent_requests,
        per_second=float(declared.requests_per_second),
        burst=2 * declared.requests_per_second,
    )


def _endpoint(text: str) -> str:
    """`host`, `host:port` or `https://host:port` as a URL with a port."""
    host = text.removeprefix("https://").rstrip("/")
    has_port = host.rpartition(":")[2].isdecimal() and not host.endswith("]")
    return f"https://{host}" if has_port else f"https://{host}:8006"
