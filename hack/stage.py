"""The stage for the main job on loopback: a control plane with the chart, simulated Proxmox nodes, an image server, and
the operator as a process that has the chart's settings and its ServiceAccount's token, and nothing more.

The demo and the cluster tests play on it.
"""

import base64
import json
import os
import random
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self
from urllib.parse import urlencode

import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hack.controlplane.controlplane import CommandError, ControlPlane
from hack.controlplane.process import Server, ServerError, free_ports

CHECKOUT = Path(__file__).parents[1]
CHART = CHECKOUT / "charts" / "pantograph"
EXAMPLES = CHECKOUT / "docs" / "examples"
SYSTEM = "pantograph-system"
SERVICE_ACCOUNT = "pantograph"
KINDS = "vmtemplates,templatereplicas,proxmoxclusters,strmsyncjobs,dataservers"

Body = dict[str, Any]


class Stage:
    """One control plane with the chart installed (`replicas: 0`), and what is played on it. Everything ends with it."""

    def __init__(
        self, plane: ControlPlane | None = None, *, host: str = "127.0.0.1", namespace: str = "default"
    ) -> None:
        """Play on a control plane of its own, or on a running `plane`, which is left running; simulated nodes and
        image servers answer at `host`.
        """
        self.namespace = namespace
        self.host = host
        self._owns_plane = plane is None
        self.plane = plane or ControlPlane()
        self.folder = Path(tempfile.mkdtemp(prefix="pantograph-stage-"))
        self._random = random.Random()
        self._ports: set[int] = set()
        self.depot_port = self.free_port()
        self.runs_port = self.free_port()
        self._ends: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        if self._owns_plane:
            self.plane.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for end in reversed(self._ends):
            end()
        if self._owns_plane:
            self.plane.stop()
        if error is None:  # otherwise the logs in it tell why
            shutil.rmtree(self.folder, ignore_errors=True)

    def free_port(self) -> int:
        """A loopback port that nobody listens on at the moment. Never the same again: a port whose server does not run
        just now, as the depot's between two operators, is still that server's.
        """
        (port,) = free_ports(1, rng=self._random, besides=self._ports)
        self._ports.add(port)
        return port

    def install_chart(self, *flags: str) -> None:
        """helm install, with the depot on this machine's loopback and nothing running."""
        self.plane.helm(
            "upgrade", "--install", "pantograph", str(CHART), "--namespace", SYSTEM, "--create-namespace",
            "--set", "replicas=0", "--set", "fetch.allowLoopback=true",
            "--set", f"depot.externalURL=http://127.0.0.1:{self.depot_port}", *flags,
        )  # fmt: skip

    @contextmanager
    def scene(self) -> Iterator[Self]:
        """A namespace of its own, with nothing in it. What is started within ends with it; its objects are let go."""
        self.namespace, before = f"scene-{secrets.token_hex(4)}", len(self._ends)
        self.plane.kubectl("create", "namespace", self.namespace)
        try:
            yield self
        finally:
            while len(self._ends) > before:
                self._ends.pop()()
            self._let_go()
            self.plane.kubectl("delete", "namespace", self.namespace, "--wait=false")
            # Of a killed leader: the next one would wait until it expires.
            self.plane.kubectl("delete", "lease", "pantograph", "--namespace", SYSTEM, "--ignore-not-found")

    def _let_go(self) -> None:
        """Remove our objects without their operator, as an uninstalled one's user would."""
        for name in self.kubectl("get", KINDS, "-o", "name").split():
            self.kubectl("patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
            self.kubectl("delete", name, "--ignore-not-found")

    def start_simulator(self, *arguments: str) -> "Simulator":
        """A simulated Proxmox cluster in a process of its own."""
        simulator = Simulator(self.folder / f"proxmox-{secrets.token_hex(4)}.log", "--host", self.host, *arguments)
        self._ends.append(simulator.stop)
        return simulator

    def start_origin(self) -> "Origin":
        """A web server for images."""
        origin = Origin(self.folder / "images", self.host)
        self._ends.append(origin.stop)
        return origin

    def start_operator(self, name: str = "operator-1", **environment: str) -> "Operator":
        """An operator process; `environment` overrides what the chart sets. Its name is its identity in the Lease."""
        operator = Operator(self, name, environment)
        self._ends.append(operator.stop)
        return operator

    # What a user does

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.plane.kubectl("--namespace", self.namespace, *args, stdin=stdin)

    def apply(self, *bodies: Body) -> None:
        """kubectl apply."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(bodies))

    def get(self, what: str) -> Body:
        """The object `<kind>/<name>` as the API server has it. Raises CommandError, as kubectl does, without it."""
        if (path := self._path(what)) is None:
            body: Body = json.loads(self.kubectl("get", what, "-o", "json"))
            return body
        found = self._read(path)
        if found is None:
            raise CommandError(f"get {what}", 1, stdout="", stderr=f"Error from server (NotFound): {what} not found")
        return found

    def find(self, what: str) -> Body | None:
        """Likewise; None if there is none."""
        if (path := self._path(what)) is not None:
            return self._read(path)
        text = self.kubectl("get", what, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def all(self, kinds: str) -> list[Body]:
        """Every object of these kinds (`vmtemplates,events`) in the namespace."""
        paths = [self._path(kind) for kind in kinds.split(",")]
        if None in paths:
            items: list[Body] = json.loads(self.kubectl("get", kinds, "-o", "json"))["items"]
            return items
        return [body for path in paths if path for body in (self._read(path) or {"items": []})["items"]]

    def _path(self, what: str) -> str | None:
        """Of our own kinds, for which tests ask hundreds of times: each kubectl would take a fifth of a CPU second."""
        kind, _, name = what.partition("/")
        plural = kind if kind.endswith("s") else f"{kind}s"
        if plural not in KINDS.split(","):
            return None
        return f"/apis/pantograph.dev/v1alpha1/namespaces/{self.namespace}/{plural}{f'/{name}' if name else ''}"

    def _read(self, path: str) -> Body | None:
        try:
            return self.plane.read(path)
        except requests.RequestException as error:
            raise CommandError(f"GET {path}", 1, stdout="", stderr=str(error)) from error

    def condition(self, what: str, type: str = "Ready") -> Body:
        """The condition, or `{}`."""
        conditions = (self.find(what) or {}).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == type), {})

    def await_ready(self, *what: str, within_s: int = 180) -> None:
        """kubectl wait --for=condition=Ready. Raises ServerError with what the objects say if they do not become so."""
        try:
            self.kubectl("wait", "--for=condition=Ready", *what, f"--timeout={within_s}s")
        except CommandError as late:
            raise ServerError(f"{late}\n{self.picture()}") from late

    def picture(self) -> str:
        """Every object of ours and what it says, and the end of each operator's log, for the reader of a failure."""
        lines = [line for log in self.folder.glob("operator-*.log") for line in log.read_text().splitlines()[-8:]]
        for body in self.all(KINDS):
            status = body.get("status", {})
            lines.append(f"{body['kind']}/{body['metadata']['name']} operation={status.get('operation')}")
            lines += [
                f"    {c['type']}={c['status']} {c['reason']}: {c['message']}" for c in status.get("conditions", [])
            ]
        return "\n".join(lines)

    def connection(self, simulator: "Simulator", *, secret: str = "pve-token") -> list[Body]:
        """The example's `ProxmoxCluster` and its Secret, for the simulated cluster."""
        cluster = example("proxmoxcluster")
        cluster["spec"]["endpoints"] = [simulator.url]
        cluster["spec"]["tls"] = {"fingerprint": simulator.fingerprint}
        cluster["spec"]["credentialsRef"]["name"] = secret
        data = {"tokenId": simulator.token_id, "tokenSecret": simulator.token_secret}
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}
        return [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "data": encoded}, cluster]


