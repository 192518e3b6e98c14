"""The steps that make a copy: image file on the node, virtual machine from it, size, template, settings.

Each looks at what `observe` found and does nothing if its truth holds already; one that begins something ends the
reconcile, and the next one begins by settling it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pantograph.api.conditions import STALLED, find
from pantograph.api.templatereplica import StagedStatus
from pantograph.api.units import parse_quantity
from pantograph.controllers import indexes
from pantograph.controllers.templatereplica import places
from pantograph.controllers.templatereplica.follower import in_time
from pantograph.controllers.templatereplica.guards import refuse_while_cloned
from pantograph.controllers.templatereplica.hardware import creation, difference
from pantograph.controllers.templatereplica.scope import ReplicaScope
from pantograph.engine.errors import Terminal, Waiting
from pantograph.providers import errors as provider
from pantograph.providers.proxmox.port import VmConfig

TURN_S: Final = 5.0
DEPOT_RETRY_S: Final = 60.0
"""Whether a node reaches the depot shows in nothing that is observed, so it is asked again this often."""
QUEUED_S: Final = 60.0
MAX_NUMBERS: Final = 5
"""So many VMIDs are asked about in a row, while all others of the cluster wait for theirs."""
"""Who is not woken looks by itself: people's own copies, and all if their template is suspended."""


async def await_turn(scope: ReplicaScope) -> None:
    """After this, fewer than `maxParallel` other copies of the template are being made."""
    if not scope.made and scope.status.staged is None:
        _refuse_without_turn(scope)


async def ensure_staged(scope: ReplicaScope) -> None:
    """After this the image lies as a file on a storage of the node, verified by the node's own sum over it."""
    if scope.made:
        return
    await places.require_usable_target(scope)
    storage = places.staging_storage(scope)
    staged = StagedStatus(storage=storage, volid=f"{storage}:import/{scope.image_file}")
    files = await scope.pve.content(scope.node, storage, content="import")
    if any(file.volid == staged.volid for file in files):
        scope.status.staged = staged
        return
    _refuse_double_staging(scope, staged)
    url = _depot_url(scope)
    await _require_reachable_depot(scope, url)
    _refuse_double_staging(scope, staged)
    _refuse_without_turn(scope)
    with scope.outside.claims.hold(scope.object.key, _staging_place(scope, staged), _making(scope)):
        scope.status.phase = "Staging"
        scope.status.transfer = "Depot"
        # Named before it exists: whatever happens next, somebody knows of the file.
        scope.status.staged = staged
        await scope.announce("Stage", volid=staged.volid)
    await scope.ask(
        lambda: scope.pve.download_url(
            scope.node, storage, url=url, filename=scope.image_file, checksum=scope.image.image_digest
        )
    )


async def ensure_imported(scope: ReplicaScope) -> None:
    """After this the node has a virtual machine with our mark, its disk imported from the staged file."""
    if scope.made:
        return
    staged = scope.status.staged
    assert staged is not None, "ensure_staged has made sure"
    password = await scope.read_password()
    async with scope.connection.vmid_lock:
        _refuse_without_turn(scope)
        # A create is repeated only under the VMID of its intent: the lost one may still come to life.
        repeated = scope.settled.vmid if scope.settled and scope.settled.type == "Import" else None
        vmid = repeated or await _free_vmid(scope)
        config = creation(scope.machine_for(vmid), import_from=staged.volid, password=password)
        with scope.outside.claims.hold(scope.object.key, _making(scope)):
            scope.status.phase = "Importing"
            scope.status.applied_digest = scope.settings_digest(vmid)
            await scope.announce("Import", vmid=vmid)
    await scope.ask(lambda: _create(scope, vmid, config))


async def ensure_size(scope: ReplicaScope) -> None:
    """After this the boot disk is as large as declared."""
    machine = scope.machine
    wanted = scope.hardware.disk.size if scope.hardware.disk else None
    if machine is None or wanted is None or machine.is_template:
        return
    disk = f"{scope.hardware.disk.bus if scope.hardware.disk else 'scsi'}0"
    size_bytes = parse_quantity(wanted)
    if places.disk_size(machine.values.get(disk, "")) >= size_bytes:
        return
    scope.status.phase = "Converting"
    await scope.begin(
        "Resize",
        lambda: scope.pve.resize_disk(machine.node, machine.vmid, disk=disk, size_bytes=size_bytes),
        vmid=machine.vmid,
    )


