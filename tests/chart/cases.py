"""The ways of installing that tests look at: values by the name of the case."""

from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "nothing-runs": {"replicas": 0},
    "some-namespaces": {"watchNamespaces": ["lab", "shop"], "leaderElection": {"namespace": "leases"}},
    "no-crds": {"crds": {"enabled": False}},
    "two-replicas": {
        "replicas": 2,
        "depot": {
            "externalURL": "http://192.0.2.10:8081",
            "persistence": {"accessMode": "ReadWriteMany", "storageClass": "nfs", "size": "200Gi", "keep": True},
            "quota": "180Gi",
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "pantograph"}},
            }
        ],
    },
    "everything": {
        "commonLabels": {"team": "platform"},
        "image": {
            "repository": "registry.example.org/pantograph",
            "digest": "sha256:" + "a" * 64,
            "pullPolicy": "Always",
        },
        "imagePullSecrets": [{"name": "registry"}],
        "workers": 16,
        "logging": {"format": "console", "level": "debug"},
        "depot": {
            "externalURL": "https://images.example.org/depot",
            "service": {"type": "NodePort", "nodePort": 30081, "annotations": {"example.org/pool": "lab"}},
            "persistence": {"enabled": False, "size": "20Gi"},
            "quota": "18Gi",
        },
        "fetch": {"allowLoopback": True, "clusterRanges": ["10.96.0.0/12", "fd00:10:96::/112"]},
        "roots": [
            {"name": "library", "existingClaim": "library", "namespaces": ["films", "shows"]},
            {"name": "originals", "existingClaim": "originals", "namespaces": ["films"], "readOnly": True},
            {"name": "archive", "hostPath": {"path": "/srv/archive", "type": "Directory"}, "namespaces": []},
            {
                "name": "nas",
                "nfs": {"server": "nas.example.org", "path": "/export/media"},
                "namespaces": ["*"],
                "readOnly": True,
                "mountPath": "/srv/nas",
            },
        ],
        "runs": {
            "service": {"port": 9443, "annotations": {"example.org/pool": "lab"}},
            "imagePullSecrets": ["registry"],
        },
        "crds": {"keep": False},
        "serviceAccount": {"name": "operator", "annotations": {"example.org/role": "operator"}},
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "podMonitor": {"enabled": True, "interval": "1m"},
            "prometheusRule": {"enabled": True, "docsURL": "https://docs.example.org/"},
        },
        "networkPolicy": {
            "enabled": True,
            "depotFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
            "runsFrom": [{"namespaceSelector": {"matchLabels": {"example.org/runs": "yes"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "egress": [{"ports": [{"port": 443}, {"port": 8006}, {"port": 53, "protocol": "UDP"}]}],
        },
        "podAnnotations": {"example.org/checksum": "1"},
        "podLabels": {"example.org/zone": "a"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
                    }
                ]
            }
        },
        "priorityClassName": "system-cluster-critical",
        "hostAliases": [{"ip": "192.0.2.20", "hostnames": ["pve1.example.org"]}],
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/ca/ca.crt"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-extra", "namespace": "{{ .Release.Namespace }}"},
                "data": {"text": "as an object"},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: extra-text\n  namespace: {{ .Release.Namespace }}\n",
        ],
    },
}
