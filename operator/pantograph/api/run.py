"""What a run and the operator tell each other: `POST /v1/runs/{id}` with a `RunReport`, answered by a `RunAnswer`.

A run has no access to the Kubernetes API: this is its only way to say how far it is and what came of it. Fields are
only ever added, with a default: runner and operator may be of different versions for as long as a run takes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from pantograph.api.meta import Model
from pantograph.api.units import Timestamp

MAX_REPORT_BYTES: Final = 64 * 1024
"""A report that is larger is refused (413); the bounds below keep a sound one well under it."""
REPORT_EVERY_S: Final = 5.0
"""A run reports its progress at most so often, and besides at every change of phase."""
ANSWER_WITHIN_S: Final = 15.0
"""A run that has had no answer for so long goes on with the share that is safe without one."""
TOKEN_AUDIENCE: Final = "pantograph"  # noqa: S105 - a name, not a secret
"""What a run's ServiceAccount token is made for; the API server takes no such token for its own."""

INTERRUPTED: Final = "Interrupted"
"""Reason of a result that is no end: the run's process was told to end (a drained node, a stop of the operator)."""

Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(max_length=1024)]


class RunCooldown(Model):
    """The data server wants to be left alone: all runs on it stop asking."""

    seconds: Annotated[float, Field(ge=0, le=86_400)]
    """From now on: the clocks of two machines differ."""
    why: Text = ""


class RunProgress(Model):
    """Where a run stands."""

    phase: Literal["List", "Apply", "Prune", "Notify"] = "List"
    dirs_done: Count = 0
    dirs_known: Count = 0
    files_seen: Count = 0
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Of the directories that the last complete run found; absent when there was none."""


class RunIssue(Model):
    """Something that concerns one path."""

    reason: Annotated[str, Field(max_length=64)]
    path: Text
    message: Text


class RunInventory(Model):
    """What the target holds by this job."""

    strm: Count = 0
    sidecars: Count = 0
    collisions: Count = 0


class RunUntold(Model):
    """A media server that could not be told; it is tried again at the result's `notifyDue`."""

    server: Annotated[str, Field(max_length=63)]
    reason: Annotated[str, Field(max_length=64)]
    message: Text


class RunResult(Model):
    """What came of a run."""

    result: Literal["Succeeded", "Degraded", "Blocked", "Failed", "Cancelled"]
    """`Degraded`: some directories or files failed; `Blocked`: something waits for a person's approval."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why it is not `Succeeded`, as a condition's reason."""
    message: Text = ""
    remedy: Text = ""
    trigger: Annotated[str, Field(max_length=16)] = ""
    duration: Annotated[float, Field(ge=0)] = 0.0
    """Seconds."""
    created: Count = 0
    updated: Count = 0
    unchanged: Count = 0
    skipped: Count = 0
    failed: Count = 0
    pruned: Count = 0
    prune_candidates: Count = 0
    candidates_digest: Annotated[str, Field(max_length=128)] = ""
    """Names what `approve-prune` approves."""
    prune_blocked: Text = ""
    """Why no candidate was removed although there were some."""
    pending_confirmation: Count = 0
    remote_requests: Count = 0
    incomplete_dirs: Count = 0
    unfinished: Annotated[list[Annotated[str, Field(max_length=2048)]], Field(max_length=20)] = Field(
        default_factory=list
    )
    """The directories, relative to the source, of which something is left to be listed or written; none: nothing is, or
    (by `incompleteDirs` and `failed`) they are too many to name."""
    unlisted_dirs: Count = 0
    """Directories that were not listed, because their times had not changed."""
    inventory: RunInventory = Field(default_factory=RunInventory)
    samples: Annotated[list[RunIssue], Field(max_length=10)] = Field(default_factory=list)
    notified: Count = 0
    """Folders that media servers were told of."""
    notify_failed: Annotated[list[RunUntold], Field(max_length=8)] = Field(default_factory=list)
    notify_due: Timestamp | None = None
    """When media servers should be told what is still pending; absent: they know everything."""


class RunReport(Model):
    """What a run says: its progress while it works, its result at the end."""

    progress: RunProgress | None = None
    result: RunResult | None = None
    cooldown: RunCooldown | None = None
    """The server has told this run to leave it alone."""


class RunAnswer(Model):
    """What the operator answers."""

    action: Literal["Continue", "Cancel"] = "Continue"
    """`Cancel`: stop between two directories, report what was done, and end."""
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    """This run's share of what the server takes: its limit, divided by the runs at work on it. Absent: as before."""
    cooldown: RunCooldown | None = None
    """The server must be left alone, as any of its runs has reported."""
    recorded: bool = False
    """The run may end: its result is in the object's status, or nobody asks for it. Until then it repeats it."""
    stored: bool = False
    """The result is in the object's status for certain: nobody will ask for the same once more."""
