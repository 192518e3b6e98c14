"""Changed folders of the target as a media server sees them, few enough for one message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from pantograph.api.notify import DEFAULT_DEBOUNCE, DEFAULT_MAX_PATHS, MediaServer
from pantograph.api.units import parse_duration
from pantograph.providers.notify.port import ChangeKind, FolderChange

_NO_LIMIT: Final = 1 << 30


class _Place(NamedTuple):
    """A folder as the media server sees it: below which `to` of the path map, and where there."""

    to: str
    below: tuple[str, ...]

    @property
    def path(self) -> str:
        windows = "\\" in self.to or self.to[1:2] == ":"
        separator = "\\" if windows else "/"
        return separator.join((self.to.rstrip("/\\"), *self.below)) or separator


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaServerRules:
    """What one media server is told, and how often."""

    name: str
    base: str
    """The target's path in its volume, absolute; `""` for the volume's root."""
    path_map: tuple[tuple[str, str], ...]
    debounce_s: float = 60.0
    max_paths: int = 200

    @classmethod
    def of(cls, declared: MediaServer, sub_path: str) -> MediaServerRules:
        """`sub_path`: of the target in its volume."""
        return cls(
            name=declared.name,
            base="".join(f"/{each}" for each in sub_path.split("/") if each),
            path_map=tuple((each.folder, each.to) for each in declared.path_map),
            debounce_s=parse_duration(declared.debounce or DEFAULT_DEBOUNCE),
            max_paths=declared.max_paths or DEFAULT_MAX_PATHS,
        )

    def place(self, local: str) -> str | None:
        """The folder `local` of the target as the media server sees it; None if the path map does not say."""
        found = self._place(local)
        return None if found is None else found.path

    def _place(self, local: str) -> _Place | None:
        segments = [each for each in f"{self.base}/{local}".split("/") if each]
        for start, to in self.path_map:
            prefix = [each for each in start.split("/") if each]
            if segments[: len(prefix)] == prefix:
                return _Place(to, tuple(segments[len(prefix) :]))
        return None

    def fold(self, changes: Iterable[tuple[str, ChangeKind]]) -> tuple[list[FolderChange], list[str]]:
        """At most `max_paths` folders that lead the media server to every change, and some of those that nothing maps.

        A folder comes before those in it. What lies in a folder that came or went goes without saying. When there are
        too many, all of the deepest level are told as the folders that hold them, as often as it takes; so memory is
        bounded, however much changed.
        """
        kept: dict[_Place, ChangeKind] = {}
        unmapped: list[str] = []
        limit = _NO_LIMIT
        for local, kind in changes:
            place = self._place(local)
            if place is None:
                if len(unmapped) < 3:
                    unmapped.append(local)
                continue
            _add(kept, place, kind, limit)
            while len(kept) > self.max_paths:
                limit = max(len(each.below) for each in kept) - 1
                shallower: dict[_Place, ChangeKind] = {}
                for each, its_kind in kept.items():
                    _add(shallower, each, its_kind, limit)
                kept = shallower
        return [FolderChange(place.path, kind) for place, kind in kept.items()], unmapped


def _add(kept: dict[_Place, ChangeKind], place: _Place, kind: ChangeKind, limit: int) -> None:
    to, below = place
    for depth in range(min(len(below), limit + 1)):
        if kept.get(_Place(to, below[:depth])) in ("Created", "Deleted"):
            return
    if len(below) <= limit:
        kept[place] = kind
    else:
        kept.setdefault(_Place(to, below[:limit]), "Modified")
