"""The port between the StrmSyncJob's controller, which decides about runs, and whatever executes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from pantograph.api.dataserver import DataServer
from pantograph.api.meta import Key
from pantograph.api.run import RunProgress, RunResult
from pantograph.api.strmsyncjob import StrmSyncJob


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """Everything that one run is to do."""

    id: str
    """The operation's token: names the run in status, logs, trash and approvals."""
    job: StrmSyncJob
    server: DataServer
    trigger: Literal["manual", "cron", "watch"]
    scope: tuple[str, ...] = ()
    """Subtrees of the source, relative to it; empty: the whole."""
    shallow: bool = False
    """Of each subtree only the directory itself and what is new in it: enough for a change that was told of."""
    dry_run: bool = False
    approve_prune: tuple[str, str] | None = None
    """The run whose candidates are approved, and their digest."""
    approve_rewrite: str | None = None
    """The run whose rewrites are approved."""
    rebuild_manifest: bool = False
    purge: bool = False
    """Remove what the job owns, because the job itself is being deleted with `deletionPolicy: Delete`."""
    expect_records: bool = False
    """It is known to own files: a target without its records is not the target."""
    notify_only: bool = False
    """List nothing: deliver the notifications that an earlier run owes."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A run at work that should have said something long ago."""

    since: datetime
    """When it was heard last; after a restart of the operator, since when it was listened for."""
    fault: str
    """With what is known of it; stable text."""
    remedy: str


@dataclass(frozen=True, slots=True)
class RunState:
    """What is known of a run."""

    running: bool
    """False: it has ended, or has reported its result and is about to."""
    progress: RunProgress | None = None
    """As last reported; None: nothing yet."""
    result: RunResult | None = None
    fault: str = ""
    """While it runs: why it does not get on (its pod cannot be scheduled). Ended without a result: what ended it."""
    silence: Silence | None = None
    """While it runs; `fault` says the same."""


class Runs(Protocol):
    """Runs under way. Every method may be repeated, by another process too; all raise StepErrors and KubeErrors."""

    async def start(self, order: RunOrder) -> str:
        """Begin the run and return its handle; a run of this id that was begun already is not begun again.

        Raises Terminal or Waiting for what stands against it: a root that is not there or not open to the namespace, a
        Secret that is missing, volumes that no one place can mount.
        """
        ...

    async def find(self, key: Key, run: str) -> str | None:
        """The handle of a run whose start was interrupted; None: it was not begun (or ended with its process)."""
        ...

    async def look(self, key: Key, run: str, handle: str) -> RunState | None:
        """What is known of the run; None: it is gone or was told to end, and a new one resumes where it stopped."""
        ...

    async def cancel(self, key: Key, run: str, handle: str) -> None:
        """Ask it to stop between two directories; by force after a grace. Its end shows in `look`."""
        ...

    async def forget(self, key: Key, run: str, handle: str) -> None:
        """Its result is in the object's status (or it has none): tell the run so, and drop what is known of it."""
        ...

    async def end(self, key: Key) -> None:
        """End whatever runs this job has, at once and for good, and drop what is known of them.

        After this no process of this one works for it; a Kubernetes Job is deleted, and its Pod has its grace to end.
        """
        ...
