"""From a file of YAML and named directories to a job, its server and its target: the same file that kubectl applies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pantograph.api.declaration import InvalidObject
from pantograph.api.meta import GROUP, Key
from pantograph.api.serverspec import (
    LOCAL_ONLY,
    OF_SERVERS,
    TLS_NEEDS_HTTPS,
    DataServerSpec,
    DeclaredServer,
    LocalFolder,
    not_for_local,
)
from pantograph.api.strmspec import ClaimVolume, DeclaredJob, RootVolume
from pantograph.providers.media.port import MediaSource
from pantograph.strm.errors import StrmError
from pantograph.strm.state import folder_identity
from pantograph.strm.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the volumes and Secrets that a spec names are on this machine."""

    roots: Mapping[str, Path] = field(default_factory=dict)
    claims: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)

    def volume(self, root: RootVolume | None, claim: ClaimVolume | None) -> tuple[Path, str]:
        """The volume's directory and the path in it. Raises StrmError if nobody said where it is."""
        if root is not None:
            return _named(self.roots, root.name, option="--root"), root.sub_path or ""
        assert claim is not None, "exactly one, by the model's rule"
        return _named(self.claims, claim.claim_name, option="--claim"), claim.sub_path or ""

    def secret(self, name: str, *, namespace: str | None = None) -> Path:
        """The directory with the Secret's keys as files: that of `namespace/name`, or else of `name`.

        Raises StrmError.
        """
        qualified = self.secrets.get(f"{namespace}/{name}")
        return qualified or _named(self.secrets, name, option="--secret")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file declares."""

    job: DeclaredJob
    server: DeclaredServer


def read_declared(path: Path) -> Declared:
    """One StrmSyncJob and the DataServer that it names. Raises StrmError for anything else."""
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StrmError("InvalidSpec", f"{path} cannot be read: {error}") from error
    jobs = [DeclaredJob.parse(_with_namespace(each)) for each in _of_kind(documents, "StrmSyncJob", path)]
    servers = [DeclaredServer.parse(_with_namespace(each)) for each in _of_kind(documents, "DataServer", path)]
    if len(jobs) != 1:
        raise StrmError("InvalidSpec", f"{path} declares {len(jobs)} StrmSyncJobs, not one")
    job = jobs[0]
    wanted = job.spec.server_ref.key("DataServer", job.metadata.namespace)
    for server in servers:
        if Key("DataServer", server.metadata.namespace, server.metadata.name) == wanted:
            _refuse_contradictions(job, server)
            return Declared(job, server)
    raise StrmError("InvalidSpec", f"{path} does not declare {wanted}, which the job's serverRef names")


def target_directory(job: DeclaredJob, places: Places, *, make: bool = True) -> tuple[Path, Path]:
    """The volume, and the directory in it; `make`: which is made if there is none. Raises StrmError."""
    volume, sub_path = places.volume(job.spec.target.root, job.spec.target.persistent_volume_claim)
    parts = [part for part in sub_path.split("/") if part]
    with closing(Target(volume)) as target:
        try:
            target.open("/".join(parts), make=make)
        except OSError as error:
            raise StrmError("TargetUnusable", f"{volume}/{sub_path}: {error.strerror}") from error
    return volume, volume.joinpath(*parts)


async def source_identity(server: DeclaredServer, source: MediaSource) -> str:
    """What the target's records call the source: another one is refused. Asks the server who it is."""
    info = await source.test_connection()
    spec = server.spec
    if spec.local is not None:
        # Without a sentinel only the device tells the volume from the empty directory that it is mounted on.
        return folder_identity(_place(spec.local), device="" if spec.local.sentinel else info.volume)
    return f"{spec.driver} {(spec.endpoint or '').rstrip('/')} {info.base_path.rstrip('/')}"


def _place(folder: LocalFolder) -> str:
    root, claim = folder.root, folder.persistent_volume_claim
    if root is not None:
        return f"root {root.name}/{root.sub_path or ''}"
    assert claim is not None, "exactly one, by the model's rule"
    return f"claim {claim.claim_name}/{claim.sub_path or ''}"


def _of_kind(documents: Iterable[Any], kind: str, path: Path) -> list[dict[str, Any]]:
    found = []
    for document in documents:
        if not isinstance(document, dict):
            raise StrmError("InvalidSpec", f"{path} holds something that is no object")
        if document.get("kind") == kind and str(document.get("apiVersion", "")).startswith(f"{GROUP}/"):
            found.append(document)
    return found


def _with_namespace(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "metadata": {"namespace": "default", **(body.get("metadata") or {})}}


def _refuse_contradictions(job: DeclaredJob, server: DeclaredServer) -> None:
    """What the API server's CEL rules say, for a file that no API server saw."""
    names = [each.name for each in job.spec.notify.media_servers] if job.spec.notify else []
    target, link = job.spec.target, job.spec.link
    faults = [
        (
            (target.root is None) == (target.persistent_volume_claim is None),
            "target needs root or persistentVolumeClaim",
        ),
        (link.mode == "Http" and link.public_base is None, "link.mode Http needs link.publicBase"),
        (link.mode == "Mount" and link.mount_prefix is None, "link.mode Mount needs link.mountPrefix"),
        *_contradictions_of(server.spec),
        (len(names) != len(set(names)), "two of notify.mediaServers have the same name"),
    ]
    for is_fault, message in faults:
        if is_fault:
            raise InvalidObject(message)


def _contradictions_of(spec: DataServerSpec) -> list[tuple[bool, str]]:
    if spec.driver == "Local":
        given = dict(zip(OF_SERVERS, (spec.endpoint, spec.credentials_ref, spec.tls), strict=True))
        local = spec.local
        return [
            (local is None, "driver Local needs local"),
            (
                local is not None and (local.root is None) == (local.persistent_volume_claim is None),
                "local needs root or persistentVolumeClaim",
            ),
            *((value is not None, not_for_local(field)) for field, value in given.items()),
        ]
    return [
        (spec.endpoint is None, f"driver {spec.driver} needs endpoint"),
        (spec.local is not None, LOCAL_ONLY),
        (spec.tls is not None and not (spec.endpoint or "").startswith("https://"), TLS_NEEDS_HTTPS),
    ]


def _named(places: Mapping[str, Path], name: str, *, option: str) -> Path:
    try:
        return places[name]
    except KeyError:
        raise StrmError("InvalidSpec", f"nobody said where {name!r} is", remedy=f"add {option} {name}=DIR") from None
