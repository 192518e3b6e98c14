"""What this process knows of runs under way: what they last said, and what they are told when they report again.

All of it can be lost: a run says everything again with its next report, and who asked for it stands in the status.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pantograph.api.meta import Key
from pantograph.api.run import RunAnswer, RunProgress, RunReport, RunResult
from pantograph.clock import Clock
from pantograph.controllers.runs.cooldowns import Cooldowns

REMEMBERED: Final = 4096
"""How many runs whose result is recorded are kept by name: far more than can still be repeating it."""
SILENT_S: Final = 600.0
"""A run reports every 5 s, and again within 4 s where nobody answers. One that says nothing for so long hangs, or its
node is lost: an operator that moves to another node is back before, and so is a node that is started anew."""


@dataclass(slots=True)
class KnownRun:
    """One run under way."""

    id: str
    key: Key
    """The StrmSyncJob."""
    server: Key
    """The DataServer, whose rate the runs on it share."""
    quiet_since: float
    """When it was heard last, or could not say anything yet, by the monotonic clock."""
    quiet_from: datetime
    """The same by the clock on the wall."""
    secret_digest: bytes | None = None
    """Of the secret that a child process reports with; None: it is a Kubernetes Job."""
    progress: RunProgress | None = None
    result: RunResult | None = None
    heard: bool = False
    """It has reported at least once: it can be asked to stop."""
    cancelled_at: float | None = None
    recorded: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What is kept of a run that is over: it may say its result once more."""

    secret_digest: bytes | None = None
    """With what a child proves itself."""
    stored: bool = False


_NOTHING: Final = _Recorded()


class Registry:
    """One a process."""

    def __init__(
        self,
        *,
        clock: Clock,
        cooldowns: Cooldowns,
        limit_of: Callable[[Key], float | None],
        wake: Callable[[Key], None],
    ) -> None:
        """`limit_of`: the requests a minute that a DataServer takes (None: no limit); `wake`: look at this job."""
        self._clock = clock
        self._cooldowns = cooldowns
        self._limit_of = limit_of
        self._wake = wake
        self._runs: dict[str, KnownRun] = {}
        self._recorded: OrderedDict[str, _Recorded] = OrderedDict()

    def enter(self, run: str, *, key: Key, server: Key, secret: str | None = None) -> KnownRun:
        """Expect reports of this run. One that is known already stays as it is, but for a new secret."""
        fresh = KnownRun(run, key, server, self._clock.monotonic(), self._clock.now())
        known = self._runs.setdefault(run, fresh)
        if secret is not None:
            known.secret_digest = _digest(secret)
        return known

    def get(self, run: str) -> KnownRun | None:
        return self._runs.get(run)

    def opens(self, run: str, secret: str) -> bool:
        """Whether `secret` is the one that this child was given."""
        known = self._runs.get(run)
        digest = known.secret_digest if known else self._recorded.get(run, _NOTHING).secret_digest
        return digest is not None and hmac.compare_digest(digest, _digest(secret))

    def is_child(self, run: str) -> bool:
        """Whether it proves itself by a secret, so that no pod can be it."""
        known = self._runs.get(run)
        return (known.secret_digest if known else self._recorded.get(run, _NOTHING).secret_digest) is not None

    def is_recorded(self, run: str) -> bool:
        return run in self._recorded

    def hear(self, run: str, report: RunReport) -> None:
        """Take in what a known run says, and have its job looked at."""
        known = self._runs[run]
        known.heard = True
        self.excuse(run)
        if report.cooldown is not None:
            self._cooldowns.cool(known.server, report.cooldown.seconds, report.cooldown.why)
        if report.progress is not None:
            known.progress = report.progress
        if report.result is not None:
            known.result = report.result
        self._wake(known.key)

    def excuse(self, run: str) -> None:
        """That it has said nothing until now means nothing: it was heard, or its process has not begun."""
        if (known := self._runs.get(run)) is not None:
            known.quiet_since, known.quiet_from = self._clock.monotonic(), self._clock.now()

    def silent_since(self, run: str) -> datetime | None:
        """Since when nothing was heard of it, if that is for longer than a run at work is silent."""
        known = self._runs.get(run)
        if known is None or self._clock.monotonic() - known.quiet_since < SILENT_S:
            return None
        return known.quiet_from

    def answer(self, run: str) -> RunAnswer:
        """What the run is told now."""
        known = self._runs.get(run)
        if known is None:
            # Nobody asks for it (any more): if it still works, it works for nothing.
            return RunAnswer(action="Cancel", recorded=True, stored=self._recorded.get(run, _NOTHING).stored)
        return RunAnswer(
            action="Continue" if known.cancelled_at is None else "Cancel",
            requests_per_minute=self.share(known.server),
            cooldown=self._cooldowns.left(known.server),
        )

    def share(self, server: Key) -> float | None:
        """What each run on this server may ask for in a minute."""
        limit = self._limit_of(server)
        if limit is None:
            return None
        at_work = sum(each.server == server and each.result is None for each in self._runs.values())
        return limit / max(1, at_work)

    def cancel(self, run: str) -> float:
        """Tell it to stop when it reports next; the monotonic time at which that was first asked."""
        known = self._runs[run]
        if known.cancelled_at is None:
            known.cancelled_at = self._clock.monotonic()
        return known.cancelled_at

    def forget(self, run: str, *, stored: bool = False) -> None:
        """Its result is recorded (`stored`), or it is given up: it is told so if it reports again.

        Only what it reported itself counts as stored, not what was recorded in its place.
        """
        known = self._runs.pop(run, None)
        stored = stored and known is not None and known.result is not None
        before = self._recorded.get(run, _NOTHING)
        digest = known.secret_digest if known is not None else before.secret_digest
        self._recorded[run] = _Recorded(digest, stored or before.stored)
        if known is not None:
            known.recorded.set()
        if len(self._recorded) > REMEMBERED:
            self._recorded.popitem(last=False)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