async def ensure_template(scope: ReplicaScope) -> None:
    """After this the machine is a template whose disks are base volumes, from which linked clones can be made."""
    machine = scope.machine
    if machine is None:
        return
    unconverted = places.unconverted_disks(scope, machine)
    if machine.is_template and not unconverted:
        return
    scope.status.phase = "NotTemplate" if scope.status.phase in ("Ready", "NotTemplate") else "Converting"
    _refuse_running(scope, machine)
    if places.has_base_volumes(machine):
        await refuse_while_cloned(scope, machine, "made a template again")
    if not unconverted:
        # Only the flag was taken away; converting base volumes again would fail.
        await scope.pve.set_config(machine.node, machine.vmid, {"template": "1"}, digest=machine.digest)
        scope.machine = await scope.pve.vm_config(machine.node, machine.vmid)
        return
    # The flag is written before the disks are converted: a conversion that broke off is finished disk by disk.
    disk, volid = next(iter(unconverted.items())) if machine.is_template else (None, None)
    _refuse_converting_in_vain(scope, machine, disk, volid)
    await scope.begin(
        "Convert",
        lambda: scope.pve.convert_to_template(machine.node, machine.vmid, disk=disk),
        vmid=machine.vmid,
        volid=volid,
    )


def _refuse_converting_in_vain(scope: ReplicaScope, machine: VmConfig, disk: str | None, volid: str | None) -> None:
    """Proxmox calls the conversion of a disk OK also where its storage holds no base volumes (pve-storage: the disk is
    skipped). Once told, it is not asked for again unless people ask: a disk that they move becomes a base volume."""
    settled = scope.settled
    in_vain = settled is not None and settled.type == "Convert" and settled.handle and settled.volid == volid
    stalled = find(scope.object.status.conditions, STALLED)
    told = stalled is not None and stalled.reason == "NoBaseVolumes" and scope.requested is None
    if disk is None or not (in_vain or told):
        return
    raise Terminal(
        "NoBaseVolumes",
        f"disk {volid} ({disk}) of template {machine.vmid} on node {machine.node} was converted and is no base volume:"
        " its storage holds none",
        remedy=f"qm disk move {machine.vmid} {disk} STORAGE --delete 1; or {places.NAME_ANOTHER}",
    )


def _refuse_running(scope: ReplicaScope, machine: VmConfig) -> None:
    row = scope.world.guests.get(machine.vmid)
    if row is not None and row.status == "running":
        raise Waiting(
            "Running",
            f"VM {machine.vmid} on node {machine.node} is running, so it cannot become a template",
            30,
            remedy=f"qm shutdown {machine.vmid}",
        )


async def ensure_settings(scope: ReplicaScope) -> None:
    """After this what can change in place is as declared: cores, memory, network, tags, cloud-init, our mark."""
    machine = scope.machine
    if machine is None:
        return
    missing = difference(scope.machine_for(machine.vmid), machine.values)
    digest = scope.settings_digest(machine.vmid)
    changes = dict(missing.set)
    if digest != scope.status.applied_digest and (password := await scope.read_password()) is not None:
        changes["cipassword"] = password
    if changes or missing.delete:
        await scope.pve.set_config(machine.node, machine.vmid, changes, delete=missing.delete, digest=machine.digest)
    scope.status.applied_digest = digest


async def _create(scope: ReplicaScope, vmid: int, config: Mapping[str, str]) -> str:
    try:
        return await scope.pve.create_vm(scope.node, vmid, config)
    except provider.AlreadyExists as taken:
        # Perhaps by an earlier call of ours whose answer was lost: the intent stays until that is seen.
        raise provider.OutcomeUnknown(taken.message, reason=taken.reason) from taken


