"""Volumes that are folders of the node, as a local-path provisioner would make them."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from hack.controlplane.controlplane import ControlPlane
from hack.node.configuration import NODE
from hack.stage import Body

CLASS = "local"


class Volumes:
    """Those of one node, below a folder of it; they stay there whatever becomes of their claims."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder

    def provide(self, size: str, *, claim_ref: Body | None = None) -> Path:
        """A volume for a claim to come of this size, or for the one that is named; its folder."""
        name = f"volume-{secrets.token_hex(4)}"
        folder = self._folder / name
        folder.mkdir(parents=True)
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
        spec: Body = {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        }
        storage_class = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": spec | ({"claimRef": claim_ref} if claim_ref else {}),
        }
        self._apply(storage_class)
        self._apply(volume)
        return folder

    def claim(self, namespace: str, name: str) -> Path:
        """A claim of 1 GiB with a volume of its own; the volume's folder."""
        folder = self.provide("1Gi", claim_ref={"namespace": namespace, "name": name})
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": CLASS,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        self._apply(claim)
        return folder

    def _apply(self, body: Body) -> None:
        self._plane.kubectl("apply", "-f", "-", stdin=json.dumps(body))
