"""Writes an image of one static command as an OCI archive, without a tool: a layer, a configuration, a manifest."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_oci_archive(archive: Path, command: Path, *, name: str) -> None:
    """Write to `archive` an image called `name` whose only file is `command`, which it runs.

    The format: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
    """
    layer = _tar({command.name: command.read_bytes()}, mode=0o755)
    packed = gzip.compress(layer, compresslevel=1, mtime=0)
    configuration = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": [f"/{command.name}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _described("application/vnd.oci.image.config.v1+json", configuration),
            "layers": [_described("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    ).encode()
    described = _described("application/vnd.oci.image.manifest.v1+json", manifest)
    index = {
        "schemaVersion": 2,
        # containerd names what it imports by the first, buildah by the second.
        "manifests": [
            {
                **described,
                "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name},
            }
        ],
    }
    files = {f"blobs/sha256/{_digest(blob)[7:]}": blob for blob in (packed, configuration, manifest)}
    files["index.json"] = json.dumps(index).encode()
    files["oci-layout"] = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
    archive.write_bytes(_tar(files, mode=0o644))


def _tar(files: dict[str, bytes], *, mode: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _described(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"
