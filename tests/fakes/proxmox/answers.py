"""What the simulated cluster says when it does not say yes.

Status codes and texts are those of Proxmox VE 8.4; both faces carry the same ones. A text that was not observed on a
real cluster says so where it is raised.
"""

from __future__ import annotations

from collections.abc import Mapping


class PveAnswer(Exception):
    """An answer of 400 and above: `text` stands in the reason phrase, `errors` (by parameter) in the body."""

    def __init__(self, code: int, text: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.errors = dict(errors or {})


class ConnectionLost(Exception):
    """The connection ended without an answer. `sent` is False when nothing can have been done (refused)."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.text = text
        self.sent = sent


class TaskError(Exception):
    """Ends a task: its last line is `TASK ERROR: <text>` and its exit status the text."""


def parameter_error(parameter: str, text: str) -> PveAnswer:
    """400: the parameter was refused before anything was done."""
    return PveAnswer(400, "Parameter verification failed.", {parameter: text})


def refusal(text: str) -> PveAnswer:
    """500: any business error, "not found" and "locked" included."""
    return PveAnswer(500, text)


def no_such_config(node: str, vmid: int) -> PveAnswer:
    """The guest is unknown, or on another node than the one in the path."""
    return refusal(f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")


def forbidden(detail: str | None = None) -> PveAnswer:
    """403 `Permission check failed (<detail>)`."""
    return PveAnswer(403, f"Permission check failed ({detail})" if detail else "Permission check failed")
