"""What the three servers are told: ports, certificates, flags. Each flag is here for a reason of the tests."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from hack.controlplane.certificates import Certificates

CONTROLLERS = (
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "job-controller",
    "deployment-controller",
    "replicaset-controller",
    "persistentvolumeclaim-protection-controller",
    "ttl-after-finished-controller",
    "clusterrole-aggregation-controller",
)
"""What acts on objects without a node; Pods stay Pending. With a node all controllers run."""

SERVICES = "10.0.0.0/24"
KUBERNETES_SERVICE = "10.0.0.1"
"""The first address of the Service range is that of the Service `kubernetes`."""
NAMES = ("localhost", "kubernetes.default.svc")
LOOPBACK = "127.0.0.1"

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """One control plane's configuration, its files below `data`."""

    data: Path
    certificates: Certificates
    ports: Ports
    node_address: str | None = None
    """Where the API server answers, and the kubelet of the one node; without it there is no node."""

    @property
    def url(self) -> str:
        return f"https://{self._address}:{self.ports.apiserver}"

    @property
    def _address(self) -> str:
        return self.node_address or LOOPBACK

    @property
    def etcd_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.etcd}"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.data / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.data / "audit.log"

    @property
    def etcd_data(self) -> Path:
        return self.data / "etcd"

    @property
    def audit_policy(self) -> Path:
        return self.data / "audit-policy.yaml"

    def write(self) -> None:
        """Write the files that the flags name."""
        self.audit_policy.write_text(yaml.safe_dump(_AUDIT_POLICY))
        admin = {"client-certificate": str(self.certificates.admin), "client-key": str(self.certificates.admin_key)}
        self.write_kubeconfig(self.admin_kubeconfig, admin, namespace="default")

    def etcd_flags(self) -> dict[str, str]:
        peer = f"http://{LOOPBACK}:{self.ports.etcd_peer}"
        return {
            "name": "default",
            "data-dir": str(self.etcd_data),
            "listen-client-urls": self.etcd_url,
            "advertise-client-urls": self.etcd_url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",  # the data is thrown away
            "log-level": "warn",
        }

    def apiserver_flags(self) -> dict[str, str]:
        key = str(self.certificates.service_account_key)
        return {
            "bind-address": self._address,
            "advertise-address": self._address,
            "secure-port": str(self.ports.apiserver),
            "etcd-servers": self.etcd_url,
            "client-ca-file": str(self.certificates.ca),
            "tls-cert-file": str(self.certificates.server),
            "tls-private-key-file": str(self.certificates.server_key),
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-signing-key-file": key,
            "service-account-key-file": key,
            "service-cluster-ip-range": SERVICES,
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            "audit-policy-file": str(self.audit_policy),
            "audit-log-path": str(self.audit_log),
            "audit-log-mode": "blocking",
            "audit-log-maxsize": "100000",  # MB: who reads it from an offset must not lose it to a rotation
            **(self._kubelet_access() if self.node_address else self._without_node()),
        }

    def _without_node(self) -> dict[str, str]:
        return {
            "endpoint-reconciler-type": "none",  # no endpoint of the Service `kubernetes` may be on loopback
            "enable-admission-plugins": "OwnerReferencesPermissionEnforcement",
        }

    def _kubelet_access(self) -> dict[str, str]:
        """How `kubectl logs` and `exec` come to the pods, and what keeps the node to its own objects."""
        return {
            "enable-admission-plugins": "OwnerReferencesPermissionEnforcement,NodeRestriction",
            "kubelet-client-certificate": str(self.certificates.admin),
            "kubelet-client-key": str(self.certificates.admin_key),
            "kubelet-certificate-authority": str(self.certificates.ca),
            "kubelet-preferred-address-types": "InternalIP",
        }

    def controller_manager_flags(self) -> dict[str, str]:
        return {
            "kubeconfig": str(self.admin_kubeconfig),
            "bind-address": LOOPBACK,
            "secure-port": str(self.ports.controller_manager),
            "leader-elect": "false",
            "use-service-account-credentials": "true",
            "service-account-private-key-file": str(self.certificates.service_account_key),
            "root-ca-file": str(self.certificates.ca),
            "controllers": "*" if self.node_address else ",".join(CONTROLLERS),
        }

    def write_kubeconfig(self, path: Path, user: dict[str, str], *, namespace: str) -> None:
        """Write a kubeconfig, readable by its owner only, of one user; `user` is as kubeconfig has it."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "pantograph",
                    "cluster": {"server": self.url, "certificate-authority": str(self.certificates.ca)},
                }
            ],
            "users": [{"name": "user", "user": user}],
            "contexts": [
                {"name": "pantograph", "context": {"cluster": "pantograph", "user": "user", "namespace": namespace}}
            ],
            "current-context": "pantograph",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
