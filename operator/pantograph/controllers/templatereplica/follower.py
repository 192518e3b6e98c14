"""How a replica's work is followed: by Proxmox's tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, TypeVar

from pantograph.api.operation import Operation
from pantograph.controllers.operations import Report
from pantograph.providers import errors as provider
from pantograph.providers.proxmox import tasks
from pantograph.providers.proxmox.errors import Call, task_error
from pantograph.providers.proxmox.port import ProxmoxApi, Upid

T = TypeVar("T")

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


ANSWER_S: Final = 20.0
"""So long a worker waits for a node's answer to a question: what the observer does not yet know to hang would hold it
for 30 s or more a question, and there are few workers for all clusters."""


async def in_time(question: Awaitable[T], node: str) -> T:
    """The node's answer to something that changes nothing. Raises `Unreachable` after `ANSWER_S`."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await question
    except TimeoutError:
        raise provider.Unreachable(
            f"node {node!r} has not answered for {ANSWER_S:g} s", reason="NodeUnreachable"
        ) from None


@dataclass(frozen=True, slots=True)
class TaskFollower:
    """Follows one cluster's tasks."""

    api: ProxmoxApi
    staging_storage: str | None
    """Where the image file lies, for the words of an error."""

    async def find(self, operation: Operation) -> str | None:
        assert operation.node is not None
        search = tasks.find_task(
            self.api,
            operation.node,
            type=_TASK_TYPES[operation.type],
            id=self._task_id(operation),
            since=int(operation.started_at.timestamp()) - CLOCK_SKEW_S,
        )
        row = await in_time(search, operation.node)
        return row.upid if row is not None else None

    async def follow(self, operation: Operation) -> Report | None:
        assert operation.handle is not None
        assert operation.node is not None
        upid = Upid(operation.handle)
        try:
            status = await in_time(self.api.task_status(upid), operation.node)
        except provider.NotFound:
            return None
        if not status.running and status.ok:
            return Report(running=False)
        log = await in_time(self.api.task_log(upid), operation.node)
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
