"""How a replica's work is followed: by Proxmox's tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pantograph.api.operation import Operation
from pantograph.controllers.operations import Report
from pantograph.providers import errors as provider
from pantograph.providers.proxmox import tasks
from pantograph.providers.proxmox.errors import Call, task_error
from pantograph.providers.proxmox.port import ProxmoxApi, Upid

CLOCK_SKEW_S: Final = 120
"""How far a node's clock may be behind ours when a lost task is sought by its start time."""

_TASK_TYPES: Final = {
    "Stage": "download",
    "Import": "qmcreate",
    "Resize": "resize",
    "Convert": "qmtemplate",
    "Destroy": "qmdestroy",
    "Unstage": "imgdel",
}


@dataclass(frozen=True, slots=True)
class TaskFollower:
    """Follows one cluster's tasks."""

    api: ProxmoxApi
    staging_storage: str | None
    """Where the image file lies, for the words of an error."""

    async def find(self, operation: Operation) -> str | None:
        assert operation.node is not None
        row = await tasks.find_task(
            self.api,
            operation.node,
            type=_TASK_TYPES[operation.type],
            id=self._task_id(operation),
            since=int(operation.started_at.timestamp()) - CLOCK_SKEW_S,
        )
        return row.upid if row is not None else None

    async def follow(self, operation: Operation) -> Report | None:
        assert operation.handle is not None
        upid = Upid(operation.handle)
        try:
            status = await self.api.task_status(upid)
        except provider.NotFound:
            return None
        if not status.running and status.ok:
            return Report(running=False)
        log = await self.api.task_log(upid)
        if status.running:
            progress = tasks.progress(log)
            if progress is None:
                return Report(running=True)
            return Report(
                running=True,
                percent=int(progress.percent) if progress.percent is not None else None,
                done_bytes=progress.bytes,
                total_bytes=progress.total_bytes,
            )
        call = Call(
            mutation=True,
            node=operation.node,
            storage=self.staging_storage,
            vmid=operation.vmid,
            claims=operation.vmid if operation.type == "Import" else None,
        )
        return Report(running=False, error=task_error(status.exitstatus or "", log, call=call))

    def _task_id(self, operation: Operation) -> str:
        """What Proxmox files the task under: a VMID, a file's name, or the storage of a deleted file."""
        if operation.type == "Stage":
            return (operation.volid or "").rpartition("/")[2]
        if operation.type == "Unstage":
            return (operation.volid or "").partition(":")[0]
        return str(operation.vmid)
