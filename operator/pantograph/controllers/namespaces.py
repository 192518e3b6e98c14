"""References across namespaces: a namespace is a tenant, so the other side must have allowed it."""

from __future__ import annotations

from pantograph.api.dataserver import DataServer
from pantograph.api.proxmoxcluster import ProxmoxCluster
from pantograph.engine.errors import Terminal


def refuse_foreign_namespace(connection: ProxmoxCluster | DataServer, namespace: str) -> None:
    """Raises Terminal `NamespaceNotAllowed` unless objects of `namespace` may use the connection."""
    own = connection.metadata.namespace
    allowed = connection.spec.allowed_namespaces or ()
    if namespace == own or namespace in allowed or "*" in allowed:
        return
    raise Terminal(
        "NamespaceNotAllowed",
        f"{connection.key.kind} {own}/{connection.metadata.name} may not be used from namespace {namespace}",
        remedy=f"add {namespace} to its spec.allowedNamespaces",
    )
