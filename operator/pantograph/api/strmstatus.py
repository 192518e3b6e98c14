"""What a `StrmSyncJob` reports: the run at work, what the last ones did, and which requests were obeyed."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from pantograph.api.base import CommonStatus
from pantograph.api.markers import Atomic
from pantograph.api.meta import Model
from pantograph.api.units import Timestamp

MAX_HISTORY: Final = 10
MAX_SAMPLES: Final = 10
MAX_SCOPE: Final = 5
TOKEN_CHARACTERS: Final = 256

Trigger = Literal["manual", "cron", "watch"]
RunOutcome = Literal["Succeeded", "Degraded", "Blocked", "Failed", "Cancelled"]
Stopping = Literal["Requested", "Replaced", "Deleting"]

Count = Annotated[int, Field(ge=0)]
RunId = Annotated[str, Field(max_length=63)]
Reason = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=1024)]
Token = Annotated[str, Field(max_length=TOKEN_CHARACTERS)]
Digest = Annotated[str, Field(max_length=128)]
Subtrees = Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=MAX_SCOPE), Atomic()]


class RunRequest(Model):
    """What one run is asked to do: enough to ask for it again, should its process die."""

    id: RunId
    """Names the run in logs, in the trash and in approvals."""
    trigger: Trigger
    """Why it began; `manual` also for a spec that is new."""
    scope: Subtrees | None = None
    """The parts of the source that it looks at, the first of them if there are many; absent: the whole."""
    scope_size: Count | None = None
    """How many parts there are, if more than are shown."""
    shallow: bool | None = None
    """Of each part only the directory itself and what is new in it: it follows a change that was told of."""
    dry_run: bool | None = None
    """It writes nothing and only counts."""
    approved_run: RunId | None = None
    """The run whose candidates may be removed."""
    approved_digest: Digest | None = None
    """The digest of these candidates."""
    approved_rewrite: RunId | None = None
    """The run that asked, whose rewrites are approved."""
    rebuild_manifest: bool | None = None
    """It begins with empty records and adopts what is equal."""
    purge: bool | None = None
    """It removes what the job made."""
    notify_only: bool | None = None
    """It lists nothing and tells media servers what earlier runs changed."""


class RunStatus(RunRequest):
    """The run at work."""

    phase: Literal["List", "Apply", "Prune", "Notify"] | None = None
    """Where it is; absent: it has not said anything yet."""
    dirs_done: Count | None = None
    """Directories listed."""
    dirs_known: Count | None = None
    """Directories that it knows of, listed or not."""
    files_seen: Count | None = None
    """Files in them that are wanted."""
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Of the directories that the last complete run found; absent when there was none."""
    waits_for: Text | None = None
    """Why it does not get on, such as a pod that cannot be scheduled."""
    stopping: Stopping | None = None
    """Why it was asked to stop."""
    lives: Count | None = None
    """How often it was begun, if its process went and another took over."""
    server_uid: Annotated[str, Field(max_length=64)] | None = None
    """The uid of the DataServer with which it was begun."""
    server_generation: Count | None = None
    """That DataServer's generation then."""
    secret_version: Annotated[str, Field(max_length=64)] | None = None
    """The resourceVersion of the DataServer's Secret with which it was begun (`guest`: there is none): should the login
    be refused, nobody tries these credentials again."""
    started_at: Timestamp
    """When it was begun."""
    updated_at: Timestamp
    """When this was seen; it is written at most every five seconds."""


class RunSummary(Model):
    """One run that has ended."""

    id: RunId
    trigger: Trigger
    result: RunOutcome
    """`Degraded`: some directories or files failed; `Blocked`: something waits for an approval."""
    reason: Reason | None = None
    """Why it ended so, if there is more to say than `result`."""
    dry_run: bool | None = None
    """It wrote nothing; the counts are what it would have done."""
    purge: bool | None = None
    """It removed what the job had made."""
    ended_at: Timestamp
    """When its end was seen."""
    duration: Annotated[str, Field(max_length=32)]
    """How long it took."""
    created: Count = 0
    """Files made."""
    updated: Count = 0
    """Files written anew."""
    unchanged: Count = 0
    """Files that were as they should be."""
    skipped: Count = 0
    """Files left as they are on purpose: changed by somebody, names refused, collisions lost."""
    failed: Count = 0
    """Files that could not be written or removed."""
    pruned: Count = 0
    """Files that were removed."""
    prune_candidates: Count = 0
    """Files whose source is gone."""
    candidates_digest: Digest | None = None
    """What an approval of these candidates names."""
    remote_requests: Count = 0
    """Listings asked of the server."""
    incomplete_dirs: Count = 0
    """Directories that could not be listed as a whole: nothing in them was removed."""


