"""Image files of a wanted size whose bytes no two share."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fakes.proxmox import qcow2

_PIECE = 1 << 20


def write_image(path: Path, size_bytes: int, *, seed: int) -> Path:
    """A qcow2 of about `size_bytes`."""
    source = random.Random(seed)
    with path.open("wb") as file:
        file.write(qcow2())
        for _ in range(size_bytes // _PIECE):
            file.write(source.randbytes(_PIECE))
    return path
