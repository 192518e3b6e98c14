"""`make demo CLUSTER=current`: the chart and this checkout's image in the cluster of the current kubeconfig.

It asks first, and says how to remove everything. The image comes into the cluster through the registry that IMAGE
names, or, where the cluster runs on this machine, by the command of its maker.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hack.controlplane.build import binaries
from hack.image.build import image, push
from hack.stage import CHART, SYSTEM
from hack.tools import SetupError

RELEASE = "pantograph"
LOADERS = {
    "kind-": ("kind", "load", "image-archive", "{archive}", "--name", "{cluster}"),
    "k3d-": ("k3d", "image", "import", "{archive}", "--cluster", "{cluster}"),
    "minikube": ("minikube", "image", "load", "{archive}"),
}
"""How a context begins → the command with which that cluster's maker puts an archive into it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asked for, by the environment."""

    image: str
    """A name in a registry; empty: load it into a cluster on this machine."""
    push: bool
    helm_flags: tuple[str, ...]


def main(ask: Callable[[str], str] = input) -> int:
    """Install, if the person agrees; the exit status."""
    wish = Wish(
        image=os.environ.get("IMAGE", ""),
        push=os.environ.get("PUSH", "1") != "0",
        helm_flags=tuple(shlex.split(os.environ.get("HELM_FLAGS", ""))),
    )
    commands = binaries()
    try:
        context = _output(commands["kubectl"], "config", "current-context")
        server = _output(
            commands["kubectl"], "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"
        )
        plan = _plan(wish, context)
        print(f"This will change the cluster {server} (context {context}):")
        print("\n".join(f"  - {step}" for step in (*plan, f"helm upgrade --install {RELEASE}, namespace {SYSTEM}")))
        if ask("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was changed")
            return 1
        name = _bring_image(wish, context)
        repository, _, tag = name.rpartition(":")
        _run(
            commands["helm"], "upgrade", "--install", RELEASE, str(CHART), "--namespace", SYSTEM, "--create-namespace",
            "--set", f"image.repository={repository}", "--set-string", f"image.tag={tag}", "--wait", *wish.helm_flags,
        )  # fmt: skip
    except SetupError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    _say_how_to_remove()
    return 0


def _plan(wish: Wish, context: str) -> tuple[str, ...]:
    if not wish.image:
        return (f"build the image and load it with `{_loader(context)[0]}`",)
    return (f"build the image and push it to {wish.image}",) if wish.push else (f"use the image {wish.image}",)


def _bring_image(wish: Wish, context: str) -> str:
    """After this the cluster can start the image of the returned name."""
    if not wish.image:
        built = image()
        _run(*(word.format(archive=built.archive, cluster=context.partition("-")[2]) for word in _loader(context)))
        return built.name
    if wish.push:
        push(image(), wish.image)
    return wish.image


def _loader(context: str) -> tuple[str, ...]:
    for beginning, command in LOADERS.items():
        if context.startswith(beginning) and shutil.which(command[0]):
            return command
    raise SetupError(
        f"the cluster of context {context} takes no image from this machine: "
        "name one in a registry that it pulls from, with IMAGE=registry.example.org/pantograph:0.1.0"
    )


def _say_how_to_remove() -> None:
    print(
        "\nInstalled. What to do next was said above; docs/install.md goes on from there. To remove everything again:"
    )
    print("  kubectl delete vmtemplates,templatereplicas,strmsyncjobs,dataservers --all --all-namespaces")
    print("  kubectl delete proxmoxclusters --all --all-namespaces")
    print(f"  helm uninstall {RELEASE} --namespace {SYSTEM} --wait")
    kinds = ("vmtemplates", "templatereplicas", "proxmoxclusters", "strmsyncjobs", "dataservers")
    print(f"  kubectl delete crd {' '.join(f'{kind}.pantograph.dev' for kind in kinds)}")
    print(f"  kubectl delete namespace {SYSTEM}")


def _output(command: Path, *arguments: str) -> str:
    done = subprocess.run((str(command), *arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"`{command.name} {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _run(*command: str | Path) -> None:
    """Run a command whose output is for the person to see."""
    words = [str(word) for word in command]
    if subprocess.run(words, check=False).returncode != 0:
        raise SetupError(f"`{' '.join((Path(words[0]).name, *words[1:]))}` failed")
