"""One test control plane: etcd, kube-apiserver and kube-controller-manager on free loopback ports, with own data."""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from hack.controlplane.build import binaries
from hack.controlplane.certificates import Certificates, Identity, issue_certificates
from hack.controlplane.configuration import KUBERNETES_SERVICE, LOOPBACK, NAMES, Configuration, Ports
from hack.controlplane.process import PortTakenError, Server, ServerError, free_ports

_START_TIMEOUT_S = 120.0
_POLL_S = 0.1
_CALL_TIMEOUT_S = 10.0
_COMMAND_TIMEOUT_S = 300.0
"""For kubectl and helm: well beyond every `--timeout` that is given to them."""
_PORT_ATTEMPTS = 5


class CommandError(Exception):
    """kubectl or helm ended with an error; the text is what it said."""

    def __init__(self, command: str, returncode: int, *, stdout: str, stderr: str) -> None:
        super().__init__(f"`{command}` ended with {returncode}: {stderr.strip() or stdout.strip()}")
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


class ControlPlane:
    """Starts on `start()` (or `with`), is gone with its data after `stop()`, and dies with this process in any case.

    There is no kubelet: Pods stay Pending. All methods block; from a coroutine call them with `asyncio.to_thread`.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        node_address: str | None = None,
        identities: Mapping[str, Identity] | None = None,
    ) -> None:
        """Keep everything below `data`, a folder that does not exist yet (default: a temporary one).

        With `node_address`, an address of this machine that is not a loopback one, the API server answers there and is
        ready for a node; `identities` get certificates (`certificates.pair(name)`).
        """
        self.data = data or Path(tempfile.mkdtemp(prefix="pantograph-control-plane-"))
        self._rng = random.Random()
        self._node_address = node_address
        self._identities = identities or {}
        self._binaries: dict[str, Path] = {}
        self._servers: dict[str, Server] = {}
        self._configuration: Configuration
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy has no business between us and loopback
        # 429 says that nothing was done, for example while the storage of a new kind is made ready: as kubectl does.
        patience = Retry(10, connect=0, read=False, status_forcelist=[429], allowed_methods=None, backoff_factor=0.2)
        self._session.mount("https://", HTTPAdapter(max_retries=patience))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Life

    def start(self) -> None:
        """Build what is missing, start all three and return when objects can be made.

        Raises SetupError if a command cannot be built, ServerError with the end of its log if one does not start.
        """
        self._binaries = binaries()
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        addresses = (self._node_address or LOOPBACK, KUBERNETES_SERVICE)
        certificates = issue_certificates(self.data / "pki", addresses=addresses, names=NAMES, others=self._identities)
        self._session.verify = str(certificates.ca)
        self._session.cert = (str(certificates.admin), str(certificates.admin_key))
        try:
            self._start_on_free_ports(certificates)
        except BaseException:
            self._kill_all()  # the data stays: its logs tell why
            raise

    def stop(self) -> None:
        """End all processes and remove the data. May be called twice."""
        self._kill_all()
        self._session.close()
        shutil.rmtree(self.data, ignore_errors=True)

    def start_apiserver(self) -> None:
        """Start the API server on the port it had and return when it is ready."""
        self._start_server("kube-apiserver", self._configuration.apiserver_flags())
        self._await("kube-apiserver", self._is_ready)

    def stop_apiserver(self) -> None:
        """Kill the API server as a crash would. Its clients see a refused connection until `start_apiserver`."""
        self._servers["kube-apiserver"].kill()

    def compact_etcd(self) -> int:
        """Compact etcd at its newest revision and return that: older resourceVersions cannot be watched from storage.

        The API server still serves them from its watch cache, until it is restarted.
        """
        revision = int(self._etcd("kv/range", {"key": "AA=="})["header"]["revision"])
        self._etcd("kv/compaction", {"revision": revision, "physical": True})
        return revision

    # What clients need

    @property
    def url(self) -> str:
        """Where the API server answers."""
        return self._configuration.url

    @property
    def ca(self) -> Path:
        """The certificate authority to trust, PEM."""
        return self._configuration.certificates.ca

    @property
    def certificates(self) -> Certificates:
        return self._configuration.certificates

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of an administrator (`system:masters`)."""
        return self._configuration.admin_kubeconfig

    @property
    def audit_log(self) -> Path:
        """One audit event, JSON, a line, level Metadata, written before the answer is sent."""
        return self._configuration.audit_log

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each server by its name."""
        return {name: server.pid for name, server in self._servers.items()}

    def token_for(self, namespace: str, serviceaccount: str, *, seconds: int = 3600) -> str:
        """A token of a ServiceAccount, valid for `seconds` (at least 600).

        Raises requests.HTTPError if there is no such ServiceAccount.
        """
        answer = self._session.post(
            f"{self.url}/api/v1/namespaces/{namespace}/serviceaccounts/{serviceaccount}/token",
            json={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": seconds},
            },
            timeout=_CALL_TIMEOUT_S,
        )
        answer.raise_for_status()
        token: str = answer.json()["status"]["token"]
        return token

    def kubeconfig_for(self, namespace: str, serviceaccount: str, *, seconds: int = 3600) -> Path:
        """A kubeconfig that acts as a ServiceAccount and nothing more, its namespace the default one."""
        path = self.data / f"{namespace}-{serviceaccount}.kubeconfig"
        user = {"token": self.token_for(namespace, serviceaccount, seconds=seconds)}
        self._configuration.write_kubeconfig(path, user, namespace=namespace)
        return path

    def kubeconfig_of(self, name: str) -> Path:
        """A kubeconfig that acts as one of `identities`."""
        path = self.data / f"{name}.kubeconfig"
        certificate, key = self.certificates.pair(name)
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        self._configuration.write_kubeconfig(path, user, namespace="default")
        return path

    def read(self, path: str) -> dict[str, Any] | None:
        """What the API server answers to a GET by an administrator; None: 404. Raises requests.RequestException."""
        answer = self._session.get(f"{self.url}{path}", timeout=_CALL_TIMEOUT_S)
        if answer.status_code == requests.codes.not_found:
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def kubectl(self, *args: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl, as administrator unless `kubeconfig` says otherwise, and return what it prints.

        Raises CommandError, which holds `stderr`, if it fails.
        """
        return self._run("kubectl", args, stdin=stdin, kubeconfig=kubeconfig)

    def helm(self, *args: str, stdin: str | None = None) -> str:
        """Run helm as administrator, with folders of its own, as `kubectl` does."""
        return self._run("helm", args, stdin=stdin, kubeconfig=None)

    @property
    def path(self) -> str:
        """The folders of the built commands, as PATH has them."""
        return os.pathsep.join(sorted({str(command.parent) for command in self._binaries.values()}))

    def environment(self, *, kubeconfig: Path | None = None) -> dict[str, str]:
        """Environment in which `kubectl` and `helm` are ours, are on PATH, and touch no file of the user's."""
        return {
            **os.environ,
            "PATH": os.pathsep.join((self.path, os.environ["PATH"])),
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
            "KUBECACHEDIR": str(self.data / "kubectl"),
            "HELM_CACHE_HOME": str(self.data / "helm/cache"),
            "HELM_CONFIG_HOME": str(self.data / "helm/config"),
            "HELM_DATA_HOME": str(self.data / "helm/data"),
        }

    # How it is done

    def _start_on_free_ports(self, certificates: Certificates) -> None:
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._configuration = Configuration(
                self.data, certificates, Ports(*free_ports(4, rng=self._rng)), self._node_address
            )
            self._configuration.write()
            try:
                self._start_all()
            except PortTakenError:
                if attempt == _PORT_ATTEMPTS:
                    raise
                self._kill_all()
                shutil.rmtree(self._configuration.etcd_data, ignore_errors=True)
            else:
                return

    def _start_all(self) -> None:
        self._start_server("etcd", self._configuration.etcd_flags())
        self._await("etcd", lambda: bool(self._get(f"{self._configuration.etcd_url}/health")))
        self._start_server("kube-apiserver", self._configuration.apiserver_flags())
        self._await("kube-apiserver", self._is_ready)
        self._start_server("kube-controller-manager", self._configuration.controller_manager_flags())
        account = f"{self.url}/api/v1/namespaces/default/serviceaccounts/default"
        self._await("kube-controller-manager", lambda: self._get(account))

    def _start_server(self, name: str, flags: dict[str, str]) -> None:
        command = [str(self._binaries[name]), *(f"--{flag}={value}" for flag, value in flags.items())]
        self._servers[name] = Server(name, command, log=self.data / f"{name}.log")

    def _kill_all(self) -> None:
        # The data is thrown away, so nothing is gained by a graceful end, which waits for open watches.
        for server in reversed(self._servers.values()):
            server.kill()
        self._servers.clear()

    def _await(self, name: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not condition():
            for server in self._servers.values():
                server.check()
            if time.monotonic() > deadline:
                raise ServerError(f"{name} is not ready after {_START_TIMEOUT_S:.0f} s; see {self.data}/{name}.log")
            time.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        return self._get(f"{self.url}/readyz")

    def _get(self, url: str) -> bool:
        try:
            return self._session.get(url, timeout=_CALL_TIMEOUT_S).ok
        except requests.ConnectionError:
            return False
        except requests.Timeout:
            return False

    def _etcd(self, method: str, message: dict[str, Any]) -> dict[str, Any]:
        # etcd's gRPC gateway: JSON of the messages of its public API, https://etcd.io/docs/latest/dev-guide/api_grpc_gateway/
        answer = self._session.post(
            f"{self._configuration.etcd_url}/v3/{method}", json=message, timeout=_CALL_TIMEOUT_S
        )
        answer.raise_for_status()
        result: dict[str, Any] = answer.json()
        return result

    def _run(self, name: str, args: tuple[str, ...], *, stdin: str | None, kubeconfig: Path | None) -> str:
        command = " ".join((name, *args))
        try:
            done = subprocess.run(
                [str(self._binaries[name]), *args],
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=_COMMAND_TIMEOUT_S,
                env=self.environment(kubeconfig=kubeconfig),
            )
        except subprocess.TimeoutExpired as late:
            why = f"it has not ended within {_COMMAND_TIMEOUT_S:.0f} s"
            raise CommandError(command, -1, stdout="", stderr=why) from late
        if done.returncode != 0:
            raise CommandError(command, done.returncode, stdout=done.stdout, stderr=done.stderr)
        return done.stdout
