"""What kubelet, containerd, scheduler and kube-proxy are told. Each setting is here for a reason of the tests."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from hack.controlplane.certificates import Identity
from hack.node import cgroups
from hack.node.names import DOMAIN
from hack.node.packages import CNI_PLUGINS
from hack.node.world import NODE_ADDRESS

NODE = "node"
PODS = "10.99.0.0/24"
PAUSE_IMAGE = "localhost/pause:1"
IDENTITIES = {
    "kubelet": Identity(f"system:node:{NODE}", "system:nodes", addresses=(NODE_ADDRESS,)),
    "kube-scheduler": Identity("system:kube-scheduler"),
    "kube-proxy": Identity("system:kube-proxy"),
}
"""Clients of the API server that are Kubernetes' own; the kubelet is a server as well."""


@dataclass(frozen=True, slots=True)
class NodeConfiguration:
    """One node's configuration, its files below `folder`."""

    folder: Path
    group: str
    """The node's control group."""
    commands: Path
    """The folder of containerd and its shim."""
    runc: Path

    @property
    def socket(self) -> Path:
        return Path("/run/containerd.sock")

    @property
    def state(self) -> Path:
        """What containerd knows of running containers; a restart of the machine would empty it."""
        return Path("/run/containerd")

    @property
    def containerd_file(self) -> Path:
        return self.folder / "containerd.toml"

    @property
    def kubelet_file(self) -> Path:
        return self.folder / "kubelet.yaml"

    def write_containerd(self) -> None:
        """Write what containerd reads: its own file, and the network of pods."""
        network = self.folder / "cni" / "10-pods.conflist"
        network.parent.mkdir(parents=True)
        network.write_text(json.dumps(self._network()))
        self.containerd_file.write_text(self._containerd())

    def write_kubelet(self, *, ca: Path, certificate: Path, key: Path) -> None:
        """Write the kubelet's file; `certificate` is its own."""
        self.kubelet_file.write_text(yaml.safe_dump(self._kubelet(ca=ca, certificate=certificate, key=key)))

    def kubelet_flags(self, kubeconfig: Path) -> dict[str, str]:
        return {
            "config": str(self.kubelet_file),
            "kubeconfig": str(kubeconfig),
            "root-dir": str(self.folder / "kubelet"),
            "cert-dir": str(self.folder / "kubelet-certificates"),
            "hostname-override": NODE,
            "node-ip": NODE_ADDRESS,
        }

    def scheduler_flags(self, kubeconfig: Path) -> dict[str, str]:
        access = str(kubeconfig)
        return {
            "kubeconfig": access,
            "authentication-kubeconfig": access,
            "authorization-kubeconfig": access,
            "leader-elect": "false",
            "bind-address": "127.0.0.1",
        }

    def proxy_flags(self, kubeconfig: Path) -> dict[str, str]:
        return {
            "kubeconfig": str(kubeconfig),
            "proxy-mode": "iptables",
            "hostname-override": NODE,
            "cluster-cidr": PODS,
            "bind-address": NODE_ADDRESS,
            # These sysctls are the machine's, not the network namespace's.
            "conntrack-max-per-core": "0",
            "conntrack-tcp-timeout-established": "0",
            "conntrack-tcp-timeout-close-wait": "0",
        }

    @staticmethod
    def _network() -> dict[str, object]:
        return {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "pods0",
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }

    def _containerd(self) -> str:
        # Version 2 of the format: containerd 1.6 reads it, later ones translate it.
        # AppArmor's profiles could not be loaded from inside, and a lower OOM score needs CAP_SYS_RESOURCE on the host.
        return f"""\
version = 2
root = "{self.folder}/containerd"
state = "{self.state}"

[grpc]
address = "{self.socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{self.folder}/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{self.folder}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{self.runc}"
"""

    def _kubelet(self, *, ca: Path, certificate: Path, key: Path) -> dict[str, object]:
        never = dict.fromkeys(("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%")
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(ca)}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.group}",
            "cgroupsPerQOS": True,
            "enforceNodeAllocatable": [],
            **({} if cgroups.is_v2() else {"failCgroupV1": False}),
            "failSwapOn": False,
            # The node's disk is the machine's: how full that is has nothing to do with us.
            "localStorageCapacityIsolation": False,
            "evictionHard": {**never, "imagefs.inodesFree": "0%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": DOMAIN,
            "resolvConf": "",  # there is no way out to another
            # Told often, so that a node that was restarted is seen to be there again.
            "nodeStatusUpdateFrequency": "2s",
            "nodeStatusReportFrequency": "2s",
        }
