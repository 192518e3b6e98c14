"""The commands that mend a Proxmox cluster, written once for errors and conditions alike."""

from __future__ import annotations

from collections.abc import Collection

from pantograph.providers.errors import Rejected


def allow_content(storage: str, existing: Collection[str], wanted: str = "import") -> str:
    """`pvesm set` replaces the whole list, so the command must repeat what the storage takes already."""
    return f"pvesm set {storage} --content {','.join(sorted({*existing, wanted}))}"


def storage_lacks_content(
    storage: str, *, node: str | None = None, existing: Collection[str] = (), wanted: str = "import"
) -> Rejected:
    """The storage is there and does not take this type of content; without `existing` the command has a gap to fill."""
    where = f"storage {storage!r}" + (f" on node {node!r}" if node else "")
    command = allow_content(storage, existing, wanted)
    if not existing:
        command = f"pvesm set {storage} --content CONTENT,{wanted} (CONTENT: what the storage takes now)"
    return Rejected(f"{where} does not accept content {wanted!r}", reason="StorageLacksContent", remedy=command)


ALLOW_TAGS = (
    "pvesh set /cluster/options --user-tag-access user-allow=free"
    " (and keep 'pantograph' and 'pg-…' out of registered-tags)"
)
"""Our tags carry an id each, so no list of allowed tags can name them (datacenter.cfg: user-tag-access)."""
