"""One real node: a control plane, and kubelet, containerd, scheduler and kube-proxy that run pods for it.

Only inside `hack.node.world.isolated`, where it may change mounts and network as it likes.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Self

from hack.controlplane.build import NODE_MODULES, binaries
from hack.controlplane.controlplane import ControlPlane
from hack.controlplane.process import Server, ServerError
from hack.node import cgroups, packages
from hack.node.archive import write_oci_archive
from hack.node.configuration import IDENTITIES, NODE, PAUSE_IMAGE, NodeConfiguration
from hack.node.names import Names
from hack.node.world import FOLDER, GROUP, NODE_ADDRESS
from hack.tools import SetupError

_START_TIMEOUT_S = 120.0
_POLL_S = 0.1


class Node:
    """Ready after `start()` (or `with`). Nothing outlives the namespace; `stop()` is only quicker than its end."""

    def __init__(self, *archives: Path) -> None:
        """`archives` are OCI archives of images, which pods can then name."""
        if GROUP not in os.environ:
            raise SetupError("a node needs namespaces of its own: python -m hack.node COMMAND…")
        self.folder = Path(os.environ[FOLDER])
        self.plane = ControlPlane(self.folder / "control-plane", node_address=NODE_ADDRESS, identities=IDENTITIES)
        self._archives = archives
        self._binaries: dict[str, Path] = {}
        self._servers: dict[str, Server] = {}
        self._names: Names | None = None
        self._configuration = NodeConfiguration(
            self.folder / "node", group=os.environ[GROUP], commands=packages.containerd(), runc=packages.runc()
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when the node is Ready.

        Raises SetupError if a command cannot be built, ServerError with the end of its log if one does not start.
        """
        self._binaries = binaries(NODE_MODULES)
        with ThreadPoolExecutor(1) as beside:
            images = beside.submit(self._start_containerd_with_images)
            self.plane.start()
            images.result()
        certificates = self.plane.certificates
        certificate, key = certificates.pair("kubelet")
        self._configuration.write_kubelet(ca=certificates.ca, certificate=certificate, key=key)
        self._names = Names(NODE_ADDRESS, self._address_of_service)
        self._start("kube-scheduler", self._configuration.scheduler_flags(self.plane.kubeconfig_of("kube-scheduler")))
        self._start_node_agents()

    def stop(self) -> None:
        """Kill everything at once: what it wrote goes with the namespace."""
        self._kill_node()
        for server in self._servers.values():
            server.kill()
        if self._names is not None:
            self._names.stop()
        self.plane.stop()

    def restart(self) -> None:
        """What a power cut and a new start of the machine do to the node: every process of every pod is gone at once.

        The control plane, as on other machines, stays. Returns when the node is Ready again.
        """
        self._kill_node()
        state = self._configuration.state
        for mount in sorted(_mounts_below(state, Path("/run/netns")), reverse=True):
            _run("umount", "--lazy", mount)
        _run("rm", "-rf", "--one-file-system", str(state), "/run/netns")
        self._start_containerd()
        self._start_node_agents()

    def import_image(self, archive: Path) -> None:
        """Make the image of an OCI archive known to the node, under the name in its annotation."""
        self._ctr("images", "import", str(archive))

    def _address_of_service(self, namespace: str, name: str) -> str | None:
        found = self.plane.kubectl("get", "service", name, "-n", namespace, "--ignore-not-found", "-o", "json")
        address = json.loads(found)["spec"].get("clusterIP") if found else None
        return None if address == "None" else address  # a Service without one is headless

    def _start_containerd_with_images(self) -> None:
        self._configuration.write_containerd()
        self._start_containerd()
        pause = self.folder / "pause.tar"
        write_oci_archive(pause, self._binaries["pause"], name=PAUSE_IMAGE)
        for archive in (pause, *self._archives):
            self.import_image(archive)

    def _start_containerd(self) -> None:
        configuration = self._configuration
        environment = {**os.environ, "PATH": f"{configuration.commands}:/usr/sbin:/usr/bin:/sbin:/bin"}
        command = [str(configuration.commands / "containerd"), "--config", str(configuration.containerd_file)]
        self._servers["containerd"] = Server(
            "containerd", command, log=self.folder / "containerd.log", environment=environment
        )
        self._await("containerd", self._containerd_answers)

    def _start_node_agents(self) -> None:
        started = _now_in_cluster()
        for name, flags in (
            ("kube-proxy", self._configuration.proxy_flags),
            ("kubelet", self._configuration.kubelet_flags),
        ):
            self._start(name, flags(self.plane.kubeconfig_of(name)))
        self._await("kubelet", lambda: self._is_ready(since=started))

    def _start(self, name: str, flags: dict[str, str]) -> None:
        command = [str(self._binaries[name]), *(f"--{flag}={value}" for flag, value in flags.items())]
        environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self._servers[name] = Server(name, command, log=self.folder / f"{name}.log", environment=environment)

    def _kill_node(self) -> None:
        for name in ("kubelet", "kube-proxy", "containerd"):
            if name in self._servers:
                self._servers.pop(name).kill()
        for shim in _processes_of("containerd-shim-runc-v2"):
            _kill(shim)
        while pods := cgroups.processes(os.environ[GROUP]):
            for pid in pods:
                _kill(pid)
            sleep(_POLL_S)

    def _await(self, name: str, condition: Callable[[], bool]) -> None:
        deadline = monotonic() + _START_TIMEOUT_S
        while not condition():
            for server in self._servers.values():
                server.check()
            if monotonic() > deadline:
                raise ServerError(f"{name} is not ready after {_START_TIMEOUT_S:.0f} s; see {self.folder}/{name}.log")
            sleep(_POLL_S)

    def _is_ready(self, *, since: str) -> bool:
        nodes = json.loads(self.plane.kubectl("get", "nodes", "-o", "json"))["items"]
        return any(
            condition["type"] == "Ready" and condition["status"] == "True" and condition["lastHeartbeatTime"] >= since
            for node in nodes
            if node["metadata"]["name"] == NODE
            for condition in node["status"].get("conditions", [])
        )

    def _containerd_answers(self) -> bool:
        if not self._configuration.socket.exists():
            return False
        try:
            self._ctr("version")
        except SetupError:
            return False
        return True

    def _ctr(self, *arguments: str) -> None:
        ctr = str(self._configuration.commands / "ctr")
        _run(ctr, "--address", str(self._configuration.socket), "--namespace", "k8s.io", *arguments)


def _now_in_cluster() -> str:
    """As Kubernetes writes times, which sort as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _processes_of(command: str) -> Iterable[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            executable = (folder / "exe").readlink()
        except OSError:  # ended meanwhile
            continue
        if executable.name == command:
            yield int(folder.name)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _mounts_below(*folders: Path) -> list[str]:
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if any(Path(point).is_relative_to(folder) for folder in folders)]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
