"""The cache that checkouts share is removed, unless somebody uses it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hack import clean
from hack.cache import exclusively

HOLDS = "import sys; from hack.cache import exclusively; from pathlib import Path\n" + (
    "with exclusively(Path(sys.argv[1]), on_wait=lambda: None): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    (folder / "bin").mkdir(parents=True)
    monkeypatch.setenv("PANTOGRAPH_CACHE", str(folder))
    return folder


@contextmanager
def running(*command: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in `folder` that has said its first line; it is killed in the end."""
    environment = {**os.environ, "PYTHONPATH": str(clean.CHECKOUT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("lock", ["up/next-0123/lock", "build.lock", "image/lock"])
def test_a_cache_with_a_lock_that_is_held_stays_and_its_holder_is_named(
    lock: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(sys.executable, "-c", HOLDS, str(cache / lock), folder=tmp_path) as holder:
        assert clean.main(["cache"]) == 1
    error = capsys.readouterr().err
    assert f"{cache} is in use" in error
    assert f"process {holder.pid} in {tmp_path}" in error
    assert "make clean-all" in error, "what to do then"
    assert (cache / lock).exists()


def test_a_cache_whose_commands_run_stays(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cat = shutil.which("cat")
    assert cat is not None
    shutil.copy(cat, cache / "bin" / "etcd")
    with subprocess.Popen([str(cache / "bin" / "etcd")], cwd=tmp_path, stdin=subprocess.PIPE) as etcd:
        status = clean.main(["cache"])
        etcd.kill()
    assert status == 1
    assert f"etcd, process {etcd.pid} in {tmp_path}" in capsys.readouterr().err


def test_a_cache_with_the_folder_of_a_living_node_stays(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running("sh", "-c", "echo at work; cat", folder=tmp_path) as node:
        (cache / "node" / str(node.pid)).mkdir(parents=True)
        assert clean.main(["cache"]) == 1
        assert f"process {node.pid} in {tmp_path}" in capsys.readouterr().err
    assert cache.exists()


def test_a_cache_that_only_the_dead_used_is_removed(cache: Path, tmp_path: Path) -> None:
    with running("sh", "-c", "echo at work; cat", folder=tmp_path) as ended:
        (cache / "node" / str(ended.pid)).mkdir(parents=True)
    with exclusively(cache / "build.lock", on_wait=lambda: None):
        pass
    assert clean.main(["cache"]) == 0
    assert not cache.exists()
