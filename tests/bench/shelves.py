"""A library of any size, made up as it is asked for: 20 films a directory, three levels, names as people give them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from pantograph.providers.media.port import Entry, Listing, join
from tests.fakes.library import Node

ROOT = "/Filme"
SHELVES = 10
SEASONS = 5
FILMS = 20
BIRTH = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Shelves:
    """`Holdings` of `files` films, a multiple of 1000: 60 directories for every 1,000 files, and 11 more."""

    def __init__(self, files: int) -> None:
        self.files = files
        self._shows = files // (SHELVES * SEASONS * FILMS)
        """On each shelf."""

    @property
    def directories(self) -> int:
        return 1 + SHELVES * (1 + self._shows * (1 + SEASONS))

    def node(self, path: str) -> Node | None:
        if path in ("/", ROOT):
            return Node(path.strip("/"), True)
        parent, _, name = path.rpartition("/")
        return next((node for node in self.children(parent or "/") or () if node.name == name), None)

    def children(self, path: str) -> list[Node] | None:
        """What `path` holds; how deep it lies says what that is."""
        if path == "/":
            return [_directory(ROOT.strip("/"))]
        depth = path.count("/")
        if depth == 1:
            return [_directory(f"Regal {number:02} - Größe") for number in range(SHELVES)]
        if depth == 2:
            return [_directory(f"Serie {number:04} 電影") for number in range(self._shows)]
        if depth == 3:
            return [_directory(f"Staffel {number}") for number in range(SEASONS)]
        return [_film(path, number) for number in range(FILMS)]

    def content(self, path: str) -> bytes:
        return b""

    def paths(self) -> list[str]:
        """Of every directory."""
        found, waiting = [], [ROOT]
        while waiting:
            path = waiting.pop()
            found.append(path)
            if path.count("/") < 4:
                waiting += [join(path, node.name) for node in self.children(path) or ()]
        return found


def listing(path: str, nodes: list[Node]) -> Listing:
    """As a driver would tell it."""
    entries = tuple(
        Entry(node.name, path, node.is_dir, None if node.is_dir else node.size, node.modified) for node in nodes
    )
    fingerprint = hashlib.blake2b(repr(entries).encode(), digest_size=16).digest()
    return Listing(path, entries, True, "complete", fingerprint=fingerprint)


def _directory(name: str) -> Node:
    return Node(name, True, modified=BIRTH)


def _film(parent: str, number: int) -> Node:
    *_, show, season = parent.split("/")
    name = f"{show[6:10]} S0{season[-1]}E{number:02} - Die große Überfahrt.mkv"
    return Node(name, False, 700_000_000 + number, BIRTH + timedelta(hours=number))
