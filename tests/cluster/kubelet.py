"""A kubelet in play: it takes the Pods of runs, lays out their volumes, and runs their own command as a process.

What is real is all that a run sees: the Pod as the Job controller made it, files as the downward API, Secrets and
projected tokens give them, a token bound to that very Pod, SIGTERM and grace. What is not: isolation, and the image.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Self

import requests

from hack.controlplane.controlplane import ControlPlane
from hack.stage import Body

_POLL_S = 0.1
_MESSAGE = "/dev/termination-log"


@dataclass
class _Running:
    pod: Body
    process: subprocess.Popen[bytes]
    folder: Path
    asked_at: float | None = None


@dataclass
class Kubelet:
    """`with Kubelet(plane, namespace, folder, claims={"library": directory}) as kubelet`."""

    plane: ControlPlane
    namespace: str
    folder: Path
    claims: Mapping[str, Path]
    started: list[str] = field(default_factory=list)
    """The name of every Pod whose command was run."""
    holds: bool = False
    """While true no Pod is taken: the scheduler finds no node."""

    def __enter__(self) -> Self:
        certificates = self.plane.certificates
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(self.plane.ca)
        self._session.cert = (str(certificates.admin), str(certificates.admin_key))
        self._running: dict[str, _Running] = {}
        self._end = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._play, name="kubelet", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._end.set()
        self._thread.join()
        for each in self._running.values():
            each.process.kill()
            each.process.wait()
        self._session.close()
        if self._failure is not None and error is None:
            raise self._failure

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """Of Pods at work."""
        return [each.process for each in list(self._running.values()) if each.process.poll() is None]

    def log(self, pod: str) -> str:
        return (self.folder / pod / "log").read_text()

    def token(self, pod: Body, audience: str) -> str:
        """As the kubelet asks for it: bound to the Pod, good for the audience alone."""
        meta = pod["metadata"]
        spec = {
            "audiences": [audience],
            "expirationSeconds": 3600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        account = pod["spec"].get("serviceAccountName", "default")
        answer = self._call("POST", f"serviceaccounts/{account}/token", body)
        return str(answer["status"]["token"])

    # Playing

    def _play(self) -> None:
        try:
            while not self._end.wait(_POLL_S):
                try:
                    found = self._call("GET", "pods")["items"]
                except requests.ConnectionError:
                    continue  # the test has taken the API server away
                pods = {pod["metadata"]["uid"]: pod for pod in found}
                for uid, pod in pods.items():
                    self._tend(uid, pod)
        except BaseException as failure:  # noqa: BLE001 - raised again in the test's own thread
            self._failure = failure

    def _tend(self, uid: str, pod: Body) -> None:
        running = self._running.get(uid)
        deleting = pod["metadata"].get("deletionTimestamp") is not None
        if running is None:
            if deleting:
                self._remove(pod)
            elif self.holds:
                self._say_unschedulable(pod)
            elif pod["status"].get("phase") == "Pending":
                self._running[uid] = self._start(pod)
            return
        code = running.process.poll()
        if code is not None and pod["status"].get("phase") == "Running":
            self._say_ended(running, code)
        if not deleting:
            return
        if code is not None:
            self._remove(pod)
        elif running.asked_at is None:
            running.asked_at = monotonic()
            running.process.send_signal(signal.SIGTERM)
        elif monotonic() - running.asked_at > pod["spec"]["terminationGracePeriodSeconds"]:
            running.process.kill()

    def _start(self, pod: Body) -> _Running:
        meta, (container,) = pod["metadata"], pod["spec"]["containers"]
        target = {"apiVersion": "v1", "kind": "Node", "name": "played"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
        self._call("POST", f"pods/{meta['name']}/binding", binding)
        folder = self.folder / meta["name"]
        folder.mkdir(parents=True)
        places = {_MESSAGE: folder / "message"}
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for mount in container["volumeMounts"]:
            places[mount["mountPath"]] = self._lay_out(pod, volumes[mount["name"]], folder)
        words = [_translated(word, places) for word in container["args"]]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pantograph.cli.main", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(folder)},
            )
        self.started.append(meta["name"])
        state = {"name": container["name"], "state": {"running": {}}}
        self._say(pod, {"phase": "Running", "containerStatuses": [_status(container, state["state"])]})
        return _Running(pod, process, folder)

    def _lay_out(self, pod: Body, volume: Body, folder: Path) -> Path:
        """The volume's files, as the kubelet would give them."""
        if "persistentVolumeClaim" in volume:
            return self.claims[volume["persistentVolumeClaim"]["claimName"]]
        place: Path = folder / volume["name"]
        place.mkdir(exist_ok=True)
        for item in volume.get("downwardAPI", {}).get("items", []):
            name = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
            (place / item["path"]).write_text(pod["metadata"]["annotations"][name])
        for source in volume.get("projected", {}).get("sources", []):
            wanted = source["serviceAccountToken"]
            (place / wanted["path"]).write_text(self.token(pod, wanted["audience"]))
        if "secret" in volume:
            secret = self._call("GET", f"secrets/{volume['secret']['secretName']}")
            for key, value in (secret.get("data") or {}).items():
                (place / key).write_bytes(base64.b64decode(value))
        return place

    def _say_ended(self, running: _Running, code: int) -> None:
        (container,) = running.pod["spec"]["containers"]
        message = running.folder / "message"
        ended = {
            "exitCode": abs(code),
            "reason": "Completed" if code == 0 else "Error",
            "message": message.read_text() if message.exists() else "",
        }
        status = _status(container, {"terminated": ended})
        self._say(running.pod, {"phase": "Succeeded" if code == 0 else "Failed", "containerStatuses": [status]})

    def _say_unschedulable(self, pod: Body) -> None:
        why = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and"
            " ReadWriteOncePod access mode.",
        }
        if not pod["status"].get("conditions"):
            self._say(pod, {"conditions": [why]})

    def _say(self, pod: Body, status: Body) -> None:
        self._call("PATCH", f"pods/{pod['metadata']['name']}/status", {"status": status}, missing_is_fine=True)

    def _remove(self, pod: Body) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        self._call("DELETE", f"pods/{pod['metadata']['name']}", body, missing_is_fine=True)
        if (running := self._running.pop(pod["metadata"]["uid"], None)) is not None:
            shutil.rmtree(running.folder / "tmp", ignore_errors=True)

    def _call(self, method: str, path: str, body: Body | None = None, *, missing_is_fine: bool = False) -> Any:
        content = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        answer = self._session.request(
            method,
            f"{self.plane.url}/api/v1/namespaces/{self.namespace}/{path}",
            json=body,
            headers={"Content-Type": content},
            timeout=20,
        )
        if answer.status_code == 404 and missing_is_fine:
            return {}
        if not answer.ok:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


def _translated(word: str, places: Mapping[str, Path]) -> str:
    """In one pass: a place outside may contain the name of one inside."""
    inside = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
    return re.sub(rf"(?<![^=])({inside})(?=/|$)", lambda found: str(places[found[1]]), word)


def _status(container: Body, state: Body) -> Body:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }
