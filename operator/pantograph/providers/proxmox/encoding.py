"""Proxmox's ways to write values: in paths, and in the one key that is encoded twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

_FIELD = re.compile(r"^\{(\w+)\}$")


def path_parts(template: str, values: Mapping[str, str | int]) -> list[str]:
    """`/nodes/{node}/qemu/{vmid}` → its parts, values percent-encoded: UPIDs and volids hold `:`, `@`, `!` and `/`."""
    parts = []
    for part in template.strip("/").split("/"):
        found = _FIELD.match(part)
        parts.append(quote(str(values[found[1]]), safe="") if found else part)
    return parts


def sshkeys_value(keys: Iterable[str]) -> str:
    """The value of a guest's `sshkeys`: percent-encoded in itself, before the request encodes it once more.

    qemu-server decodes the stored value with `uri_unescape` (PVE/QemuServer/Cloudinit.pm); a space must be `%20`.
    """
    return quote("\n".join(key.strip() for key in keys), safe="")
