"""Which remote things are mirrored: by extension, by size, by path."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pantograph.strm.naming import extension_of

_ANY_DEPTH: Final = "**"
_BELOW: Final = r"(?:/[\s\S]*)?"


class Excludes:
    """Patterns over paths relative to the source; a match takes everything below with it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        compiled = [_compile(pattern) for pattern in patterns]
        self._pattern = re.compile("|".join(f"(?:{each})" for each in compiled)) if compiled else None

    def match(self, path: str) -> bool:
        """Whether `path` (relative, `a/b/c`) is left out. Whether a directory above it is, was asked on the way."""
        return self._pattern is not None and self._pattern.fullmatch(path) is not None


class Includes:
    """Patterns over paths relative to the source; none: everything. A match brings everything below with it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [_split(pattern) for pattern in patterns]
        whole = any(all(segment == _ANY_DEPTH for segment in each) for each in self._patterns)
        if whole or not self._patterns:
            self._matcher = None
        else:
            self._matcher = re.compile("|".join(f"(?:{_segments(each)}){_BELOW}" for each in self._patterns))

    def match(self, path: str) -> bool:
        """Whether the file `path` is mirrored."""
        return self._matcher is None or self._matcher.fullmatch(path) is not None

    def may_hold(self, path: str) -> bool:
        """Whether something in or below the directory `path` may match."""
        if self._matcher is None:
            return True
        names = path.split("/")
        return any(_reaches(pattern, names) for pattern in self._patterns)


class PathFilter:
    """Which paths below the source are mirrored."""

    def __init__(self, *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self.takes_all = not (include or exclude)
        """Nobody needs to make the path of a file to ask."""
        self._include = Includes(include)
        self._exclude = Excludes(exclude)

    def takes(self, path: str) -> bool:
        """Whether the file is."""
        return self._include.match(path) and not self._exclude.match(path)

    def enters(self, path: str) -> bool:
        """Whether the directory, in which such files may be, is looked into."""
        return self._include.may_hold(path) and not self._exclude.match(path)


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


def _compile(pattern: str) -> str:
    return _segments(_split(pattern))


def _split(pattern: str) -> list[str]:
    segments = [segment for segment in pattern.split("/") if segment]
    while segments and segments[-1] == _ANY_DEPTH:  # `Sample/**` means Sample with all that is below
        segments.pop()
    if "/" not in pattern.rstrip("/"):
        segments = [_ANY_DEPTH, *segments]
    return segments


def _reaches(pattern: Sequence[str], names: Sequence[str]) -> bool:
    """Whether `pattern` matches the directory, something above it, or may match something below it."""
    for segment, name in zip(pattern, names, strict=False):
        if segment == _ANY_DEPTH:
            return True
        if not fnmatch.fnmatchcase(name, segment):
            return False
    return True


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