class LastRun(RunSummary):
    """The run that ended last."""

    scope: Subtrees | None = None
    """The parts of the source that it looked at; absent: the whole."""
    approved_run: RunId | None = None
    """The run whose candidates were approved."""
    approved_digest: Digest | None = None
    """The digest of these candidates."""
    approved_rewrite: RunId | None = None
    """The run that asked, whose rewrites were approved."""
    message: Text | None = None
    """What it has to say."""
    remedy: Text | None = None
    """What mends it."""
    prune_blocked: Text | None = None
    """Why no candidate was removed."""
    pending_confirmation: Count = 0
    """Candidates that further runs must confirm."""
    unlisted_dirs: Count = 0
    """Directories that were not listed, because their times had not changed (`update.verify: DirMtime`)."""
    notified: Count = 0
    """Folders that media servers were told of, after the run too."""
    notify_due: Timestamp | None = None
    """When media servers are told what could not be told yet."""


class Inventory(Model):
    """What the target holds by this job."""

    strm: Count = 0
    """`.strm` files."""
    sidecars: Count = 0
    """Subtitles, nfo files and images copied beside them."""
    collisions: Count = 0
    """Files that have no `.strm` because another file has the same name without extension."""


class Sample(Model):
    """Something that concerns one path."""

    reason: Reason
    path: Text
    message: Text


class LastHandled(Model):
    """The annotations that were obeyed, each by the value that was; the same value does nothing again.

    Approvals stand here when they are used up.
    """

    reconcile_at: Token | None = None
    """`pantograph.dev/reconcile-at` as a request for a run."""
    cancel: Token | None = None
    approve_prune: Token | None = None
    approve_rewrite: Token | None = None
    rebuild_manifest: Token | None = None


class Asked(Model):
    """A run that waits for an approval, until one is given or a run over the whole source needs none."""

    run: RunId
    """What the approval names."""
    reason: Reason
    message: Text | None = None
    candidates_digest: Digest | None = None
    """What an approval of its candidates names."""


class Alerted(Model):
    """The fault that people were told of last, until it is mended and they were told that."""

    run: RunId | None = None
    """Absent: none could begin."""
    missed: Timestamp | None = None
    """The time of the schedule at which none could begin; absent: it was not for want of the server."""
    result: RunOutcome
    reason: Reason
    at: Timestamp


class StrmSyncJobStatus(CommonStatus):
    """The run at work and what the last ones did."""

    run: RunStatus | None = None
    """The run at work, or about to be begun."""
    last_run: LastRun | None = None
    """The run that ended last."""
    history: Annotated[list[RunSummary], Field(max_length=MAX_HISTORY), Atomic()] | None = None
    """Runs before the last, the newest first; without those that followed a change and found nothing to do."""
    inventory: Inventory | None = None
    next_run_time: Timestamp | None = None
    """When `schedule.cron` begins a run next, `jitter` included."""
    last_success_time: Timestamp | None = None
    """When a run ended Succeeded or Degraded last."""
    consecutive_failures: Count = 0
    """Runs that failed since the last that did not."""
    samples: Annotated[list[Sample], Field(max_length=MAX_SAMPLES), Atomic()] | None = None
    """What the last run had to say about single paths, the first of it."""
    last_handled: LastHandled | None = None
    blocked: Asked | None = None
    alerted: Alerted | None = None
    applied_digest: Annotated[str, Field(max_length=64)] | None = None
    """Of the spec for which a whole run was begun; another one begins a run."""
    judged_digest: Annotated[str, Field(max_length=64)] | None = None
    """Of the spec for which a whole run has ended: what `Ready` speaks of."""
    schedule_digest: Annotated[str, Field(max_length=64)] | None = None
    """Of the schedule that `nextRunTime` comes from."""
