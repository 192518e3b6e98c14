"""The last phase of a run: media servers are told which folders changed, and whoever does not listen is told later.

Nothing here fails a run: what could not be told stays pending, and the report says when to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError
from pantograph.providers.notify.port import MediaServer
from pantograph.strm.changes import Changes, Telling
from pantograph.strm.folders import MediaServerRules
from pantograph.strm.report import Issue, Report

_FIRST_RETRY_S: Final = 60.0
_LAST_RETRY_S: Final = 3600.0
"""A media server that is switched off at night hears of it within the hour after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifying:
    """The Notify phase of one run."""

    rules: tuple[MediaServerRules, ...]
    servers: Mapping[str, MediaServer]
    """One for each of `rules`, by name."""
    changes: Changes
    report: Report
    now: Callable[[], datetime]
    stopped: Callable[[], bool]
    begins: Callable[[], None]
    """Called once, if there is somebody to be told something."""

    async def execute(self) -> None:
        """Tell who may be told now."""
        self.changes.forget_others()
        waiting = [each for each in self.rules if self.changes.are_pending(each.name)]
        if waiting:
            self.begins()
        for rules in waiting:
            await self._tell(rules)

    async def _tell(self, rules: MediaServerRules) -> None:
        now = self.now().timestamp()
        due = _due(rules, self.changes.last_telling(rules.name), now)
        if due > now or self.stopped():
            self._later(due)
            return
        folders, unmapped = rules.fold(self.changes.pending(rules.name))
        for local in unmapped:
            message = f"media server {rules.name} is not told of it: nothing in its pathMap fits"
            self.report.note(Issue("NotifyUnmapped", f"{rules.base}/{local}", message))
        try:
            if folders:
                await self.servers[rules.name].tell(folders)
        except ProviderError as error:
            telling = self.changes.not_told(rules.name, now)
            self._later(_due(rules, telling, now))
            message = f"{error.message}; {error.remedy}" if error.remedy else error.message
            self.report.notify_failed.append(Issue(error.reason, rules.name, message))
            return
        self.changes.told(rules.name, now)
        self.report.notified += len(folders)

    def _later(self, due: float) -> None:
        before = self.report.notify_due
        self.report.notify_due = due if before is None else min(before, due)


class Reminder:
    """For a process that goes on after a run: comes back when media servers are to be told what was left."""

    def __init__(self) -> None:
        self.alone = asyncio.Lock()
        """Held by whoever runs: a target takes one run at a time."""
        self._due: float | None = None
        self._set = asyncio.Event()

    def remind(self, due: float | None) -> None:
        """What the last run said: when to come back, seconds since 1970; None: nothing is left."""
        self._due = due
        self._set.set()

    async def follow(self, clock: Clock, tell: Callable[[], Awaitable[None]]) -> None:
        """Call `tell` whenever it is time, for ever."""
        while True:
            await self._set.wait()
            if self._due is None:
                self._set.clear()
                continue
            wait_s = self._due - clock.now().timestamp()
            if wait_s > 0:
                await clock.sleep(min(wait_s, _LAST_RETRY_S))
            elif self.alone.locked():  # the run that is under way tells as well
                self._set.clear()
            else:
                self._due = None
                await tell()


def _due(rules: MediaServerRules, last: Telling | None, now: float) -> float:
    """When the server may be told next. A clock that went back holds nothing up."""
    if last is None or last.at > now:
        return now
    if not last.failures:
        return last.at + rules.debounce_s
    return last.at + min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(last.failures - 1, 10))
