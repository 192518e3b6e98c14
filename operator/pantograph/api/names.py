"""The names of what we make: children and their virtual machines, and the hash that tells them apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_hash(value: Any, *, length: int = 10) -> str:
    """The first `length` hex digits of the sha256 of `value`'s canonical JSON."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()[:length]


def replica_name(template: str, *, cluster: tuple[str, str], node: str, storage: str, revision: str) -> str:
    """The name of the replica (and its virtual machine) for one place: a DNS label of at most 63 characters.

    It holds the template (≤ 40), the node as far as it fits (11), and a hash of everything that makes the place one.
    """
    place = short_hash([*cluster, node, storage, revision])
    visible_node = "".join(c if c.isalnum() else "-" for c in node.lower())[:11].strip("-")
    return "-".join(part for part in (template.replace(".", "-")[:40].rstrip("-"), visible_node, place) if part)
