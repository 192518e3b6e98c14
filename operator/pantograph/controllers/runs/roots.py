"""Roots: directories that the chart mounted into the operator under a name, each opened to named namespaces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from pantograph.engine.errors import Terminal

EVERY_NAMESPACE: Final = "*"


@dataclass(frozen=True, slots=True)
class Root:
    """One of them."""

    name: str
    path: Path
    namespaces: frozenset[str]
    """Whose jobs may use it; `*`: everybody's."""

    @classmethod
    def parse(cls, declared: Mapping[str, Any]) -> Self:
        """From `{name, path, namespaces}`. Raises ValueError."""
        name, path, namespaces = declared.get("name"), declared.get("path"), declared.get("namespaces", [])
        if not isinstance(name, str) or not name:
            raise ValueError("a root has no name")
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(f"the path of root {name!r} is not absolute: {path!r}")
        if not isinstance(namespaces, list) or not all(isinstance(each, str) for each in namespaces):
            raise ValueError(f"the namespaces of root {name!r} are not a list of names")
        return cls(name, Path(path), frozenset(namespaces))

    def is_open_to(self, namespace: str) -> bool:
        return bool(self.namespaces & {namespace, EVERY_NAMESPACE})


def parse_roots(text: str) -> tuple[Root, ...]:
    """A JSON list of them. Raises ValueError."""
    declared = json.loads(text)
    if not isinstance(declared, list) or not all(isinstance(each, dict) for each in declared):
        raise ValueError("it is not a list of objects")
    return tuple(Root.parse(each) for each in declared)


class Roots:
    """All of this installation's."""

    def __init__(self, roots: Sequence[Root] = ()) -> None:
        self._roots = {root.name: root for root in roots}

    def open(self, name: str, namespace: str, *, user: str) -> Path:
        """Where the root is, for `user` (such as `StrmSyncJob films/tv`) of this namespace.

        Raises Terminal `RootNotFound`, `RootNotAllowed`, `RootNotMounted`.
        """
        root = self._roots.get(name)
        if root is None:
            raise Terminal(
                "RootNotFound",
                f"{user} names root {name!r}, which is not mounted into the operator",
                remedy=f"add {name} to the chart's value roots",
            )
        if not root.is_open_to(namespace):
            raise Terminal(
                "RootNotAllowed",
                f"{user} names root {name!r}, which is not open to namespace {namespace}",
                remedy=f"add {namespace} to the namespaces of root {name} in the chart's values",
            )
        if not root.path.is_dir():
            raise Terminal(
                "RootNotMounted",
                f"root {name!r} should be at {root.path} in the operator's pod, where no directory is",
                remedy="see the pod's volumes: kubectl describe pod -l app.kubernetes.io/name=pantograph",
            )
        return root.path
