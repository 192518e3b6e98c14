"""The operation record: the one long piece of work an object has begun outside, so that a crash cannot begin it twice.

`Intended` is written before the call, `Running` with the handle after it; the record is removed by the patch that
reports the effect. Pure: time comes in, the next record goes out.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final

from pydantic import Field

from pantograph.api.meta import Model
from pantograph.api.units import Timestamp

PROGRESS_SECONDS: Final = 30
"""Progress is written at most this often …"""
PROGRESS_PERCENT: Final = 5
"""… and only if it moved by so much: a long copy costs the API server at most twenty writes."""


class OperationPhase(StrEnum):
    INTENDED = "Intended"
    RUNNING = "Running"


class Progress(Model):
    """How far the operation has come."""

    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Of the whole; absent while the whole is unknown."""
    bytes: Annotated[int, Field(ge=0)] | None = None
    """Bytes done."""
    total_bytes: Annotated[int, Field(ge=0)] | None = None
    """Bytes to do."""
    updated_at: Timestamp
    """When this was seen."""


class Operation(Model):
    """The work that is going on outside for this object."""

    type: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Z][A-Za-z]*$")]
    """What is being done, for example Import."""
    phase: OperationPhase = OperationPhase.INTENDED
    """Intended: about to be asked for, or asked with the answer lost. Running: begun, its handle is known."""
    token: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9a-f]+$")]
    """Names this attempt at this work, in logs and in what is left outside."""
    generation: Annotated[int, Field(ge=0)]
    """The `metadata.generation` that it was begun for."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Counts from 1 for each generation."""
    node: Annotated[str, Field(max_length=253)] | None = None
    """Where it runs."""
    vmid: Annotated[int, Field(ge=1)] | None = None
    """The VMID that it creates or changes."""
    volid: Annotated[str, Field(max_length=1024)] | None = None
    """The volume that it creates or changes."""
    handle: Annotated[str, Field(max_length=512)] | None = None
    """What the outside calls it: a task's UPID, or the key of a fetch."""
    started_at: Timestamp
    """When it was intended."""
    progress: Progress | None = None
    """How far it has come, as last written."""


def token(uid: str, *, generation: int, attempt: int, type: str, started_at: datetime) -> str:
    """16 hex digits that name this attempt and no other, not even the same work begun again later."""
    return sha256(f"{uid}/{generation}/{attempt}/{type}/{started_at.isoformat()}".encode()).hexdigest()[:16]


def next_attempt(previous: Operation | None, *, type: str, generation: int) -> int:
    """The number of the next attempt, after `previous` failed or came to nothing."""
    if previous is None or previous.type != type or previous.generation != generation:
        return 1
    return previous.attempt + 1


def intend(
    type: str,
    *,
    uid: str,
    generation: int,
    now: datetime,
    attempt: int = 1,
    node: str | None = None,
    vmid: int | None = None,
    volid: str | None = None,
) -> Operation:
    """The record to store before the call is made."""
    return Operation(
        type=type,
        token=token(uid, generation=generation, attempt=attempt, type=type, started_at=now),
        generation=generation,
        attempt=attempt,
        node=node,
        vmid=vmid,
        volid=volid,
        started_at=now,
    )


def run(operation: Operation, handle: str) -> Operation:
    """The record once the outside has taken the work. Raises ValueError if it runs already under another handle."""
    if operation.phase is OperationPhase.RUNNING and operation.handle != handle:
        raise ValueError(f"operation {operation.token} runs as {operation.handle!r} already, and cannot as {handle!r}")
    return operation.model_copy(update={"phase": OperationPhase.RUNNING, "handle": handle})


def progress(
    operation: Operation,
    *,
    now: datetime,
    percent: int | None = None,
    done_bytes: int | None = None,
    total_bytes: int | None = None,
) -> Operation:
    """The record with new progress, or the same one if that is not yet worth a write.

    `percent` is computed if bytes and their total are known.
    """
    if percent is None and done_bytes is not None and total_bytes:
        percent = min(100, done_bytes * 100 // total_bytes)
    seen = Progress(percent=percent, bytes=done_bytes, total_bytes=total_bytes, updated_at=now)
    return operation.model_copy(update={"progress": seen}) if _worth_writing(operation, seen) else operation


def _worth_writing(operation: Operation, seen: Progress) -> bool:
    last = operation.progress
    written_at = last.updated_at if last else operation.started_at
    if (seen.updated_at - written_at).total_seconds() < PROGRESS_SECONDS:
        return False
    before = last.percent if last else None
    if seen.percent is None:
        # The whole is unknown: there is nothing to take a share of, only to see whether it still moves.
        return before is not None or last is None or seen.bytes != last.bytes
    return abs(seen.percent - (before or 0)) >= PROGRESS_PERCENT
