"""CloudDrive2's messages in the port's words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from clouddrive2_client.proto import clouddrive_pb2 as pb

from pantograph.providers.errors import ProtocolError
from pantograph.providers.media.port import Entry, Hint, HintKind, join, size_of

_HASHES = {1: "md5", 2: "sha1", 3: "pikpak_sha1"}


def entry_of(file: Any, parent: str) -> Entry:
    """`isDirectory` tells the kind: `fileType` is Directory when nobody set it."""
    return Entry(
        file.name,
        parent,
        file.isDirectory,
        size_bytes=None if file.isDirectory else size_of(file.size),
        modified=datetime.fromtimestamp(file.writeTime.seconds, UTC) if file.writeTime.seconds > 0 else None,
        identity=file.id,
        hashes=tuple(sorted((_HASHES.get(kind, str(kind)), digest) for kind, digest in file.fileHashes.items())),
        is_mount=file.isCloudRoot,
        is_locked=file.isForbidden or file.fileEncryptionType == pb.CloudDriveFile.Encrypted,
    )


def fingerprint_of(files: Iterable[Any]) -> bytes:
    """Of all that was said of them."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        said = file.SerializeToString(deterministic=True)
        digest.update(len(said).to_bytes(4) + said)
    return digest.digest()


def refuse_foreign(name: str, parent: str, file: Any) -> None:
    """Raises `ProtocolError` (reason `WrongDirectory`) when the entry says that it lies elsewhere.

    A token's own root may be left off what we ask and put before what comes: the end is what must agree.
    """
    full = file.fullPathName
    if full and not full.endswith(join(parent, file.name)):
        raise ProtocolError(f"{name} answered for {parent} with {full}, which is not in it", reason="WrongDirectory")


def hints_of(message: Any) -> Iterator[Hint]:
    """There is neither an order nor a "changed": a rename is a deletion and a creation."""
    if message.messageType != pb.CloudDrivePushMessage.FILE_SYSTEM_CHANGE:
        return
    change = message.fileSystemChange
    kind = HintKind.CHANGED if change.changeType == pb.FileSystemChange.CREATE else HintKind.DELETED
    yield Hint(kind, _clean(change.path), is_dir=change.isDirectory)
    if change.changeType == pb.FileSystemChange.RENAME and change.newPath:
        yield Hint(HintKind.CHANGED, _clean(change.newPath), is_dir=change.isDirectory)


def is_for(path: str, hint: Hint) -> bool:
    """Whether the hint is about `path`, what is below it, or a directory that holds it."""
    return path == "/" or f"{hint.path}/".startswith(f"{path}/") or f"{path}/".startswith(f"{hint.path}/")


def _clean(path: str) -> str:
    return "/" + path.strip("/")
