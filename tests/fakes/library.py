"""A media library in memory, for the fakes of the servers that hold one: what is there, and verbs that change it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Protocol

BIRTH = datetime(2024, 5, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Node:
    """A file or a directory."""

    name: str
    is_dir: bool
    size: int = 0
    modified: datetime = BIRTH
    id: str = ""


class Holdings(Protocol):
    """What a fake server serves. A library of a million files may be made up as it is asked for."""

    def node(self, path: str) -> Node | None: ...

    def children(self, path: str) -> list[Node] | None:
        """In the order of the server's listing; None: no such directory."""
        ...

    def content(self, path: str) -> bytes: ...


class Library:
    """A library that is written down: `put`, `remove`, `children`."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._children: dict[str, dict[str, Node]] = {"/": {}}
        self._content: dict[str, bytes] = {}

    def put(self, path: str, content: bytes | int = b"x", *, modified: datetime = BIRTH) -> None:
        """A file, new or replaced, with the directories on its way; a number as its content is its size only."""
        parent, _, name = path.rpartition("/")
        self.mkdir(parent or "/")
        size = content if isinstance(content, int) else len(content)
        self._children[parent or "/"][name] = Node(name, False, size, modified, f"id-{next(self._ids)}")
        if isinstance(content, bytes):
            self._content[path] = content

    def mkdir(self, path: str) -> None:
        """A directory, with those on its way."""
        if path in self._children:
            return
        parent, _, name = path.rpartition("/")
        self.mkdir(parent or "/")
        self._children[parent or "/"][name] = Node(name, True, modified=BIRTH, id=f"id-{next(self._ids)}")
        self._children[path] = {}

    def remove(self, path: str) -> None:
        """A file, or a directory with all that is in it."""
        parent, _, name = path.rpartition("/")
        del self._children[parent or "/"][name]
        for gone in [held for held in self._children if held == path or held.startswith(f"{path}/")]:
            del self._children[gone]

    def clear(self) -> None:
        """Nothing is left, as when a cloud account was lost."""
        self._children = {"/": {}}

    def node(self, path: str) -> Node | None:
        if path == "/":
            return Node("", True)
        parent, _, name = path.rpartition("/")
        return self._children.get(parent or "/", {}).get(name)

    def children(self, path: str) -> list[Node] | None:
        found = self._children.get(path)
        return None if found is None else list(found.values())

    def content(self, path: str) -> bytes:
        node = self.node(path)
        return self._content.get(path, b"\0" * (node.size if node else 0))

    def files(self) -> Iterator[str]:
        """The path of every file."""
        for parent, children in self._children.items():
            for node in children.values():
                if not node.is_dir:
                    yield f"{parent.rstrip('/')}/{node.name}"
