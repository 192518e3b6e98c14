"""What a run did, counted and sampled: the result that people and the operator read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, Literal

from pantograph.api.units import format_timestamp
from pantograph.providers.errors import ProviderError
from pantograph.strm.errors import StrmError

MAX_SAMPLES: Final = 10
MAX_MESSAGE: Final = 300
MAX_UNFINISHED: Final = 20
MAX_UNFINISHED_BYTES: Final = 2048

Result = Literal["Succeeded", "Degraded", "Blocked", "Failed", "Cancelled"]
"""`Degraded`: some directories or files failed; `Blocked`: something waits for a person's approval."""

Phase = Literal["List", "Apply", "Prune", "Notify"]


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that concerns one path."""

    reason: str
    path: str
    message: str


@dataclass(slots=True)
class Progress:
    """Where a run stands."""

    phase: Phase = "List"
    dirs_done: int = 0
    dirs_known: int = 0
    files_seen: int = 0
    percent: int | None = None
    """Of the directories that the last complete run found; None when there was none."""
    rate_limited_until: datetime | None = None
    """The server wants to be left alone until then; None: it answers."""


@dataclass(slots=True)
class Report:
    """One run's result."""

    run: str
    trigger: str
    result: Result = "Succeeded"
    reason: str = ""
    message: str = ""
    remedy: str = ""
    dry_run: bool = False
    """Nothing was written: the numbers say what would be."""
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    """Files that were left as they are on purpose: names refused, collisions lost, changed by somebody."""
    failed: int = 0
    """Files that could not be written or removed."""
    first_failure: str = ""
    """The first of them, and why; empty: it was in an earlier life of the run, or there is none."""
    pruned: int = 0
    prune_candidates: int = 0
    candidates_digest: str = ""
    prune_blocked: str = ""
    """Why no candidate was removed although there were some; empty: none was blocked."""
    pending_confirmation: int = 0
    remote_requests: int = 0
    incomplete_dirs: int = 0
    incomplete_samples: list[Issue] = field(default_factory=list)
    """The first of them, and why."""
    left: set[str] = field(default_factory=set)
    """Directories, relative to the source, that were not listed as a whole or in which a file was not written: as many
    of them as are worth a name."""
    times_left: int = 0
    """How often something was left in one of those."""
    unlisted_dirs: int = 0
    """Directories that were not listed, because their times had not changed (`update.verify: DirMtime`)."""
    rate_limited_until: datetime | None = None
    """The server asked to be left alone until then, when it was last met."""
    collisions: int = 0
    inventory_strm: int = 0
    inventory_sidecars: int = 0
    duration_s: float = 0.0
    kept: Counter[str] = field(default_factory=Counter)
    """Files whose bytes differ and that stay, by reason."""
    rewrites: Counter[str] = field(default_factory=Counter)
    """Files that were to be written anew, by reason."""
    samples: list[Issue] = field(default_factory=list)
    notified: int = 0
    """Folders that media servers were told of."""
    notify_due: float | None = None
    """When somebody should be told what is still pending (a run with `notify_only` does no more); seconds since 1970.
    None: everybody knows everything."""
    notify_failed: list[Issue] = field(default_factory=list)
    """Media servers, as `path`, that could not be told."""

    def fail(self, error: StrmError | ProviderError) -> None:
        """The run cannot go on."""
        self.result, self.reason, self.message, self.remedy = "Failed", error.reason, error.message, error.remedy or ""

    def note(self, issue: Issue) -> None:
        """Keep the first few, fit to be printed and stored whatever a remote name holds."""
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(_fit(issue))

    @property
    def unfinished(self) -> list[str]:
        """The directories in which something was left, if those are all and can be named; otherwise none."""
        can_be_named = (
            self.times_left == self.incomplete_dirs + self.failed
            and len(self.left) <= MAX_UNFINISHED
            and sum(len(each.encode(errors="replace")) for each in self.left) <= MAX_UNFINISHED_BYTES
            and all(each.isprintable() for each in self.left)
        )
        return sorted(self.left) if can_be_named else []

    @property
    def why_links_differ(self) -> list[str]:
        """Why existing links are written anew, and why others stay although they would be written otherwise today."""
        told = (("to be written anew", self.rewrites), ("left although they differ", self.kept))
        return [
            f"{counts.total()} links {what}: "
            + ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
            for what, counts in told
            if counts
        ]

    def note_failed(self, issue: Issue, *, directory: str | None = None) -> None:
        """A file that could not be written or removed. The run goes on, and says it in the end. `directory`: of the
        source, which needs another look; None: it is not known.
        """
        self.failed += 1
        self.note(issue)
        if not self.first_failure:
            self.first_failure = printable(f"{issue.path}: {issue.message}")
        if directory is not None:
            self._note_left(directory)

    def note_incomplete(self, issue: Issue, *, directory: str) -> None:
        """A directory that was not listed to its end: nothing in it may be judged."""
        self.incomplete_dirs += 1
        self._note_left(directory)
        self.note(issue)
        if len(self.incomplete_samples) < MAX_SAMPLES:
            self.incomplete_samples.append(_fit(issue))

    def _note_left(self, directory: str) -> None:
        self.times_left += 1
        if len(self.left) <= MAX_UNFINISHED:
            self.left.add(directory)

    def as_json(self) -> dict[str, Any]:
        """For machines; camelCase, bounded."""
        return {
            "run": self.run,
            "trigger": self.trigger,
            "dryRun": self.dry_run,
            "result": self.result,
            "reason": self.reason,
            "message": self.message[:MAX_MESSAGE],
            "remedy": self.remedy,
            "duration": round(self.duration_s, 3),
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            "failed": self.failed,
            "pruned": self.pruned,
            "pruneCandidates": self.prune_candidates,
            "candidatesDigest": self.candidates_digest,
            "pruneBlocked": self.prune_blocked,
            "pendingConfirmation": self.pending_confirmation,
            "remoteRequests": self.remote_requests,
            "incompleteDirs": self.incomplete_dirs,
            "incompleteSamples": [_issue_json(each) for each in self.incomplete_samples],
            "unfinished": self.unfinished,
            "unlistedDirs": self.unlisted_dirs,
            "rateLimitedUntil": self.rate_limited_until.isoformat() if self.rate_limited_until else None,
            "inventory": {
                "strm": self.inventory_strm,
                "sidecars": self.inventory_sidecars,
                "collisions": self.collisions,
            },
            "notified": self.notified,
            "notifyDue": None if self.notify_due is None else _timestamp(self.notify_due),
            "notifyFailed": [
                {"server": each.path, "reason": each.reason, "message": each.message[:MAX_MESSAGE]}
                for each in self.notify_failed
            ],
            "kept": dict(self.kept),
            "rewrites": dict(self.rewrites),
            "samples": [_issue_json(each) for each in self.samples],
        }


def _timestamp(seconds: float) -> str:
    """Not before it: who comes back then is not too early."""
    return format_timestamp(datetime.fromtimestamp(ceil(seconds), UTC))


def _fit(issue: Issue) -> Issue:
    return Issue(issue.reason, printable(issue.path), printable(issue.message))


def _issue_json(issue: Issue) -> dict[str, str]:
    return {"reason": issue.reason, "path": issue.path[:MAX_MESSAGE], "message": issue.message[:MAX_MESSAGE]}


def printable(text: str) -> str:
    """Whatever a name on a server holds: one line of what can be shown."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
