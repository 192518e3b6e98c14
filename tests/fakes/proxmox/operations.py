"""The one table of what the simulated API offers: both faces speak through it."""

from __future__ import annotations

from tests.fakes.proxmox import changes, creation, reads, templates, transfer
from tests.fakes.proxmox.gate import Handler, Operation

_N, _S, _Q = "/nodes/{node}", "/nodes/{node}/storage/{storage}", "/nodes/{node}/qemu/{vmid}"


def _get(name: str, path: str, handler: Handler, *optional: str) -> Operation:
    return Operation(name, "GET", path, handler, optional=frozenset(optional))


_ALL = (
    _get("version", "/version", reads.version),
    _get("permissions", "/access/permissions", reads.permissions, "path", "userid"),
    _get("cluster_status", "/cluster/status", reads.cluster_status),
    _get("next_id", "/cluster/nextid", reads.next_id, "vmid"),
    _get("guests", "/cluster/resources", reads.resources, "type"),
    _get("nodes", "/nodes", reads.nodes),
    _get("node_api_version", f"{_N}/version", reads.node_version),
    _get("node_version", f"{_N}/status", reads.node_status),
    _get("storage_definitions", "/storage", reads.storage_definitions, "type"),
    _get("storages", f"{_N}/storage", reads.node_storages, "content", "enabled", "format", "storage", "target"),
    _get("content", f"{_S}/content", transfer.content, "content", "vmid"),
    _get("volume_info", f"{_S}/content/{{volume}}", transfer.volume_info),
    Operation(
        "query_url_metadata", "GET", f"{_N}/query-url-metadata", transfer.query_url_metadata,
        required=frozenset({"url"}), optional=frozenset({"verify-certificates"}),
    ),
    _get("node_guests", f"{_N}/qemu", reads.node_guests, "full"),
    _get("vm_config", f"{_Q}/config", reads.vm_config, "current", "snapshot"),
    _get("vm_status", f"{_Q}/status/current", reads.vm_status),
    _get("tasks", f"{_N}/tasks", reads.task_list, "source", "limit", "start", "since", "until", "typefilter", "vmid",
         "userfilter", "errors", "statusfilter"),
    _get("task_status", f"{_N}/tasks/{{upid}}/status", reads.task_status),
    _get("task_log", f"{_N}/tasks/{{upid}}/log", reads.task_log, "start", "limit", "download"),
    Operation("stop_task", "DELETE", f"{_N}/tasks/{{upid}}", reads.stop_task),
    Operation(
        "download_url", "POST", f"{_S}/download-url", transfer.download_url,
        required=frozenset({"content", "filename", "url"}),
        optional=frozenset({"checksum", "checksum-algorithm", "verify-certificates", "compression"}),
    ),
    Operation(
        "upload", "POST", f"{_S}/upload", transfer.upload, required=frozenset({"content", "filename"}),
        optional=frozenset({"checksum", "checksum-algorithm", "tmpfilename"}),
    ),
    Operation("delete_volume", "DELETE", f"{_S}/content/{{volume}}", transfer.delete_volume,
              optional=frozenset({"delay"})),
    Operation("create_vm", "POST", f"{_N}/qemu", creation.create_vm, required=frozenset({"vmid"}), free=True),
    Operation("set_config", "PUT", f"{_Q}/config", changes.set_config, free=True),
    Operation("post_config", "POST", f"{_Q}/config", changes.post_config, free=True),
    Operation("resize_disk", "PUT", f"{_Q}/resize", changes.resize_disk, required=frozenset({"disk", "size"}),
              optional=frozenset({"digest"})),
    Operation("convert_to_template", "POST", f"{_Q}/template", templates.convert_to_template,
              optional=frozenset({"disk"})),
    Operation(
        "clone_vm", "POST", f"{_Q}/clone", templates.clone_vm, required=frozenset({"newid"}),
        optional=frozenset({"name", "description", "pool", "full", "storage", "format", "target", "snapname",
                            "bwlimit"}),
    ),
    Operation("destroy_vm", "DELETE", _Q, templates.destroy_vm,
              optional=frozenset({"purge", "destroy-unreferenced-disks", "skiplock"})),
    Operation("start_vm", "POST", f"{_Q}/status/start", changes.start_vm),
    Operation("stop_vm", "POST", f"{_Q}/status/stop", changes.stop_vm),
)  # fmt: skip

OPERATIONS = {operation.name: operation for operation in _ALL}