class Operator:
    """`pantograph run` with what the Deployment would give its pod."""

    def __init__(self, stage: Stage, name: str, overrides: Mapping[str, str]) -> None:
        self.name = name
        self.http_port = stage.free_port()
        self.log = stage.folder / f"{name}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(stage.plane.kubeconfig_for(SYSTEM, SERVICE_ACCOUNT)),
            **_chart_environment(stage.plane),
            "PANTOGRAPH_NAMESPACE": SYSTEM,
            "PANTOGRAPH_POD_NAME": name,
            "PANTOGRAPH_HTTP_HOST": "127.0.0.1",
            "PANTOGRAPH_HTTP_PORT": str(self.http_port),
            "PANTOGRAPH_DEPOT_HOST": "127.0.0.1",
            "PANTOGRAPH_DEPOT_PORT": str(stage.depot_port),
            "PANTOGRAPH_DEPOT_DIR": str(stage.folder / "depot"),
            "PANTOGRAPH_RUNS_HOST": "127.0.0.1",
            "PANTOGRAPH_RUNS_PORT": str(stage.runs_port),
            "PANTOGRAPH_RUNS_URL": f"https://localhost:{stage.runs_port}",
            "PANTOGRAPH_RUNS_DIR": str(stage.folder / f"{name}-runs"),
            **overrides,
        }
        command = [sys.executable, "-m", "pantograph.cli.main", "run"]
        self.process = Server(name, command, log=self.log, environment=environment)

    def await_ready(self, *, within_s: float = 60.0) -> None:
        """Return when `/readyz` says so. Raises ServerError with the end of the log if the process ends before."""
        until(self.is_ready, f"{self.name} ready", within_s=within_s, process=self.process)

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10).text

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the metric's samples that have these labels."""
        families = text_string_to_metric_families(self.metrics())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def terminate(self) -> int:
        """SIGTERM, as Kubernetes asks a pod to stop; its exit code."""
        return self.process.terminate()

    def stop(self) -> None:
        self.kill()

    def is_ready(self) -> bool:
        """Whether `/readyz` says so now."""
        try:
            return requests.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=5).ok
        except requests.ConnectionError:
            return False


