"""Builds the operator's image with buildah, on a base that this machine makes itself: no image registry is needed.

An image whose sources have not changed is found in milliseconds, offline. Everything is kept in the project's cache.
"""

import configparser
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cache import cache_dir, exclusively
from hack.node.packages import install_packages
from hack.setup import say
from hack.tools import SetupError

CHECKOUT = Path(__file__).parents[2]
DOCKERFILE = CHECKOUT / "hack" / "image" / "Dockerfile"
REPOSITORY = "localhost/pantograph"

_SOURCES = ("hack/image/Dockerfile", "hack/image/build.lock", "hack/image/requirements.lock", "pyproject.toml",
            "README.md", "LICENSE")  # fmt: skip
_SUITE = "bookworm"
_BASE = (
    "--variant=minbase",
    "--include=python3,python3-venv,ca-certificates",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
_STORE_LIMIT_BYTES = 4 << 30
"""buildah keeps every layer that it made; beyond this all are made anew."""
_KEPT_ARCHIVES = 3


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: `name` as a pod names it, and the OCI archive that holds it."""

    name: str
    archive: Path


def image(*, base: str | None = None) -> Image:
    """The image of this checkout, built if it is not there; `base` is a base image in a registry, instead of our own.

    Raises SetupError with what the tool said if it cannot be built.
    """
    tag = _digest(base)
    found = Image(f"{REPOSITORY}:{tag}", _folder() / f"{tag}.tar")
    if found.archive.exists():
        found.archive.touch()
        return found
    with exclusively(_folder() / "lock", on_wait=lambda: say("waiting for another build of the image")):
        if not found.archive.exists():
            install_packages()
            _build(found, base)
            _forget_old_archives()
    return found


def push(built: Image, destination: str) -> None:
    """Push it to a registry, with the login that `buildah login` or Docker's configuration has. Raises SetupError."""
    _buildah("pull", "-q", f"oci-archive:{built.archive}")
    _buildah("push", "-q", built.name, f"docker://{destination}")


def _build(wanted: Image, base: str | None) -> None:
    began = time.monotonic()
    say("building the operator's image")
    _bound_store()
    from_image = base or _own_base()
    pull = "--pull=missing" if base else "--pull-never"
    unfinished = wanted.archive.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with _pip_secrets() as secrets:
        _buildah(
            "bud", "--isolation", "chroot", pull, "--layers", "--timestamp", "0", "--build-arg", f"BASE={from_image}",
            "--ignorefile", f"{DOCKERFILE}.dockerignore", *secrets, "-f", str(DOCKERFILE), "-t", wanted.name,
            str(CHECKOUT),
        )  # fmt: skip
    _buildah("push", "-q", wanted.name, f"oci-archive:{unfinished}:{wanted.name}")
    unfinished.rename(wanted.archive)
    say(f"built {wanted.name} in {time.monotonic() - began:.0f} s, {wanted.archive.stat().st_size >> 20} MiB packed")


def _own_base() -> str:
    """The name, in buildah's store, of a Debian with Python and nothing else."""
    recipe = hashlib.sha256(repr((_SUITE, _BASE)).encode()).hexdigest()[:12]
    name = f"localhost/base:{recipe}"
    if _in_store(name):
        return name
    root = _folder() / f"base-{recipe}.tar"
    if not root.exists():
        say(f"making a base of Debian {_SUITE} with Python (once; a minute or more)")
        unfinished = root.with_name(f"unfinished-{recipe}.tar")
        _run("mmdebstrap", *_BASE, _SUITE, str(unfinished))
        unfinished.rename(root)
    with tempfile.TemporaryDirectory(dir=_folder()) as context:
        os.link(root, Path(context) / "base.tar")
        (Path(context) / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        _buildah("bud", "--isolation", "chroot", "--timestamp", "0", "-t", name, context)
    return name


@contextmanager
def _pip_secrets() -> Iterator[tuple[str, ...]]:
    """What lets pip inside reach the package index that this machine is set up for, without a trace in the image."""
    settings = configparser.RawConfigParser()
    configured = (os.environ.get("PIP_CONFIG_FILE"), "/etc/pip.conf", Path.home() / ".config" / "pip" / "pip.conf")
    settings.read([Path(path) for path in configured if path])
    if not settings.has_section("global"):
        settings.add_section("global")
    for option in ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout"):
        if value := os.environ.get(f"PIP_{option.upper().replace('-', '_')}"):
            settings.set("global", option, value)
    authorities = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    settings.set("global", "cert", "/run/ca.crt")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pip.conf"
        if authorities is None:
            settings.remove_option("global", "cert")
        with file.open("w") as written:
            settings.write(written)
        trusted = ("--secret", f"id=ca.crt,src={authorities}") if authorities else ()
        yield ("--secret", f"id=pip.conf,src={file}", *trusted)


def _digest(base: str | None) -> str:
    digest = hashlib.sha256(repr((base, _SUITE, _BASE)).encode())
    operator = sorted(path for path in (CHECKOUT / "operator").rglob("*") if path.suffix not in (".pyc", ""))
    for path in (*(CHECKOUT / name for name in _SOURCES), *operator):
        digest.update(str(path.relative_to(CHECKOUT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _folder() -> Path:
    folder = cache_dir() / "image"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _store() -> tuple[str, ...]:
    # In a mount namespace of its own, or the store stays mounted on itself.
    private = ("unshare", "--mount") if os.geteuid() == 0 else ()
    return (*private, "buildah", "--root", str(_folder() / "store"), "--runroot", str(_folder() / "run"))


def _in_store(name: str) -> bool:
    return (
        subprocess.run((*_store(), "inspect", "--type", "image", name), capture_output=True, check=False).returncode
        == 0
    )


def _bound_store() -> None:
    store = _folder() / "store"
    used = sum(path.lstat().st_blocks * 512 for path in store.rglob("*")) if store.exists() else 0
    if used > _STORE_LIMIT_BYTES:
        say("removing old layers of the image")
        shutil.rmtree(store)


def _forget_old_archives() -> None:
    archives = [path for path in _folder().glob("*.tar") if not path.name.startswith("base-")]
    for old in sorted(archives, key=lambda path: path.stat().st_mtime)[:-_KEPT_ARCHIVES]:
        old.unlink()


def _buildah(*arguments: str) -> None:
    _run(*_store(), *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise SetupError(f"`{' '.join(command)}` failed:\n{last}")


def main() -> int:
    """Build it, on the base that BASE names in a registry if it is set; the exit status."""
    try:
        built = image(base=os.environ.get("BASE"))
    except SetupError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    print(f"image {built.name} is in {built.archive}; to publish it:")
    print(f"  skopeo copy oci-archive:{built.archive} docker://registry.example.org/pantograph:0.1.0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
