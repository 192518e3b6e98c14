"""Building the commands of the control plane: once, whoever asks, and with the reason when it fails.

Go is played by a shell script, which notes what it is asked.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from hack.controlplane.build import BINARIES, GO_SERIES, MODULES, binaries
from hack.tools import SetupError

COMMANDS = {"etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "helm", "kubeconform"}


class FakeGo:
    """A `go` on PATH that makes an empty command of whatever it is asked to build."""

    def __init__(self, folder: Path, *, version: str = "go1.26.8") -> None:
        self.calls = folder / "calls"
        self.calls.parent.mkdir(exist_ok=True)
        self.calls.touch()
        self._command = folder / "bin" / "go"
        self._command.parent.mkdir(exist_ok=True)
        self._version = version
        self.builds_with("")

    def builds_with(self, line: str) -> None:
        self._command.write_text(
            f'#!/bin/sh\nif [ "$1" = env ]; then echo {self._version}; exit; fi\n'
            f'echo "$@" >> {self.calls}\nmkdir -p "$GOMODCACHE/module"\nchmod a-w "$GOMODCACHE/module"\n{line}\n'
            'while [ "$1" != -o ]; do shift; done\n: > "$2"\n'
        )
        self._command.chmod(0o755)

    @property
    def builds(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PANTOGRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def go(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGo:
    fake = FakeGo(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}")
    return fake


def test_every_command_is_built_once_and_then_found(go: FakeGo) -> None:
    first = binaries()
    assert set(first) == COMMANDS
    assert all(path.exists() for path in first.values())
    assert len(go.builds) == len(COMMANDS)
    assert binaries() == first
    assert len(go.builds) == len(COMMANDS)


def test_the_build_caches_are_removed_although_go_makes_them_read_only(go: FakeGo, cache: Path) -> None:
    binaries()
    assert not (cache / "build").exists()


def test_builders_at_the_same_time_build_once(go: FakeGo) -> None:
    threads = [threading.Thread(target=binaries) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(go.builds) == len(COMMANDS)


def test_a_failed_build_tells_what_go_said_and_the_next_one_goes_on(go: FakeGo, cache: Path) -> None:
    go.builds_with('case "$*" in *helm*) echo "go: downloading x"; echo "proxy refused"; exit 1;; esac')
    with pytest.raises(SetupError, match=r"cannot build helm v\d.*:\nproxy refused\n.*run it again"):
        binaries()
    assert (cache / "build").exists()
    built = len(go.builds)
    go.builds_with("")
    binaries()
    assert len(go.builds) == built + 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_go_ends_with_the_process_that_builds(how: signal.Signals, go: FakeGo, tmp_path: Path) -> None:
    """Or it would build on beside the next one, for which the lock is free then."""
    started = tmp_path / "started"
    os.mkfifo(started)
    go.builds_with(f"echo $$ > {started}; exec sleep 600")
    command = [sys.executable, "-c", "from hack.controlplane.build import binaries; binaries()"]
    with subprocess.Popen(command, cwd=BINARIES.parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as build:
        compiler = psutil.Process(int(started.read_text()))
        build.send_signal(how)
        build.communicate(timeout=20)
    _, alive = psutil.wait_procs([compiler], timeout=20)
    for each in alive:
        each.kill()
    assert alive == []


def test_kubernetes_commands_are_stamped_with_their_version(go: FakeGo) -> None:
    binaries()
    kubernetes = next(module for module in MODULES if module.name == "kubernetes")
    stamp = f"-X k8s.io/component-base/version.gitVersion={kubernetes.version} "
    assert [stamp in build for build in go.builds if "k8s.io/kubernetes" in build] == [True] * 3


def test_another_minor_of_go_builds_anew_and_another_patch_does_not(go: FakeGo, tmp_path: Path) -> None:
    first = binaries()
    FakeGo(tmp_path, version="go1.26.99")
    assert binaries() == first
    FakeGo(tmp_path, version="go1.27.0")
    assert not set(binaries().values()) & set(first.values())


def test_a_changed_pin_is_another_build(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(MODULES[0].source, tmp_path / "binaries" / MODULES[0].name)
    monkeypatch.setattr("hack.controlplane.build.BINARIES", tmp_path / "binaries")
    before = MODULES[0].folder(GO_SERIES)
    with (MODULES[0].source / "go.sum").open("a") as sums:
        sums.write("example.com/more v1.0.0 h1:none=\n")
    assert MODULES[0].folder(GO_SERIES) != before


def test_a_machine_without_a_new_enough_go_uses_the_pinned_one(
    go: FakeGo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGo(tmp_path, version="go1.25.1")
    pinned = FakeGo(tmp_path / "pinned")
    monkeypatch.setattr(
        "hack.controlplane.build.tool", lambda name, requirements, folder: tmp_path / "pinned" / "bin" / name
    )
    binaries()
    assert go.builds == []
    assert len(pinned.builds) == len(COMMANDS)
