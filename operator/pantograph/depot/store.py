"""Images on disk, by digest.

    sha256/<aa>/<hex>.<format>   an image, complete and inspected: it is there once it has this name
    sha256/<aa>/<hex>.json       its row; the row's mtime is when the image was last used
    fetched/<image key>.json     which image a fetch brought, and what tells whether its origin still serves it
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import get_native_id
from urllib.parse import quote

from pantograph.depot.model import Image
from pantograph.depot.partial import Partial, Validators

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that a fetch brought, with what its origin can be asked by."""

    image: Image
    validators: Validators
    confirmed_at: float
    """When the origin was last seen to serve it, in seconds since the epoch."""


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
            if self._brought(row) is None:
                row.unlink()
        for row in (self.root / "partial").glob("*.json"):
            if not self._partial(row.stem).path.exists():
                row.unlink()

    def find(self, image_digest: str) -> Image | None:
        """The image of this digest, if it is stored completely."""
        return self._image(self._row(image_digest)) if _DIGEST.fullmatch(image_digest) else None

    def find_fetched(self, image_key: str) -> Fetched | None:
        """The last image that was brought under this key (`FetchRequest.image_key`), if it is still stored."""
        return self._brought(self._fetched(image_key))

    def confirm(self, image_key: str, fetched: Fetched, *, now: float) -> None:
        """Note that the origin was seen to serve it still; `now` in seconds since the epoch."""
        self._write_fetched(image_key, replace(fetched, confirmed_at=now))
        self.touch(fetched.image, now=now)

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

    def add(self, image_key: str, fetched: Fetched, file: Path) -> None:
        """Make `file` the stored image that was brought under `image_key`."""
        image = fetched.image
        target = self.path(image)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._row(image.image_digest), json.dumps(asdict(image)).encode())
        self._write_fetched(image_key, fetched)
        self.touch(image, now=fetched.confirmed_at)
        _sync(file)
        file.replace(target)
        _sync(target.parent)

    def touch(self, image: Image, *, now: float) -> None:
        """Note that the image was used at `now`, in seconds since the epoch."""
        with suppress(OSError):  # a volume that cannot be written serves on
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
            if (fetched := _read_fetched(row)) is None or fetched.image.image_digest == image.image_digest:
                row.unlink(missing_ok=True)

    def _image(self, row: Path) -> Image | None:
        image = _read(row)
        return image if image is not None and self._holds(image) else None

    def _brought(self, row: Path) -> Fetched | None:
        fetched = _read_fetched(row)
        return fetched if fetched is not None and self._holds(fetched.image) else None

    def _holds(self, image: Image) -> bool:
        try:
            return self.path(image).stat().st_size == image.size_bytes
        except FileNotFoundError:
            return False

    def _write_fetched(self, image_key: str, fetched: Fetched) -> None:
        write_atomically(self._fetched(image_key), json.dumps(asdict(fetched)).encode())

    def _row(self, image_digest: str) -> Path:
        digits = image_digest.removeprefix("sha256:")
        return self.root / "sha256" / digits[:2] / f"{digits}.json"

    def _fetched(self, image_key: str) -> Path:
        return self.root / "fetched" / f"{_as_name(image_key)}.json"

    def _partial(self, name: str) -> Partial:
        return Partial(self.root / "partial" / f"{name}.part")


def write_atomically(path: Path, content: bytes) -> None:
    """Write so that a reader, or a crash of the machine, sees the old content or the new."""
    fresh = path.with_name(f"{path.name}.{get_native_id()}.tmp")  # two fetches may bring one image at a time
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


def _read_fetched(row: Path) -> Fetched | None:
    try:
        read = json.loads(row.read_bytes())
        return Fetched(Image(**read["image"]), Validators(**read["validators"]), float(read["confirmed_at"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
