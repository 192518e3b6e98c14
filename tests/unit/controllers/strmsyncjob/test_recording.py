"""What stands in the status after runs: bounded, whatever runs say, and enough to ask for a run again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from pantograph.api.meta import to_body
from pantograph.api.run import RunInventory, RunIssue, RunProgress, RunResult
from pantograph.api.strmstatus import RunStatus, StrmSyncJobStatus
from pantograph.controllers.runs.port import RunState
from pantograph.controllers.strmsyncjob.recording import (
    STATUS_BYTES,
    fit,
    follow_progress,
    is_whole,
    record,
    request_of,
    scope_of,
    wish_of,
)
from pantograph.controllers.strmsyncjob.wishes import Cause, Wish
from pantograph.strm.subtrees import Subtrees

NOW = datetime(2026, 11, 26, 3, tzinfo=UTC)


def a_run(number: int = 0, *, trigger: str = "manual", **request: object) -> RunStatus:
    return RunStatus.model_validate(
        {"id": f"{number:016x}", "trigger": trigger, "started_at": NOW, "updated_at": NOW, **request}
    )


def size(status: StrmSyncJobStatus) -> int:
    return len(json.dumps(to_body(status), ensure_ascii=False, separators=(",", ":")).encode())


TEXTS = st.text(max_size=1024)
RESULTS = st.builds(
    RunResult,
    result=st.sampled_from(["Succeeded", "Degraded", "Blocked", "Failed", "Cancelled"]),
    reason=st.text(max_size=64),
    message=TEXTS,
    remedy=TEXTS,
    prune_blocked=TEXTS,
    created=st.integers(0, 10**12),
    candidates_digest=st.just("f" * 128),
    samples=st.lists(st.builds(RunIssue, reason=st.text(max_size=64), path=TEXTS, message=TEXTS), max_size=10),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(RESULTS, min_size=1, max_size=15))
def test_a_status_never_grows_beyond_its_budget_and_keeps_the_last_run(results: list[RunResult]) -> None:
    status = StrmSyncJobStatus()
    for number, result in enumerate(results):
        record(status, a_run(number), result, NOW)
        assert size(status) <= STATUS_BYTES
        assert status.last_run is not None
        assert status.last_run.id == f"{number:016x}"
        StrmSyncJobStatus.model_validate(to_body(status))  # the API server's bounds hold as well


PATHS = st.builds(lambda letter, length: letter * length, st.characters(codec="utf-8"), st.integers(1, 3000))
LONG_PATHS = st.lists(PATHS, min_size=1, max_size=20)


@settings(deadline=None, max_examples=50)
@given(LONG_PATHS, st.lists(RESULTS, min_size=11, max_size=11))
def test_parts_of_any_length_fit_into_the_budget_and_what_is_not_kept_becomes_the_whole(
    paths: list[str], results: list[RunResult]
) -> None:
    wish = Wish(trigger="watch", causes=frozenset({Cause.HINTS}), scope=Subtrees(tuple(dict.fromkeys(paths))))
    status = StrmSyncJobStatus()
    for number, result in enumerate(results):
        request = request_of(wish, run=f"{number:016x}", dry_run=False)
        status.run = RunStatus(**request.model_dump(), started_at=NOW, updated_at=NOW)
        fit(status)
        assert size(status) <= STATUS_BYTES
        StrmSyncJobStatus.model_validate(to_body(status))
        assert not is_whole(status.run)
        assert scope_of(status.run).is_whole or scope_of(status.run) == wish.scope
        record(status, status.run, result, NOW)
        assert size(status) <= STATUS_BYTES


def test_earlier_runs_are_kept_but_not_those_that_followed_a_change_and_found_nothing() -> None:
    status = StrmSyncJobStatus()
    for number in range(3):
        record(status, a_run(number), RunResult(result="Succeeded"), NOW)
    for number in range(10, 20):
        record(status, a_run(number, trigger="watch"), RunResult(result="Succeeded", unchanged=4), NOW)
    record(status, a_run(20, trigger="watch"), RunResult(result="Succeeded", created=1), NOW)
    record(status, a_run(21), RunResult(result="Succeeded"), NOW)
    assert [int(each.id, 16) for each in status.history or ()] == [20, 2, 1, 0]


def test_failures_are_counted_and_a_failed_run_says_nothing_of_the_inventory() -> None:
    status = StrmSyncJobStatus()
    record(status, a_run(), RunResult(result="Succeeded", inventory=RunInventory(strm=7)), NOW)
    for number in (1, 2):
        record(status, a_run(number), RunResult(result="Failed", reason="Unreachable"), NOW + timedelta(hours=number))
    assert (status.consecutive_failures, status.last_success_time) == (2, NOW)
    assert status.inventory is not None
    assert status.inventory.strm == 7
    record(status, a_run(3), RunResult(result="Cancelled"), NOW)
    assert status.consecutive_failures == 2
    record(status, a_run(4), RunResult(result="Blocked", reason="PruneBlocked"), NOW)
    assert (status.consecutive_failures, status.last_success_time) == (0, NOW)


def test_a_run_that_only_tells_media_servers_is_no_last_run() -> None:
    status = StrmSyncJobStatus()
    due = NOW + timedelta(minutes=1)
    record(status, a_run(0), RunResult(result="Succeeded", created=5, notify_due=due), NOW)
    assert status.last_run is not None
    assert status.last_run.notify_due == due
    record(status, a_run(1, notify_only=True), RunResult(result="Failed", reason="Unreachable"), due)
    assert (status.last_run.id, status.consecutive_failures) == (f"{0:016x}", 0)
    assert status.last_run.notify_due == due + timedelta(minutes=5)
    record(status, a_run(2, notify_only=True), RunResult(result="Succeeded"), due)
    assert status.last_run.notify_due is None
    assert status.last_run.created == 5


SCOPES = st.builds(
    Subtrees, st.lists(st.text(min_size=1, max_size=20), max_size=8, unique=True).map(tuple), st.booleans()
)


@given(SCOPES, st.booleans(), st.booleans())
def test_a_run_can_be_asked_for_again_from_the_status_and_looks_at_no_less(
    scope: Subtrees, approve: bool, rebuild: bool
) -> None:
    wish = Wish(
        trigger="manual",
        causes=frozenset({Cause.REQUEST}),
        scope=scope,
        approve_prune=("one", "digest") if approve else None,
        rebuild_manifest=rebuild,
    )
    request = request_of(wish, run="0", dry_run=False)
    again = wish_of(request)
    assert (again.trigger, again.approve_prune, again.rebuild_manifest) == ("manual", wish.approve_prune, rebuild)
    kept = scope_of(request)
    assert kept.is_whole or (kept.paths, kept.shallow) == (scope.paths, scope.shallow)
    assert kept.is_whole or not scope.is_whole


def test_what_did_not_change_is_not_written() -> None:
    run = a_run()
    state = RunState(running=True, progress=RunProgress(phase="List", dirs_done=3, dirs_known=9))
    seen = follow_progress(run, state, NOW + timedelta(seconds=30))
    assert (seen.dirs_done, seen.updated_at) == (3, NOW + timedelta(seconds=30))
    assert follow_progress(seen, state, NOW + timedelta(seconds=60)) is seen
    stuck = follow_progress(seen, RunState(running=True, fault="no node has room"), NOW)
    assert (stuck.waits_for, stuck.dirs_done) == ("no node has room", 3)


def test_what_media_servers_were_told_and_what_was_not_listed_stands_in_the_last_run() -> None:
    status = StrmSyncJobStatus()
    record(status, a_run(1), RunResult(result="Succeeded", notified=3, unlisted_dirs=70), NOW)
    record(status, a_run(2, notify_only=True), RunResult(result="Succeeded", notified=4), NOW)
    assert status.last_run is not None
    assert (status.last_run.id, status.last_run.notified, status.last_run.unlisted_dirs) == (f"{1:016x}", 7, 70)
