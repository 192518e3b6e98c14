"""How values are written into the paths of Proxmox' API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

_FIELD = re.compile(r"^\{(\w+)\}$")


def path_parts(template: str, values: Mapping[str, str | int]) -> list[str]:
    """`/nodes/{node}/qemu/{vmid}` → its parts, values percent-encoded: UPIDs and volids hold `:`, `@`, `!` and `/`."""
    parts = []
    for part in template.strip("/").split("/"):
        found = _FIELD.match(part)
        parts.append(quote(str(values[found[1]]), safe="") if found else part)
    return parts
