"""The steps that remove a copy: its machine, and the image file that it was made from."""

from __future__ import annotations

from typing import Final

from pantograph.api.conditions import STALLED, is_true
from pantograph.api.declaration import InvalidObject
from pantograph.api.meta import Key
from pantograph.api.templatereplica import StagedStatus, TemplateReplica
from pantograph.api.vmtemplate import VMTemplate
from pantograph.controllers import indexes
from pantograph.controllers.templatereplica.guards import refuse_unsafe
from pantograph.controllers.templatereplica.resolving import require_answering
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.providers.proxmox import privileges
from pantograph.providers.proxmox.mark import staged_name

NEEDED_RETRY_S: Final = 30.0


async def ensure_purged(scope: ReplicaScope) -> None:
    """After this our virtual machine and its disks are gone."""
    machine = scope.machine
    if machine is None or scope.object.spec.deletion_policy == "Retain":
        return
    await refuse_unsafe(scope, machine)
    scope.status.phase = "Pending"
    await scope.begin("Destroy", lambda: scope.pve.destroy_vm(machine.node, machine.vmid), vmid=machine.vmid)


async def ensure_unstaged(scope: ReplicaScope) -> None:
    """After this the image file is gone from the node, unless it is needed elsewhere or may not be deleted."""
    staged = scope.status.staged
    if staged is None:
        scope.drop_condition("StagedFileKept")
        return
    if _is_needed_by_others(scope, staged):
        scope.look_again(NEEDED_RETRY_S)
        return
    require_answering(scope, scope.node)
    files = await scope.pve.content(scope.node, staged.storage, content="import")
    if all(file.volid != staged.volid for file in files):
        scope.status.staged = None
        scope.drop_condition("StagedFileKept")
        return
    missing = privileges.missing_for(scope.world.permissions, privileges.delete_staged(staged.storage))
    if missing:
        await _report_kept(scope, staged, privileges.remedy(missing, await scope.pve.user()))
        return
    await scope.begin(
        "Unstage",
        lambda: scope.pve.delete_volume(scope.node, staged.storage, staged.volid),
        node=scope.node,
        volid=staged.volid,
    )


def _is_needed_by_others(scope: ReplicaScope, staged: StagedStatus) -> bool:
    """Whether a replica that reads the same file has not imported it yet, also one that waits for its turn."""
    storage = scope.world.storages.get((scope.node, staged.storage))
    cache = scope.services.cache
    readers = cache.indexed(indexes.staged(scope.cluster_key, staged.volid))
    unmade = cache.indexed(indexes.unmade(scope.cluster_key, scope.node))
    waiting = (key for key in unmade if _is_for_image(scope, key, staged))
    for key in {*readers, *waiting} - {scope.object.key}:
        other = cache.read(key, TemplateReplica)
        if other is None or (other.spec.node != scope.node and not (storage and storage.shared)):
            continue
        if _waits_for(other, staged):
            return True
    return False


def _is_for_image(scope: ReplicaScope, key: Key, staged: StagedStatus) -> bool:
    """Whether the template of `key` has the image that was staged. Asked first: it spares reading the replica."""
    cache = scope.services.cache
    entry = cache.entry(key)
    template_key = next((each for each in entry.refers_to if each.kind == "VMTemplate"), None) if entry else None
    try:
        template = cache.read(template_key, VMTemplate) if template_key else None
    except InvalidObject:
        return False  # no copy of it goes on before it can be read
    image = template.status.image if template else None
    return image is not None and staged.volid.endswith(f"/{staged_name(image.image_digest, image.format)}")


def _waits_for(other: TemplateReplica, staged: StagedStatus) -> bool:
    if other.spec.type != "Copy" or other.deleting or other.status.vmid is not None:
        return False
    if other.status.staged is not None:
        return other.status.staged.volid == staged.volid
    return not is_true(other.status.conditions, STALLED)


async def _report_kept(scope: ReplicaScope, staged: StagedStatus, remedy: str) -> None:
    """The file stays and is reported: a right that only tidies up must not stop anything."""
    message = (
        f"image file {staged.volid} stays on node {scope.node}; the token may not delete it; to allow it: {remedy}"
    )
    if not scope.object.deleting:
        scope.set_condition("StagedFileKept", True, reason="MissingPrivilege", message=message)
        return
    await scope.warn(reason="StagedFileKept", message=message)
