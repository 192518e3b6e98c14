"""Builds the commands of the test control plane and its node from pinned Go modules, once, into a cache elsewhere.

No image registry and no download site is needed: only Go's module proxy, and the Python package index where the
machine has no Go. A build that is there already is found in milliseconds, offline.
"""

import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cache import cache_dir, exclusively
from hack.controlplane.process import die_with_parent
from hack.tools import SetupError, tool

BINARIES = Path(__file__).parent / "binaries"
GO_SERIES = (1, 26)
"""The Go minor that the modules ask for, and that binaries/go.txt pins for machines without it."""

_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")
_HEARTBEAT_S = 30.0


@dataclass(frozen=True, slots=True)
class Module:
    """One Go module below binaries/ and the commands that are built from it, as name → package."""

    name: str
    requires: str
    """The module whose version is the version of the commands; empty for a module of our own."""
    packages: tuple[tuple[str, str], ...]
    version_package: str = ""
    """The package whose variables the linker sets: without them kubectl and helm see the version v0.0.0-master."""

    @property
    def source(self) -> Path:
        return BINARIES / self.name

    @property
    def version(self) -> str:
        """The pinned version of the commands, `vX.Y.Z`."""
        if not self.requires:
            return "v1"
        found = re.search(rf"\b{re.escape(self.requires)} (v\S+)", (self.source / "go.mod").read_text())
        if found is None:
            raise SetupError(f"{self.source / 'go.mod'} does not require {self.requires}")
        return found[1]

    @property
    def ldflags(self) -> str:
        if not self.version_package:
            return "-s -w"
        major, minor, _ = self.version.removeprefix("v").split(".", 2)
        stamps = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        return " ".join(["-s -w", *(f"-X {self.version_package}.{key}={value}" for key, value in stamps.items())])

    def folder(self, go_series: tuple[int, int]) -> Path:
        """Where the commands are once they are built; it exists only when all of them are."""
        digest = hashlib.sha256()
        for part in sorted(self.source.iterdir()):
            digest.update(part.name.encode() + b"\0" + part.read_bytes() + b"\0")
        digest.update(repr((go_series, _FLAGS, self.ldflags, self.packages, platform.machine())).encode())
        return cache_dir() / "bin" / f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"


MODULES = (
    Module("etcd", "go.etcd.io/etcd/server/v3", (("etcd", "."),)),
    Module(
        "kubernetes",
        "k8s.io/kubernetes",
        tuple(
            (name, f"k8s.io/kubernetes/cmd/{name}") for name in ("kube-apiserver", "kubectl", "kube-controller-manager")
        ),
        version_package="k8s.io/component-base/version",
    ),
    Module(
        "kubeconform",
        "github.com/yannh/kubeconform",
        (("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),),
    ),
    Module("helm", "helm.sh/helm/v4", (("helm", "helm.sh/helm/v4/cmd/helm"),)),
)

NODE_MODULES = (
    Module("pause", "", (("pause", "."),)),
    Module(
        "kubernetes-node",
        "k8s.io/kubernetes",
        tuple((name, f"k8s.io/kubernetes/cmd/{name}") for name in ("kubelet", "kube-scheduler", "kube-proxy")),
        version_package="k8s.io/component-base/version",
    ),
)
"""What a node has beside the control plane; only the tests that need one build it."""


def binaries(modules: Sequence[Module] = MODULES) -> dict[str, Path]:
    """The path of every command of `modules` by its name, after building those that are missing.

    Raises SetupError if one cannot be built.
    """
    go = _go_on_path()
    series = go[1] if go else GO_SERIES
    missing = [module for module in modules if not module.folder(series).exists()]
    if missing:
        with exclusively(cache_dir() / "build.lock", on_wait=lambda: _say("waiting for another build")):
            _build([module for module in missing if not module.folder(series).exists()], go[0] if go else None, series)
    return {name: module.folder(series) / name for module in modules for name, _ in module.packages}


def _build(modules: Sequence[Module], go: Path | None, series: tuple[int, int]) -> None:
    if not modules:
        return
    _say(f"building {', '.join(f'{m.name} {m.version}' for m in modules)} (Kubernetes: 5 minutes and more on 2 cores)")
    with _build_caches() as environment:
        go = go or tool("go", requirements=BINARIES / "go.txt", folder=_build_folder())
        for module in modules:
            _build_module(module, module.folder(series), go=go, environment=environment)


def _build_module(module: Module, folder: Path, *, go: Path, environment: dict[str, str]) -> None:
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, package in module.packages:
        began = time.monotonic()
        command = (str(go), "build", *_FLAGS, "-ldflags", module.ldflags, "-o", str(unfinished / name), package)
        _run_go(command, module.source, what=f"{name} {module.version}", environment=environment)
        _say(f"built {name} {module.version} in {time.monotonic() - began:.0f} s")
    unfinished.rename(folder)


def _run_go(command: Sequence[str], source: Path, *, what: str, environment: dict[str, str]) -> None:
    log = cache_dir() / "build.log"
    with log.open("w+") as output:
        with subprocess.Popen(
            command,
            cwd=source,
            env=environment,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,  # noqa: PLW1509  calls one function of libc that is loaded already
        ) as process:  # by the thread that waits for it here: it would die with another that ends
            began = time.monotonic()
            while True:
                try:
                    process.wait(timeout=_HEARTBEAT_S)
                    break
                except subprocess.TimeoutExpired:
                    _say(f"building {what}: {time.monotonic() - began:.0f} s so far")
        output.seek(0)
        lines = [line for line in output.read().splitlines() if not line.startswith("go: downloading ")]
    if process.returncode == 0:
        return
    reason = "\n".join(lines[-15:]) or f"go ended with {process.returncode} (is there enough memory? 3 GB are needed)"
    raise SetupError(
        f"cannot build {what}:\n{reason}\n"
        "what was fetched is kept: run it again when this is mended (Go's proxy is set by `go env -w GOPROXY=…`)"
    )


@contextmanager
def _build_caches() -> Iterator[dict[str, str]]:
    """An environment whose Go caches are ours: 7 GB that a success removes and a failure keeps for the next run."""
    own = {
        "GOCACHE": _build_folder() / "gocache",
        "GOMODCACHE": _build_folder() / "gomod",
        "GOTMPDIR": _build_folder() / "gotmp",  # of a killed build, too, nothing stays elsewhere
    }
    for folder in own.values():
        folder.mkdir(parents=True, exist_ok=True)
    yield {
        **os.environ,
        **{name: str(folder) for name, folder in own.items()},
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    _say("removing the build caches")
    remove_tree(_build_folder())


def _build_folder() -> Path:
    """What only a build needs: Go's caches and, on a machine without it, Go."""
    return cache_dir() / "build"


def remove_tree(folder: Path) -> None:
    """Remove a folder, Go's module cache included, whose folders are read-only."""
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(stat.S_IRWXU)
    if folder.exists():
        shutil.rmtree(folder)


def _go_on_path() -> tuple[Path, tuple[int, int]] | None:
    """The machine's own Go and its minor, if it is new enough."""
    found = shutil.which("go")
    if found is None:
        return None
    answer = subprocess.run(
        [found, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        cwd=BINARIES.parent,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    version = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    if version is None:
        return None
    series = (int(version[1]), int(version[2]))
    return (Path(found), series) if series >= GO_SERIES else None


def _say(line: str) -> None:
    print(f"control plane: {line}", flush=True)
