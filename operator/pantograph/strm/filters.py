"""Which remote things are mirrored: by extension, by size, by path."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pantograph.strm.naming import split_extension

_ANY_DEPTH: Final = "**"


class Excludes:
    """Patterns over paths relative to the source; a match takes everything below with it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        compiled = [_compile(pattern) for pattern in patterns]
        self._pattern = re.compile("|".join(f"(?:{each})" for each in compiled)) if compiled else None

    def match(self, path: str) -> bool:
        """Whether `path` (relative, `a/b/c`) is left out. Whether a directory above it is, was asked on the way."""
        return self._pattern is not None and self._pattern.fullmatch(path) is not None


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Which files get a `.strm`, and which are copied beside."""

    extensions: tuple[str, ...]
    """Lower case, without dots, in order of preference."""
    min_size: int
    sidecars: frozenset[str]
    sidecar_max_size: int

    def is_media(self, name: str, size: int | None) -> bool:
        """Whether the file gets a `.strm`. A size that is unknown (None or 0) passes."""
        return extension_of(name) in self.extensions and (not size or size >= self.min_size)

    def is_sidecar(self, name: str, size: int | None) -> bool:
        """Whether the file is copied. One of unknown size is not: nobody could say when its copy is whole."""
        return size is not None and size <= self.sidecar_max_size and extension_of(name) in self.sidecars


def extension_of(name: str) -> str:
    """`mkv` of `Film.MKV`."""
    return split_extension(name)[1][1:].lower()


def _compile(pattern: str) -> str:
    segments = [segment for segment in pattern.split("/") if segment]
    while segments and segments[-1] == _ANY_DEPTH:  # `Sample/**` means Sample with all that is below
        segments.pop()
    if "/" not in pattern.rstrip("/"):
        segments = [_ANY_DEPTH, *segments]
    return _segments(segments)


def _segments(segments: Sequence[str]) -> str:
    parts: list[str] = []
    for position, segment in enumerate(segments):
        if segment == _ANY_DEPTH:
            parts.append("(?:[^/]+/)*")
            continue
        glob = fnmatch.translate(segment).removeprefix("(?s:").removesuffix(r")\Z")
        parts.append(glob.replace(".*", "[^/]*").replace("(?s:.)", "[^/]"))
        if position < len(segments) - 1:
            parts.append("/")
    return "".join(parts) or "(?!)"
