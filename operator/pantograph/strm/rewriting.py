"""Existing files are written anew only when everything is listed and their share of the library is known to be small.

A changed base URL, a broken server setting or a wrong mapping would otherwise make a media server probe every file.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Final, Self

from pantograph.api.conditions import name_some
from pantograph.providers.media.port import Entry
from pantograph.strm.batch import PAGE, Batch, Work
from pantograph.strm.faults import fault_of_file
from pantograph.strm.manifest import Deferred, Manifest
from pantograph.strm.merge import digest_of
from pantograph.strm.removal import is_gone
from pantograph.strm.report import Issue, Report
from pantograph.strm.spec import Job
from pantograph.strm.target import OnDisk, Target, look, look_into
from pantograph.strm.wanted import WantedFile, below

_RENEWALS: Final = ("SignExpiring", "SignMissing")
"""Without these the link does not play any more: they count towards no limit."""

_ASKED: Final = "SELECT result FROM runs WHERE name=? AND shape=? AND state='Blocked' ORDER BY id DESC LIMIT 1"


@dataclass(slots=True)
class Allowance:
    """What a person approved: as many rewrites, by reason, as a named run had counted when it asked."""

    run: str
    left: Counter[str] | None
    """None: no such run has asked."""

    @classmethod
    def of(cls, manifest: Manifest, run: str, *, shape: str) -> Self:
        """What the run with this name has asked for, under the spec as it is now."""
        row = manifest.execute(_ASKED, (run, shape)).fetchone()
        said = json.loads(row[0]) if row is not None and row[0] else {}
        return cls(run, Counter(said["rewrites"]) if said.get("reason") == "RewriteLimit" else None)

    def takes(self, wanted: Counter[str]) -> bool:
        """Whether that is within it; then it is used up by so much."""
        if self.left is None or not wanted <= self.left:
            return False
        self.left = self.left - wanted
        return True

    @property
    def why(self) -> str:
        """Why it does not help."""
        if self.left is None:
            return f"run {self.run} has not asked under this spec, so nothing is approved"
        return f"run {self.run} asked for {self.left.total()}, and not for these"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """The deferred rewrites of one run."""

    job: Job
    target: Target
    manifest: Manifest
    batch: Batch
    report: Report
    existing: int | None
    """Our `.strm` files before this run, if an earlier life of it has made some since."""
    stopped: Callable[[], bool]
    approved: Allowance | None = None
    """By a person; it grows less with what is rewritten."""

    async def execute(self) -> bool:
        """Write them all; False: none because they are too many, or not all because the run was stopped."""
        counted = Counter(dict(self.manifest.select("SELECT reason, count(*) FROM rewrites GROUP BY reason")))
        limited = Counter({reason: count for reason, count in counted.items() if reason not in _RENEWALS})
        existing = self.existing
        if existing is None:
            existing = self.manifest.files.inventory().get("strm", 0) - self.report.created
        allowed = max(1, existing * self.job.max_rewrite_percent // 100)
        if limited.total() > allowed and not (self.approved and self.approved.takes(limited)):
            self.report.reason = "RewriteLimit"
            reasons = name_some(f"{count} {reason}" for reason, count in sorted(limited.items()))
            self.report.message = (
                f"{limited.total()} of {existing} files would be written anew ({reasons}); the limit allows {allowed}"
                + (f"; {self.approved.why}" if self.approved else "")
            )
            self.report.remedy = f"look at the reasons, then approve them: --approve-rewrite {self.report.run}"
            self.report.rewrites = counted  # an approval of this run goes by it, also if another process began to count
            return False
        while page := self.manifest.frontier.deferred(PAGE):
            for (path, local), of_directory in groupby(page, key=itemgetter(1, 2)):
                self._plan(path, local, [rewrite for rewrite, _, _ in of_directory])
            # After the files, or a kill between the two would forget what was to be written.
            self.batch.settlements.append(partial(self.manifest.frontier.drop_rewrites, page[-1][0]))
            await self.batch.flush()
            await asyncio.sleep(0)  # whoever reports for this process has its turn
            if self.stopped():
                return False
        return True

    def _plan(self, path: str, local: str, rewrites: list[Deferred]) -> None:
        """Those of one directory."""
        work = Work(directory=rewrites[0].dir, path=path, local=local, links=[])
        for rewrite in rewrites:
            there = self._there(local, rewrite)
            if there is not None:
                work.there[rewrite.name] = there
                work.links.append(_wanted(path, rewrite))
        if work.links:
            # Or the links of a spec that comes back, of equal length and kept times, would pass for what lies there.
            self.manifest.directories.drop_short_cut(work.directory)
            self.batch.add(work)

    def _there(self, local: str, rewrite: Deferred) -> OnDisk | None:
        """The file's state; None if it is not to be replaced, and that is reported."""
        try:
            there = self._as_compared(local, rewrite)
        except OSError as error:
            why = fault_of_file(self.target.root, error)
            self.report.note_failed(Issue("WriteFailed", below(local, rewrite.name), why))
            return None
        if there is None:
            self.report.skipped += 1
            self.report.note(Issue("Modified", below(local, rewrite.name), "somebody changed it since it was compared"))
        return there

    def _as_compared(self, local: str, rewrite: Deferred) -> OnDisk | None:
        """The file's state; None if it holds neither what is to be replaced nor what a killed run put in its place.

        Raises OSError for what could not be looked at.
        """
        try:
            fd = self.target.open(local)
            if fd is None:
                return None
            if self._states_suffice:
                there = look(fd, rewrite.name)
                if there == (True, rewrite.size, rewrite.mtime_ns):
                    return there
            found = look_into(fd, rewrite.name)
        except OSError as error:
            if not is_gone(error):
                raise
            return None
        return found[0] if found is not None and self._may_be_replaced(rewrite, found[1]) else None

    @property
    def _states_suffice(self) -> bool:
        """A file of the same size and time holds what was compared: not if the spec wants it read, or a cache tells."""
        return self.job.verify != "Content" and not self.target.is_remote

    def _may_be_replaced(self, rewrite: Deferred, content: bytes) -> bool:
        digest = digest_of(content)
        if digest == rewrite.found:
            return True
        row = self.manifest.files.at(rewrite.dir, rewrite.name)
        return row is not None and (content == b"" or row.owns(digest))


def _wanted(path: str, rewrite: Deferred) -> WantedFile:
    modified = None if rewrite.remote_time is None else datetime.fromtimestamp(rewrite.remote_time, UTC)
    entry = Entry(rewrite.remote, path, False, rewrite.remote_size, modified)
    return WantedFile(rewrite.name, "strm", entry, rewrite.text)