class Simulator:
    """Simulated Proxmox VE nodes over HTTPS, in a process of its own."""

    def __init__(self, log: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.fakes.proxmox", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        self.process = Server("simulated Proxmox", command, log=log, environment=environment)
        until(lambda: log.read_text().startswith("{"), "simulated Proxmox", process=self.process)
        said = json.loads(log.read_text().splitlines()[0])
        self.url: str = said["url"]
        self.fingerprint: str = said["fingerprint"]
        self.token_id: str = said["tokenId"]
        self.token_secret: str = said["tokenSecret"]
        self._control: str = said["control"]

    def truth(self, name: str, /, **arguments: Any) -> Any:
        """What is really there: `machines_marked`, `staged_files`, `disk_sha256`, …"""
        return self._answer(requests.get(f"{self._control}/truth/{name}?{urlencode(arguments)}", timeout=60))

    def fault(self, verb: str, /, **arguments: Any) -> Any:
        return self._answer(requests.post(f"{self._control}/faults/{verb}", json=arguments, timeout=60))

    def person(self, verb: str, /, **arguments: Any) -> Any:
        return self._answer(requests.post(f"{self._control}/people/{verb}", json=arguments, timeout=60))

    def stop(self) -> None:
        self.process.kill()

    @staticmethod
    def _answer(response: requests.Response) -> Any:
        response.raise_for_status()
        return response.json()


@dataclass
class Origin:
    """A plain web server: what is put into `folder` can be fetched."""

    folder: Path
    host: str = "127.0.0.1"
    requests: list[str] = field(init=False, default_factory=list)
    """Every request with the status of its answer: `GET /debian.qcow2 200`."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handler = partial(_Handler, self.requests, directory=str(self.folder))
        self._server = ThreadingHTTPServer((self.host, 0), handler)
        threading.Thread(target=self._server.serve_forever, name="origin", daemon=True).start()

    def put(self, name: str, content: bytes) -> str:
        """Serve `content`; its URL."""
        (self.folder / name).write_bytes(content)
        return self.url(name)

    def url(self, name: str) -> str:
        return f"http://{self.host}:{self._server.server_address[1]}/{name}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, requests: list[str], *args: Any, **options: Any) -> None:
        self._requests = requests
        super().__init__(*args, **options)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        self._requests.append(f"{self.command} {self.path} {int(code) if isinstance(code, int) else code}")

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def example(name: str) -> Body:
    """`docs/examples/<name>.yaml`."""
    body: Body = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    return body


def until(condition: Callable[[], object], what: str, *, within_s: float = 60.0, process: Server | None = None) -> None:
    """Return when `condition` holds. Raises ServerError if `process` ends before, or if it takes too long."""
    deadline, pause_s = monotonic() + within_s, 0.05
    while not condition():
        if process is not None:
            process.check()
        if monotonic() > deadline:
            raise ServerError(f"not within {within_s:.0f} s: {what}")
        sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.4)  # asking costs more than waiting: most conditions start a kubectl


def _chart_environment(plane: ControlPlane) -> dict[str, str]:
    """What the Deployment sets for its container, but for what only a kubelet knows."""
    deployment = json.loads(plane.kubectl("get", "deployment", "pantograph", "-n", SYSTEM, "-o", "json"))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}
