"""Proxmox's JSON into the port's dataclasses: numbers that come as text, booleans as 0 and 1, keys that are absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pantograph.providers.proxmox.port import (
    ClusterNode,
    ClusterStatus,
    GuestRow,
    NodeStorage,
    Permissions,
    StorageRow,
    TaskRow,
    TaskStatus,
    Upid,
    UrlMetadata,
    VmConfig,
    Volume,
)
from pantograph.providers.proxmox.tasks import parse_upid

Row = Mapping[str, Any]


def cluster_status(status: Iterable[Row], nodes: Iterable[Row]) -> ClusterStatus:
    """From GET /cluster/status and GET /nodes. A never-clustered node has no row of type `cluster`."""
    rows = list(status)
    cluster = next((row for row in rows if row["type"] == "cluster"), None)
    fingerprints = {row["node"]: row.get("ssl_fingerprint") for row in nodes}
    return ClusterStatus(
        name=str(cluster["name"]) if cluster is not None else None,
        quorate=_flag(cluster.get("quorate")) if cluster is not None else True,
        nodes=tuple(
            ClusterNode(
                name=row["name"],
                online=_flag(row.get("online")),
                ip=row.get("ip"),
                fingerprint=fingerprints.get(row["name"]),
            )
            for row in sorted((row for row in rows if row["type"] == "node"), key=lambda row: str(row["name"]))
        ),
    )


def permissions(data: Mapping[str, Row]) -> Permissions:
    return {path: {name: _flag(propagates) for name, propagates in rights.items()} for path, rights in data.items()}


def guest(row: Row) -> GuestRow:
    return GuestRow(
        vmid=int(row["vmid"]),
        node=row["node"],
        type=row["type"],
        name=row.get("name"),
        status=str(row.get("status", "unknown")),
        template=_flag(row["template"]) if row.get("template") is not None else None,
        tags=_tags(row.get("tags")),
        lock=row.get("lock"),
        pool=row.get("pool"),
        maxdisk=_number(row.get("maxdisk")),
    )


def node_storage(node: str, row: Row) -> NodeStorage:
    return NodeStorage(
        storage=row["storage"],
        node=node,
        type=row["type"],
        content=frozenset(name for name in str(row.get("content", "")).split(",") if name),
        shared=_flag(row.get("shared")),
        enabled=_flag(row.get("enabled", 1)),
        active=_flag(row.get("active")),
        total=_number(row.get("total")),
        avail=_number(row.get("avail")),
    )


def storage_row(row: Row) -> StorageRow:
    return StorageRow(
        storage=row["storage"],
        node=row["node"],
        type=str(row.get("plugintype", "")),
        content=frozenset(name for name in str(row.get("content", "")).split(",") if name),
        shared=_flag(row.get("shared")),
    )


def volume(row: Row) -> Volume:
    return Volume(
        volid=row["volid"],
        content=row["content"],
        format=str(row.get("format", "")),
        size=_number(row.get("size")) or 0,
        vmid=_number(row.get("vmid")),
        parent=row.get("parent"),
        ctime=_number(row.get("ctime")),
    )


def vm_config(node: str, vmid: int, data: Row) -> VmConfig:
    return VmConfig(vmid, node, {key: str(value) for key, value in data.items()})


def task(row: Row) -> TaskRow:
    upid = parse_upid(row["upid"])  # the row splits a token's name off the user in some versions; the UPID never does
    status = row.get("status")
    running = status == "RUNNING" or "endtime" not in row
    return TaskRow(
        upid=Upid(row["upid"]),
        node=upid.node,
        type=upid.type,
        id=upid.id,
        user=upid.user,
        starttime=upid.starttime,
        running=running,
        exitstatus=None if running else status,
    )


def task_status(data: Row) -> TaskStatus:
    running = data["status"] == "running"
    return TaskStatus(running=running, exitstatus=None if running else data.get("exitstatus"))


def log_lines(data: object) -> list[str]:
    """The lines of a task's log; none for a task that has written nothing (`no content`) or is unknown (an object)."""
    if not isinstance(data, list):
        return []
    lines = [str(row["t"]) for row in data]
    return [] if lines == ["no content"] else lines


def url_metadata(data: Row) -> UrlMetadata:
    return UrlMetadata(data.get("filename"), _number(data.get("size")), data.get("mimetype"))


def pve_version(pveversion: str) -> str:
    """`pve-manager/8.4.21/cafe` → `8.4.21`."""
    parts = pveversion.split("/")
    return parts[1] if len(parts) > 1 else pveversion


def _flag(value: object) -> bool:
    return str(value) in ("1", "True", "true")


def _number(value: object) -> int | None:
    return None if value is None or value == "" else int(float(str(value)))


def _tags(value: str | None) -> tuple[str, ...]:
    return tuple((value or "").replace(",", ";").replace(" ", ";").strip(";").split(";")) if value else ()
