"""What has been fetched so far, and what must hold for it to be continued instead of fetched again.

Beside the bytes lie the origin's validators (ETag, Last-Modified, length), written before the first byte.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pantograph.depot.errors import DepotUnusable
from pantograph.depot.model import FetchRequest

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one content of a URL from another."""

    url_hash: str
    etag: str | None = None
    last_modified: str | None = None
    total_bytes: int | None = None
    boot_id: str = ""
    """Of the machine that wrote the bytes: only its page cache vouches for what no fsync has made durable."""
    judged: bool = False
    """The whole content was looked at and found wanting; only other content at the origin changes that."""

    @property
    def comparable(self) -> bool:
        """Whether the origin can be asked if this is still its content."""
        return bool(self.etag or self.last_modified)

    @property
    def strong(self) -> str | None:
        """What `If-Range` accepts: a strong ETag, else the date (RFC 9110 §13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


@dataclass(frozen=True, slots=True)
class Resume:
    """How to go on: with the bytes from `offset`, under `validators` (None: there is nothing to compare with)."""

    offset: int = 0
    validators: Validators | None = None
    complete: bool = False
    """All bytes are there."""
    ask: bool = True
    """False if the declared checksum alone can tell whether the complete bytes are right."""


class Partial:
    """The file `path` and its validators. One process at a time writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._validators = path.with_suffix(".json")

    @property
    def validators(self) -> Validators:
        """Those of what is there; without any that could be compared if the origin gave none."""
        return self._read() or Validators("")

    @property
    def size_bytes(self) -> int:
        """How much is there."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, to append to. Raises DepotUnusable while another process has it open."""
        with self.path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as locked:
                raise DepotUnusable("another process is fetching this image into the same depot") from locked
            yield file

    def resume(self, request: FetchRequest) -> Resume:
        """How `request` can use what is there.

        Bytes are continued if the origin can be asked whether they are still its content, or if a declared checksum
        will tell in the end.
        """
        known, size = self._read(), self.size_bytes
        if known is None or not size:
            return Resume()
        comparable = known.url_hash == url_hash(request.url) and known.comparable
        trusted = comparable and known.boot_id == boot_id()
        complete = size == known.total_bytes
        if complete and request.checksum and not known.judged:
            return Resume(size, known, complete=True, ask=False)
        if complete and trusted:
            return Resume(size, known, complete=True)
        if complete or not (trusted or request.checksum):
            return Resume()
        if known.total_bytes is not None and size > known.total_bytes:
            return Resume()
        return Resume(size, known if comparable else None)

    def begin(self, file: BinaryIO, validators: Validators) -> None:
        """Drop what is there; what follows is content of `validators`."""
        file.truncate(0)
        self._write(validators)

    def finish(self) -> None:
        """All bytes are there: note their number, which the origin may not have told."""
        if (known := self._read()) is not None:
            self._write(replace(known, total_bytes=self.size_bytes))

    def condemn(self) -> None:
        """Keep the bytes, so that the same content need not be fetched again to be found wanting again."""
        if (known := self._read()) is not None:
            self._write(replace(known, judged=True))

    def discard(self) -> None:
        """Remove bytes and validators."""
        self.path.unlink(missing_ok=True)
        self._validators.unlink(missing_ok=True)

    def _read(self) -> Validators | None:
        try:
            return Validators(**json.loads(self._validators.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _write(self, validators: Validators) -> None:
        fresh = self._validators.with_suffix(".tmp")
        fresh.write_text(json.dumps(asdict(validators)))
        fresh.replace(self._validators)


def url_hash(url: str) -> str:
    """A name for the URL that may lie on disk: the URL itself may hold a password."""
    return hashlib.sha256(url.encode()).hexdigest()


def boot_id() -> str:
    """Changes when the machine boots; empty where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except FileNotFoundError:
        return ""