async def _free_vmid(scope: ReplicaScope) -> int:
    """A VMID that nobody has, nobody has announced, and the range allows. Call it under the cluster's VMID lock.

    Nor one whose number disks on the target storage bear: they are an earlier guest's, or another cluster's.
    """
    world = scope.world
    if not world.complete:
        raise Waiting("ClusterIncomplete", f"which VMIDs are free cannot be told now: {world.problem}", 10)
    limits = scope.cluster.spec.vmid_range
    first, last = (limits.min, limits.max) if limits else (100, 999_999)
    refused = {leftover.vmid for leftover in scope.status.leftovers or ()}

    def is_taken(vmid: int) -> bool:
        announced = scope.services.cache.indexed(indexes.vmid(scope.cluster_key, vmid))
        return vmid in world.guests or vmid in refused or bool(announced)

    for _ in range(MAX_NUMBERS):
        vmid = scope.connection.vmids.choose(range(first, last + 1), is_taken)
        question = scope.pve.content(scope.node, scope.object.spec.storage, content="images", vmid=vmid)
        if not await in_time(question, scope.node):
            return vmid
        refused.add(vmid)
    # The next look goes on behind it; meanwhile others have their turn at the lock.
    raise Waiting("VmidsInUse", f"storage {scope.object.spec.storage} holds disks under the VMIDs up to {vmid}", 1)


def _making(scope: ReplicaScope) -> indexes.Index:
    return indexes.making(scope.template.key)


def _refuse_without_turn(scope: ReplicaScope) -> None:
    """Whoever is being made keeps its turn until it is made, or waits for something outside."""
    making = scope.services.cache.indexed(_making(scope)) | scope.outside.claims.of(_making(scope))
    if scope.object.key in making or len(making) < scope.template.spec.max_parallel:
        return
    scope.status.phase = "Pending"
    limit = scope.template.spec.max_parallel
    # The template wakes the next ones. The message stays the same all the while: it costs one write.
    message = f"VMTemplate {scope.template.key.name} has spec.maxParallel {limit}, and so many are being made"
    raise Waiting("Queued", message, QUEUED_S)


def _staging_place(scope: ReplicaScope, staged: StagedStatus) -> indexes.Index:
    shared = scope.world.storages[scope.node, staged.storage].shared
    return indexes.staging(scope.cluster_key, None if shared else scope.node, staged.volid)


def _refuse_double_staging(scope: ReplicaScope, staged: StagedStatus) -> None:
    """One replica stages a file; the others that need it there wait, and say so, lest it be removed before."""
    place = _staging_place(scope, staged)
    stagers = scope.services.cache.indexed(place) | scope.outside.claims.of(place)
    if others := stagers - {scope.object.key}:
        scope.status.staged = staged
        raise Waiting("StagingElsewhere", f"{min(others).name} downloads the image file to {staged.storage}", TURN_S)


def _depot_url(scope: ReplicaScope) -> str:
    base_url = scope.cluster.spec.depot_url or scope.outside.depot_url
    if base_url is None:
        raise Terminal(
            "DepotUnreachable",
            "the nodes have no address from which to download the image",
            remedy=f"set spec.depotURL of ProxmoxCluster {scope.cluster_key.name}, or the chart's depot.externalURL",
        )
    if scope.outside.depot.find(scope.image.image_digest) is None:
        raise Waiting(
            "ImageNotInDepot", f"the depot has lost image {scope.image.image_digest}; it is fetched again", TURN_S
        )
    return scope.outside.depot.url_for(scope.image.image_digest, base_url=base_url)


async def _require_reachable_depot(scope: ReplicaScope, url: str) -> None:
    """Ask the node itself before any byte moves: an address that the operator reaches may be none for the node."""
    try:
        await scope.pve.query_url_metadata(scope.node, url)
    except provider.Rejected as unreachable:
        scope.look_again(DEPOT_RETRY_S)
        raise Terminal(
            "DepotUnreachable",
            f"node {scope.node} cannot reach the depot at {url.split('/images/')[0]}: {unreachable.message}",
            remedy=f"set spec.depotURL of ProxmoxCluster {scope.cluster_key.name} to an address the node can reach",
        ) from unreachable
