"""The chart's release as the person who installs it sees it: helm, its pods, its volume."""

from __future__ import annotations

import json

from hack.controlplane.controlplane import CommandError, ControlPlane
from hack.node.world import NODE_ADDRESS
from hack.stage import CHART, KINDS, SYSTEM, Body, until
from tests.e2e.volumes import CLASS, Volumes

DEPOT_PORT = 30081
DEPOT = f"http://{NODE_ADDRESS}:{DEPOT_PORT}/"
WITHIN = "120s"
DEFINITIONS = tuple(f"{kind}.pantograph.dev" for kind in KINDS.split(","))


def create_namespace(plane: ControlPlane, name: str) -> None:
    """A namespace, if it is not there, that admits only pods that are `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(body))


class Release:
    """The release `pantograph` in a namespace that admits only pods that are `restricted`."""

    def __init__(self, plane: ControlPlane, *, image: str, volumes: Volumes) -> None:
        self._plane = plane
        self._repository, _, self._tag = image.rpartition(":")
        self._volumes = volumes
        self._flags: tuple[str, ...] | None = None

    # What the person who installs it does

    def ensure(self, *flags: str) -> None:
        """Installed with exactly `flags`, and Ready."""
        if self._flags == flags:
            self.await_rollout()
            return
        if self._flags is not None:
            self.uninstall()
        self.install(*flags)

    def install(self, *flags: str) -> None:
        """helm install --wait, with a new volume for the depot."""
        create_namespace(self._plane, SYSTEM)
        self._volumes.provide("50Gi")
        self._helm("install", "--wait", "--timeout", WITHIN, *flags)
        self._flags = flags

    def upgrade(self, *flags: str) -> None:
        """helm upgrade --wait."""
        self._helm("upgrade", "--wait", "--timeout", WITHIN, *(self._flags or ()), *flags)

    def upgrade_without_wait(self, *flags: str) -> None:
        self._helm("upgrade", *(self._flags or ()), *flags)

    def rollback(self) -> None:
        """helm rollback to the revision before."""
        self._plane.helm("rollback", "pantograph", "--namespace", SYSTEM, "--wait", "--timeout", WITHIN)

    def uninstall(self) -> None:
        """helm uninstall --wait."""
        self._plane.helm("uninstall", "pantograph", "--namespace", SYSTEM, "--wait", "--timeout", WITHIN)
        self.forget()

    def remove(self) -> None:
        """After this the cluster holds nothing of it, its definitions neither."""
        if self._flags is not None:
            self.uninstall()
        self._plane.kubectl("delete", "crd", *DEFINITIONS, "--ignore-not-found", "--timeout=60s")
        self._plane.kubectl("delete", "namespace", SYSTEM, "--ignore-not-found", "--timeout=120s")

    def forget(self) -> None:
        """It is gone by another way: the next test installs it again."""
        self._flags = None

    def kubectl(self, *args: str) -> str:
        return self._plane.kubectl("--namespace", SYSTEM, *args)

    # What is there

    def await_rollout(self) -> None:
        self.kubectl("rollout", "status", "deployment/pantograph", f"--timeout={WITHIN}")

    def pods(self) -> list[Body]:
        """Its pods that are not on their way out."""
        listed = self.kubectl("get", "pods", "-l", "app.kubernetes.io/name=pantograph", "-o", "json")
        return [pod for pod in json.loads(listed)["items"] if "deletionTimestamp" not in pod["metadata"]]

    def pod(self) -> str:
        """The name of the only pod, once it is Ready."""
        self.await_rollout()
        (pod,) = self.pods()
        return str(pod["metadata"]["name"])

    def await_successor(self, of: str) -> str:
        """The name of the pod that has taken the place of `of`, Ready."""
        until(lambda: all(pod["metadata"]["name"] != of for pod in self.pods()) and self.pods(), f"a successor of {of}")
        return self.pod()

    def logs(self, pod: str, *flags: str) -> list[Body]:
        """What the operator has logged, one object a line."""
        return [json.loads(line) for line in self.kubectl("logs", pod, *flags).splitlines()]

    def get(self, pod: str, path: str, *, port: int = 8080) -> str:
        """An answer of the pod's own server, through the API server. Raises CommandError if it is not a 200."""
        return self._plane.kubectl("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:{port}/proxy{path}")

    def leads(self, pod: str) -> bool:
        """Whether the pod says that it does; one that is about to start says nothing yet."""
        try:
            return "pantograph_leader 1.0" in self.get(pod, "/metrics")
        except CommandError:
            return False

    def holder(self) -> str:
        """Who holds the Lease; it may be one that went without its rights, and then could not give it back."""
        lease = self.kubectl("get", "lease", "pantograph", "-o", "json", "--ignore-not-found")
        return str(json.loads(lease)["spec"].get("holderIdentity", "")) if lease else ""

    def exec(self, pod: str, *command: str) -> str:
        return self.kubectl("exec", pod, "--", *command)

    def fails(self, pod: str, *command: str) -> str:
        """What a command in the pod says when it fails, as it must."""
        try:
            said = self.exec(pod, *command)
        except CommandError as error:
            return error.stderr
        raise AssertionError(f"{command} succeeded: {said}")

    def _helm(self, verb: str, *flags: str) -> None:
        values = {
            "image.repository": self._repository,
            "image.tag": self._tag,
            "depot.persistence.storageClass": CLASS,
            "depot.service.nodePort": str(DEPOT_PORT),
            "depot.externalURL": DEPOT.rstrip("/"),
        }
        sets = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
        self._plane.helm(verb, "pantograph", str(CHART), "--namespace", SYSTEM, *sets, *flags)
