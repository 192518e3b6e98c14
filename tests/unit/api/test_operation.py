"""The operation record: its token, its transitions, and how often progress is worth a write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pantograph.api import operation as op
from pantograph.api.meta import to_body
from pantograph.api.operation import Operation, OperationPhase

NOON = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
UID = "3f0e1a52-9d2c-4a57-8f0e-0c8f5a1c2b3d"


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def importing() -> Operation:
    return op.run(op.intend("Import", uid=UID, generation=2, now=NOON, node="pve1", vmid=101), "UPID:pve1:1")


def test_an_intent_names_what_will_be_done_and_has_no_handle() -> None:
    intent = op.intend("Import", uid=UID, generation=2, now=NOON, node="pve1", vmid=101)
    assert to_body(intent) == {
        "type": "Import",
        "phase": "Intended",
        "token": intent.token,
        "generation": 2,
        "attempt": 1,
        "node": "pve1",
        "vmid": 101,
        "startedAt": "2026-11-26T12:00:00Z",
    }


@pytest.mark.parametrize(
    "other",
    [
        {"uid": "another"},
        {"generation": 3},
        {"attempt": 2},
        {"type": "Convert"},
        {"started_at": after(99)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_the_token_tells_other_work_apart(other: dict[str, Any]) -> None:
    same: dict[str, Any] = {"uid": UID, "generation": 2, "attempt": 1, "type": "Import", "started_at": after(0)}
    assert op.token(**same) == op.token(**same)
    assert op.token(**(same | other)) != op.token(**same)


def test_running_keeps_what_was_intended_and_adds_the_handle() -> None:
    intent = op.intend("Import", uid=UID, generation=2, now=NOON, vmid=101)
    running = op.run(intent, "UPID:pve1:1")
    assert (running.phase, running.handle) == (OperationPhase.RUNNING, "UPID:pve1:1")
    assert running.model_dump(exclude={"phase", "handle"}) == intent.model_dump(exclude={"phase", "handle"})
    assert (intent.phase, intent.handle) == (OperationPhase.INTENDED, None)


def test_a_handle_may_be_stored_again_but_never_replaced() -> None:
    running = importing()
    assert op.run(running, "UPID:pve1:1") == running
    with pytest.raises(ValueError, match="runs as 'UPID:pve1:1' already, and cannot as 'UPID:pve1:2'"):
        op.run(running, "UPID:pve1:2")


@pytest.mark.parametrize(("type", "generation", "attempt"), [("Import", 2, 2), ("Import", 3, 1), ("Convert", 2, 1)])
def test_attempts_count_within_one_generation_and_type(type: str, generation: int, attempt: int) -> None:
    assert op.next_attempt(importing(), type=type, generation=generation) == attempt


def test_the_first_attempt_is_the_first() -> None:
    assert op.next_attempt(None, type="Import", generation=1) == 1


@pytest.mark.parametrize(
    ("written", "seconds", "percent", "is_written"),
    [
        (None, 29, 80, False),
        (None, 30, 4, False),
        (None, 30, 5, True),
        (40, 29, 90, False),
        (40, 30, 44, False),
        (40, 30, 45, True),
        (40, 30, 35, True),
        (40, 3600, 44, False),
    ],
)
def test_progress_is_written_if_thirty_seconds_passed_and_five_percent_moved(
    written: int | None, seconds: int, percent: int, is_written: bool
) -> None:
    before, start = importing(), 0
    if written is not None:
        start = 100
        before = op.progress(before, now=after(start), percent=written)
        assert before.progress is not None
    seen = op.progress(before, now=after(start + seconds), percent=percent)
    assert (seen is not before) == is_written
    if is_written:
        assert seen.progress is not None
        assert (seen.progress.percent, seen.progress.updated_at) == (percent, after(start + seconds))


def test_percent_is_computed_from_bytes_and_never_exceeds_the_whole() -> None:
    half = op.progress(importing(), now=after(60), done_bytes=512, total_bytes=1024)
    over = op.progress(importing(), now=after(60), done_bytes=2048, total_bytes=1024)
    assert to_body(half)["progress"] == {
        "percent": 50,
        "bytes": 512,
        "totalBytes": 1024,
        "updatedAt": "2026-11-26T12:01:00Z",
    }
    assert over.progress is not None
    assert over.progress.percent == 100


def test_without_a_total_progress_is_written_every_thirty_seconds_while_bytes_move() -> None:
    first = op.progress(importing(), now=after(30), done_bytes=10)
    assert first.progress is not None
    assert op.progress(first, now=after(59), done_bytes=20) is first
    assert op.progress(first, now=after(60), done_bytes=10) is first
    second = op.progress(first, now=after(60), done_bytes=20)
    assert second.progress is not None
    assert second.progress.bytes == 20


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 100)), max_size=60))
def test_whatever_is_seen_writes_are_thirty_seconds_apart(steps: list[tuple[int, int]]) -> None:
    record, now, writes = importing(), 0, [0]
    for seconds, percent in steps:
        now += seconds
        seen = op.progress(record, now=after(now), percent=percent)
        if seen is not record:
            writes.append(now)
        record = seen
    assert all(later - earlier >= 30 for earlier, later in pairwise(writes))
