"""The main jobs, start to end, on this machine: a golden image becomes a template on three Proxmox nodes, and a media
tree becomes `.strm` files.

A control plane on loopback, the chart, an operator with the chart's rights, three simulated Proxmox nodes, a real
qcow2 image on a web server, and a library of videos on this machine's disk. Asks nothing, shows what it does, proves
that every copy has the bytes of the master, and stops everything it started. KEEP=1 leaves it running until Ctrl-C and
says how to look. CLUSTER=current installs into the cluster of the current kubeconfig instead, after asking.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hack import demo_media, install
from hack.controlplane.controlplane import CommandError
from hack.controlplane.process import ServerError
from hack.stage import Operator, Origin, Simulator, Stage, example, until
from hack.tools import SetupError

NODES = 3
IMAGE_MIB = 64
WITHIN_S = 300.0


def main() -> int:
    if os.environ.get("CLUSTER") == "current":
        return install.main()
    try:
        with ExitStack() as end:
            with _step("starting etcd, kube-apiserver and kube-controller-manager on loopback"):
                stage = end.enter_context(Stage())
            _play(stage)
    except (CommandError, ServerError, SetupError, AssertionError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0
    return 0


def _play(stage: Stage) -> None:
    with _step("installing the chart (replicas: 0)"):
        stage.install_chart()
    with _step(f"starting {NODES} simulated Proxmox VE nodes, and a web server with a golden image"):
        simulator = stage.start_simulator("--nodes", str(NODES), "--download-rate", "40e6", "--task-seconds", "1")
        origin = stage.start_origin()
        image = _make_image(origin)
    with _step("starting the operator with the chart's ServiceAccount, and nothing more"):
        media = demo_media.Media(stage)
        operator = stage.start_operator(PANTOGRAPH_LOG_FORMAT="console", PANTOGRAPH_ROOTS=json.dumps(media.roots))
        operator.await_ready()
    with _step("kubectl apply: docs/examples/proxmoxcluster.yaml and vmtemplate.yaml, with this machine's addresses"):
        stage.apply(*stage.connection(simulator), _template(origin, image))
    _watch(stage, operator)
    _prove(stage, simulator, image)
    demo_media.play(stage, operator, media)
    if os.environ.get("KEEP") == "1":
        _keep(stage, simulator, media)
    else:
        _say_what_next()


def _make_image(origin: Origin) -> Path:
    """A real qcow2 file: random content inside a larger disk, as cloud images are."""
    image = origin.folder / "debian.qcow2"
    raw = origin.folder / "debian.raw"
    with raw.open("wb") as file:
        file.write(os.urandom(IMAGE_MIB << 20))
        file.truncate(1 << 30)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(image)], check=True)
    raw.unlink()
    return image


def _template(origin: Origin, image: Path) -> dict[str, object]:
    template = example("vmtemplate")
    template["spec"]["source"]["http"] = {"url": origin.url(image.name), "checksum": f"sha256:{_sha256(image)}"}
    return template


def _watch(stage: Stage, operator: Operator) -> None:
    """Show the replicas whenever they changed, until the template is Ready."""
    print("\n==> kubectl get templatereplicas, whenever something changes")
    began, shown = time.monotonic(), ""

    def is_ready() -> bool:
        nonlocal shown
        table = stage.kubectl("get", "templatereplicas", "-o", _COLUMNS)
        if table != shown and table.strip():
            print(f"\n[{time.monotonic() - began:5.1f} s]\n{table.rstrip()}", flush=True)
            shown = table
        return stage.condition("vmtemplate/debian").get("status") == "True"

    until(is_ready, "vmtemplate/debian Ready", within_s=WITHIN_S, process=operator.process)
    print(f"\n==> kubectl get pantograph, {time.monotonic() - began:.1f} s after kubectl apply")
    print(stage.kubectl("get", "pantograph").rstrip())


_COLUMNS = (
    "custom-columns=NODE:.spec.node,VMID:.status.vmid,PHASE:.status.phase,OPERATION:.status.operation.type,"
    'READY:.status.conditions[?(@.type=="Ready")].status'
)


def _prove(stage: Stage, simulator: Simulator, image: Path) -> None:
    """Ask the nodes, not the operator, what they hold."""
    print("\n==> the nodes themselves: sha256 of the bytes that each template's disk was made from")
    wanted = _sha256(image)
    machines = simulator.truth("machines_marked")
    for machine in sorted(machines, key=lambda machine: machine["node"]):
        digest = simulator.truth("disk_sha256", vmid=machine["vmid"])
        print(
            f"    {machine['node']}  VMID {machine['vmid']}  {digest}  {'equal' if digest == wanted else 'DIFFERENT'}"
        )
        assert digest == wanted, f"the disk of VMID {machine['vmid']} differs from the image"
    assert len(machines) == NODES, f"{len(machines)} templates instead of {NODES}"
    assert stage.get("vmtemplate/debian")["status"]["replicas"]["summary"] == f"{NODES}/{NODES}"


def _keep(stage: Stage, simulator: Simulator, media: demo_media.Media) -> None:
    print("\n==> still running (KEEP=1); in another terminal:")
    print(f"    export KUBECONFIG={stage.plane.kubeconfig}")
    print(f"    export PATH={stage.plane.path}:$PATH")
    print("    kubectl get pantograph; kubectl describe vmtemplate debian")
    print("    kubectl delete vmtemplate debian        # removes the three templates, nothing else")
    print(f"    kubectl describe strmsyncjob library    # the media: {media.source}, the .strm files: {media.target}")
    print(f"    the simulated Proxmox API: {simulator.url}   the operator's log: {stage.folder}/operator-1.log")
    print("    stop everything: Ctrl-C here")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()


def _say_what_next() -> None:
    print("\nEverything that was started is stopped. What to try next:")
    print("    KEEP=1 make demo         the same, left running for kubectl")
    print("    docs/examples/           the YAML that was applied")
    print("    docs/install.md          with your own cluster and your own Proxmox")


@contextmanager
def _step(what: str) -> Iterator[None]:
    print(f"==> {what} … ", end="", flush=True)
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:.1f} s", flush=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
