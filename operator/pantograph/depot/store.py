"""Images on disk, by digest.

    sha256/<aa>/<hex>.<format>   an image, complete and inspected: it is there once it has this name
    sha256/<aa>/<hex>.json       its row; the row's mtime is when the image was last used
    fetched/<key>.json           which image a fetch brought
    partial/<key>.*              what is still being fetched (`partial.py`)
    pins.json                    which images are in use (`space.py`)

The rename of the image is the one commit point: rows and bytes are durable before it, and a row whose image is missing
means nothing. So a kill between any two lines leaves either the image or what is needed to go on. Everything here
blocks; only rows are small enough to be read on the event loop.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from pantograph.depot.model import Image
from pantograph.depot.partial import Partial

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Stored:
    """An image with what decides whether it stays."""

    image: Image
    last_used: float
    """Seconds since the epoch."""


class Store:
    """The depot's directory. Any number of processes may read it, one writes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> None:
        """Make the directories, and remove what an earlier process left behind that nobody can use."""
        for name in ("sha256", "fetched", "partial"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for leftover in (*self.root.glob("**/*.tmp"), *self.root.glob("partial/*.unpacked")):
            leftover.unlink(missing_ok=True)
        for row in (self.root / "fetched").glob("*.json"):
            image = self._image(row)
            if image is not None:
                self._partial(row.stem).discard()
            elif not self._partial(row.stem).path.exists():
                row.unlink()

    def find(self, image_digest: str) -> Image | None:
        """The image of this digest, if it is stored completely."""
        return self._image(self._row(image_digest)) if _DIGEST.fullmatch(image_digest) else None

    def find_fetched(self, key: str) -> Image | None:
        """The image that the fetch of `key` brought, if it is still stored."""
        return self._image(self._fetched(key))

    def path(self, image: Image) -> Path:
        """Where the image's file is."""
        return self._row(image.image_digest).with_suffix(f".{image.format}")

    def partial(self, key: str) -> Partial:
        """What has been fetched for `key` so far."""
        return self._partial(_as_name(key))

    def scratch(self, key: str) -> Path:
        """Where the plain content of `key` is written while it is unpacked."""
        return self.root / "partial" / f"{_as_name(key)}.unpacked"

    def scratch_bytes(self) -> int:
        """What is being unpacked at the moment."""
        total = 0
        for path in (self.root / "partial").glob("*.unpacked"):
            with suppress(FileNotFoundError):  # its fetch has ended meanwhile
                total += path.stat().st_size
        return total

    def add(self, key: str, image: Image, file: Path, *, now: float) -> None:
        """Make `file` the stored image that `key` brought; `now` in seconds since the epoch."""
        target = self.path(image)
        target.parent.mkdir(parents=True, exist_ok=True)
        row = json.dumps(asdict(image)).encode()
        for path in (self._row(image.image_digest), self._fetched(key)):
            write_atomically(path, row)
        self.touch(image, now=now)
        _sync(file)
        file.replace(target)
        _sync(target.parent)

    def touch(self, image: Image, *, now: float) -> None:
        """Note that the image was used at `now`, in seconds since the epoch."""
        with suppress(FileNotFoundError):
            os.utime(self._row(image.image_digest), (now, now))

    def stored(self) -> Iterator[Stored]:
        """Every image."""
        for row in (self.root / "sha256").glob("*/*.json"):
            with suppress(FileNotFoundError):  # removed meanwhile
                if (image := self._image(row)) is not None:
                    yield Stored(image, row.stat().st_mtime)

    def partials(self) -> dict[str, Partial]:
        """Every fetch that is not complete, by the name of its files (`partial_name` of its key)."""
        names = {path.stem for path in (self.root / "partial").glob("*.part")}
        return {name: self._partial(name) for name in names}

    def partial_name(self, key: str) -> str:
        """The name that `partials` gives to this key."""
        return _as_name(key)

    def remove(self, image: Image) -> None:
        """Remove the image; who is reading it reads on to its end."""
        self.path(image).unlink(missing_ok=True)
        self._row(image.image_digest).unlink(missing_ok=True)
        for row in (self.root / "fetched").glob("*.json"):
            if (fetched := _read(row)) is None or fetched.image_digest == image.image_digest:
                row.unlink(missing_ok=True)

    def _image(self, row: Path) -> Image | None:
        image = _read(row)
        if image is None:
            return None
        try:
            complete = self.path(image).stat().st_size == image.size_bytes
        except FileNotFoundError:
            return None
        return image if complete else None

    def _row(self, image_digest: str) -> Path:
        digits = image_digest.removeprefix("sha256:")
        return self.root / "sha256" / digits[:2] / f"{digits}.json"

    def _fetched(self, key: str) -> Path:
        return self.root / "fetched" / f"{_as_name(key)}.json"

    def _partial(self, name: str) -> Partial:
        return Partial(self.root / "partial" / f"{name}.part")


def write_atomically(path: Path, content: bytes) -> None:
    """Write so that a reader, or a crash of the machine, sees the old content or the new."""
    fresh = path.with_name(f"{path.name}.tmp")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync(path.parent)


def _as_name(key: str) -> str:
    return quote(key, safe=":@")


def _read(row: Path) -> Image | None:
    try:
        return Image(**json.loads(row.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
