"""What the cluster answers to GET: itself, its guests, its tasks. Lists are short, never refused, without rights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.fakes.proxmox.answers import PveAnswer, forbidden, parameter_error
from tests.fakes.proxmox.cluster import BROADCAST_EXPIRES_S, SimulatedCluster
from tests.fakes.proxmox.gate import Request, vmid_of
from tests.fakes.proxmox.guests import DISK_KEY, Guest, options_of, parse_size
from tests.fakes.proxmox.storages import Storage
from tests.fakes.proxmox.tasks import Task

_NODE_MEMORY = 64 * 1024**3


async def version(r: Request) -> Any:
    text = r.cluster.nodes[r.entry].version
    return {"version": text, "release": ".".join(text.split(".")[:2]), "repoid": "simulated"}


async def permissions(r: Request) -> Any:
    everything = r.cluster.access.effective_permissions(r.user)
    path = r.params.get("path")
    if path is None:
        return everything
    held = r.cluster.access.privileges(r.user, path)
    return {path: dict.fromkeys(sorted(held), 1)} if held else {}


async def cluster_status(r: Request) -> Any:
    r.require("/", "Sys.Audit")
    cluster, rows = r.cluster, []
    if cluster.is_clustered():
        quorate = int(cluster.quorate())
        rows.append({"type": "cluster", "id": "cluster", "name": cluster.name, "nodes": len(cluster.nodes),
                     "quorate": quorate, "version": 1})  # fmt: skip
    for node in cluster.nodes.values():
        online = cluster.known_online(node) and (not cluster.faults.quorum_lost or node.name == r.entry)
        rows.append({"type": "node", "id": f"node/{node.name}", "name": node.name, "nodeid": node.id, "ip": node.ip,
                     "online": int(online), "local": int(node.name == r.entry), "level": ""})  # fmt: skip
    return rows


async def nodes(r: Request) -> Any:
    rows = []
    for node in r.cluster.nodes.values():
        online = r.cluster.known_online(node)
        row: dict[str, Any] = {"node": node.name, "id": f"node/{node.name}", "type": "node", "level": "",
                               "status": "online" if online else "offline",
                               "ssl_fingerprint": r.cluster.fingerprints[node.name]}  # fmt: skip
        if online and r.cluster.access.allows(r.user, f"/nodes/{node.name}", "Sys.Audit"):
            row |= {"maxcpu": 16, "maxmem": _NODE_MEMORY, "cpu": 0.02, "mem": _NODE_MEMORY // 8, "uptime": 100000}
        rows.append(row)
    return rows


async def node_version(r: Request) -> Any:
    text = r.cluster.nodes[r.node].version
    return {"version": text, "release": ".".join(text.split(".")[:2]), "repoid": "simulated"}


async def node_status(r: Request) -> Any:
    r.require(f"/nodes/{r.node}", "Sys.Audit")
    return {"pveversion": f"pve-manager/{r.cluster.nodes[r.node].version}/simulated", "uptime": 100000,
            "memory": {"total": _NODE_MEMORY, "used": _NODE_MEMORY // 8, "free": _NODE_MEMORY * 7 // 8}}  # fmt: skip


async def next_id(r: Request) -> Any:
    """Reserves nothing."""
    asked = r.params.get("vmid")
    if asked is None:
        return str(next(n for n in range(100, 1000000) if n not in r.cluster.guests))
    if (vmid := vmid_of(asked, "vmid")) in r.cluster.guests:
        raise parameter_error("vmid", f"VM {vmid} already exists")
    return str(vmid)


async def resources(r: Request) -> Any:
    wanted, rows = r.params.get("type"), []
    if wanted in (None, "node"):
        rows += [row | {"cgroup-mode": 2} for row in await nodes(r)]
    if wanted in (None, "vm"):
        access, user = r.cluster.access, r.user
        rows += [
            resource_row(r.cluster, guest)
            for guest in r.cluster.guests.values()
            if access.allows(user, f"/vms/{guest.vmid}", "VM.Audit")
        ]
    if wanted in (None, "storage"):
        rows += _storage_resources(r)
    return rows


def resource_row(cluster: SimulatedCluster, guest: Guest) -> dict[str, Any]:
    row: dict[str, Any] = {"type": guest.type, "id": f"{guest.type}/{guest.vmid}", "vmid": guest.vmid,
                           "node": guest.node, "status": "unknown"}  # fmt: skip
    if guest.lock:
        row["lock"] = guest.lock
    if tags := guest.config.get("tags"):
        row["tags"] = tags
    if guest.pool:
        row["pool"] = guest.pool
    if (seen := cluster.seen(guest)) is not None:
        row |= {"name": seen.name, "status": seen.status, "template": int(seen.template), **_figures(guest)}
    return row


def _storage_resources(r: Request) -> Iterable[dict[str, Any]]:
    """A disabled storage has no rows, and none is shown without Datastore.Audit (PVE/API2/Cluster.pm, resources)."""
    for node in r.cluster.nodes.values():
        stale = not node.up and r.cluster.clock.monotonic() - node.changed_at > BROADCAST_EXPIRES_S
        for storage in r.cluster.storages.visible_on(node.name):
            audited = r.cluster.access.allows(r.user, f"/storage/{storage.name}", "Datastore.Audit")
            if not audited or not storage.enabled:
                continue
            row: dict[str, Any] = {"type": "storage", "id": f"storage/{node.name}/{storage.name}",
                                   "storage": storage.name, "node": node.name, "shared": int(storage.shared),
                                   "plugintype": storage.type, "content": ",".join(sorted(storage.content)),
                                   "status": "unknown" if stale else "available"}  # fmt: skip
            if not stale:
                place = r.cluster.storages.place(storage, node.name)
                row |= {"disk": place.used, "maxdisk": storage.total_bytes}
            yield row


def _sees_storage(r: Request, storage: Storage) -> bool:
    return r.cluster.access.allows_any(r.user, f"/storage/{storage.name}", "Datastore.Audit", "Datastore.AllocateSpace")


async def node_storages(r: Request) -> Any:
    wanted, rows = r.params.get("content"), []
    for storage in r.cluster.storages.visible_on(r.node):
        if not _sees_storage(r, storage) or (wanted and wanted not in storage.content):
            continue
        row: dict[str, Any] = {"storage": storage.name, "type": storage.type, "shared": int(storage.shared),
                               "content": ",".join(sorted(storage.content)), "enabled": int(storage.enabled),
                               "active": int(storage.enabled)}  # fmt: skip
        if storage.enabled:
            place = r.cluster.storages.place(storage, r.node)
            row |= {"total": storage.total_bytes, "used": place.used, "avail": place.avail,
                    "used_fraction": place.used / storage.total_bytes}  # fmt: skip
        rows.append(row)
    return rows


async def storage_definitions(r: Request) -> Any:
    rows = []
    for storage in r.cluster.storages.defined.values():
        if not _sees_storage(r, storage):
            continue
        row: dict[str, Any] = {"storage": storage.name, "type": storage.type, "content": ",".join(storage.content),
                               "path": storage.path, "digest": "0" * 40}  # fmt: skip
        if storage.nodes is not None:
            row["nodes"] = ",".join(sorted(storage.nodes))
        if storage.shared:
            row["shared"] = 1
        if not storage.enabled:
            row["disable"] = 1
        rows.append(row)
    return rows


async def node_guests(r: Request) -> Any:
    return [
        {"vmid": g.vmid, "name": g.name, "status": g.seen.status, **_figures(g),
         **({"tags": g.config["tags"]} if g.config.get("tags") else {}),
         **({"template": 1} if g.is_template else {}), **({"lock": g.lock} if g.lock else {})}
        for g in r.cluster.guests.values()
        if g.node == r.node and g.type == "qemu" and r.cluster.access.allows(r.user, f"/vms/{g.vmid}", "VM.Audit")
    ]  # fmt: skip


async def vm_config(r: Request) -> Any:
    r.require(f"/vms/{r.vmid}", "VM.Audit")
    shown: dict[str, Any] = dict(r.cluster.guest_on(r.node, r.vmid).shown_config())
    for key in ("cores", "sockets", "template", "protection", "onboot", "numa"):
        if key in shown:
            shown[key] = int(shown[key])
    return shown


async def vm_status(r: Request) -> Any:
    r.require(f"/vms/{r.vmid}", "VM.Audit")
    guest = r.cluster.guest_on(r.node, r.vmid)
    row = {"vmid": guest.vmid, "name": guest.name, "status": guest.seen.status, "qmpstatus": guest.seen.status,
           "ha": {"managed": 0}, **_figures(guest)}  # fmt: skip
    if guest.is_template:
        row["template"] = 1
    if guest.lock:
        row["lock"] = guest.lock
    return row


def _figures(guest: Guest) -> dict[str, int]:
    if guest.figures is None or guest.figures[0] != guest.version:
        guest.figures = (guest.version, _figures_of_config(guest))
    return guest.figures[1]


def _figures_of_config(guest: Guest) -> dict[str, int]:
    maxdisk = 0
    for key, value in guest.config.items():
        if DISK_KEY.match(key) and "media=cdrom" not in value:
            maxdisk = parse_size(options_of(value)[1].get("size", "0")) or 0
            break
    cores = int(guest.config.get("cores", "1"))
    memory = int(guest.config.get("memory", "512").partition(",")[0]) * 1024**2
    return {"maxcpu": cores, "maxmem": memory, "maxdisk": maxdisk, "cpu": 0, "mem": 0, "disk": 0, "uptime": 0}


# -- tasks -----------------------------------------------------------------------------------------------------------
def _may_see(r: Request, task: Task) -> bool:
    if r.cluster.access.allows(r.user, f"/nodes/{task.node}", "Sys.Audit"):
        return True
    return task.user == r.user or ("!" not in r.user and task.user.partition("!")[0] == r.user)


def _task_of(r: Request) -> Task:
    task = r.cluster.task(r.path["upid"])
    if task.node != r.node:
        raise PveAnswer(400, "Parameter verification failed.", {"upid": "no such task"})
    if not _may_see(r, task):
        raise forbidden(f"/nodes/{task.node}, Sys.Audit")
    return task


def _task_row(task: Task) -> dict[str, Any]:
    user, _, token = task.user.partition("!")
    row: dict[str, Any] = {"upid": task.upid, "node": task.node, "type": task.type, "id": task.id, "pid": task.pid,
                           "pstart": task.pstart, "starttime": task.starttime}  # fmt: skip
    if task.running:
        return row | {"user": task.user, "status": "RUNNING", "saved": "0"}
    row |= {"user": user, "status": task.exitstatus, "endtime": task.endtime}
    if token:
        row["tokenid"] = token
    return row


async def task_list(r: Request) -> Any:
    source, limit = r.params.get("source", "archive"), int(r.params.get("limit", "50"))
    since, wanted_type, vmid = int(r.params.get("since", "0")), r.params.get("typefilter"), r.params.get("vmid")
    rows = [
        _task_row(task)
        for task in r.cluster.tasks.of_node(r.node)
        if (source == "all" or task.running == (source == "active"))
        and task.starttime >= since
        and (wanted_type is None or task.type == wanted_type)
        and (vmid is None or task.id == vmid)
        and _may_see(r, task)
    ]
    start = int(r.params.get("start", "0"))
    return rows[start : start + limit] if limit else rows[start:]


async def task_status(r: Request) -> Any:
    task = _task_of(r)
    user, _, token = task.user.partition("!")
    row: dict[str, Any] = {"upid": task.upid, "node": task.node, "type": task.type, "id": task.id, "user": user,
                           "pid": task.pid, "pstart": task.pstart, "starttime": task.starttime,
                           "status": "running" if task.running else "stopped"}  # fmt: skip
    if token:
        row["tokenid"] = token
    if not task.running:
        row["exitstatus"] = task.exitstatus
    return row


class LogPage(list[dict[str, Any]]):
    """Lines of a log; the HTTP face adds `total`."""

    total = 0


async def task_log(r: Request) -> Any:
    """Default limit 50; `no content` stands for an empty log; an unknown task's log is an object, not a list."""
    try:
        task = _task_of(r)
    except PveAnswer as answer:
        if answer.errors.get("upid") == "no such task":
            return {"n": 1, "t": "unable to open file - No such file or directory"}
        raise
    lines = task.log or ["no content"]
    start, limit = int(r.params.get("start", "0")), int(r.params.get("limit", "50"))
    chosen = lines[start : start + limit] if limit else lines[start:]
    page = LogPage({"n": start + i, "t": line} for i, line in enumerate(chosen, start=1))
    page.total = len(lines)
    return page


async def stop_task(r: Request) -> Any:
    task = _task_of(r)
    if task.user != r.user and not r.cluster.access.allows(r.user, f"/nodes/{task.node}", "Sys.Modify"):
        raise forbidden(f"/nodes/{task.node}, Sys.Modify")
    r.cluster.tasks.abort(task)
