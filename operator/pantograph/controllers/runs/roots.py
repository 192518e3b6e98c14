"""Roots: directories that the chart mounted into the operator under a name, each opened to named namespaces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final, Self

from pantograph.engine.errors import Terminal, Transient

EVERY_NAMESPACE: Final = "*"
ANSWER_WITHIN_S: Final = 0.25
"""A mount that works answers within a millisecond; once so long, everything else can wait for one that does not."""
ASK_AGAIN_S: Final = 15.0


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
        self._asked: dict[str, _Question] = {}
        """Roots that have not answered yet."""

    def open(self, name: str, namespace: str, *, user: str) -> Path:
        """Where the root is, for `user` (such as `StrmSyncJob films/tv`) of this namespace.

        Raises Terminal `RootNotFound`, `RootNotAllowed`, `RootNotMounted`, and Transient `RootNotAnswering`.
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
        if not self._is_directory(root):
            raise Terminal(
                "RootNotMounted",
                f"root {name!r} should be at {root.path} in the operator's pod, where no directory is",
                remedy="see the pod's volumes: kubectl describe pod -l app.kubernetes.io/name=pantograph",
            )
        return root.path

    def _is_directory(self, root: Root) -> bool:
        """Raises Transient. Nobody waits twice for a root that hangs, and one that is only slow has answered later."""
        question = self._asked.pop(root.name, None)
        if question is None:
            question = _Question(root.path)
            question.wait(ANSWER_WITHIN_S)
        if question.answer is None:
            self._asked[root.name] = question
            raise Transient(
                "RootNotAnswering",
                f"root {root.name!r} at {root.path} does not answer: its volume hangs",
                ASK_AGAIN_S,
                remedy="see what it is mounted from; a pod that is made anew mounts it anew",
            )
        return question.answer


class _Question:
    """Whether there is a directory, asked in a thread of its own: a mount that hangs holds up that thread alone.

    A daemon, so that the process can end while it hangs.
    """

    def __init__(self, path: Path) -> None:
        self.answer: bool | None = None
        self._path = path
        self._thread = Thread(target=self._ask, name=f"look at {path}", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _ask(self) -> None:
        try:
            self.answer = self._path.is_dir()
        except OSError:  # a mount whose server is gone, or not to be entered
            self.answer = False
