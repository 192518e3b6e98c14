"""Existing files are written anew only when everything is listed and their share of the library is known to be small.

A changed base URL, a broken server setting or a wrong mapping would otherwise make a media server probe every file.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Self

from pantograph.api.conditions import name_some
from pantograph.providers.media.port import Entry
from pantograph.strm.batch import MAX_WRITES, Batch, Work
from pantograph.strm.faults import fault_of_file
from pantograph.strm.manifest import Manifest
from pantograph.strm.merge import Write, digest_of
from pantograph.strm.removal import is_gone
from pantograph.strm.report import Issue, Report
from pantograph.strm.spec import Job
from pantograph.strm.target import OnDisk, Target, look_into
from pantograph.strm.wanted import WantedFile, below

_RENEWALS: Final = ("SignExpiring", "SignMissing")
"""Without these the link does not play any more: they count towards no limit."""

_ASKED: Final = "SELECT result FROM runs WHERE name=? AND shape=? AND state='Blocked' ORDER BY id DESC LIMIT 1"
_DONE: Final = "DELETE FROM rewrites WHERE dir=? AND name=?"


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
        for page in self._pages():
            for row in page:
                self._plan(row)
            await self.batch.flush()
            await asyncio.sleep(0)  # whoever reports for this process has its turn
            if self.stopped():
                return False
        return True

    def _pages(self) -> Iterator[list[tuple[Any, ...]]]:
        """What is left to do; each page is deleted with the commit of its files."""
        question = (
            "SELECT r.dir, r.name, r.text, r.remote, r.remote_size, r.remote_time, r.reason, r.found, d.path, d.local"
            " FROM rewrites r JOIN dirs d ON d.id=r.dir ORDER BY r.dir, r.name LIMIT ?"
        )
        while page := self.manifest.execute(question, (MAX_WRITES,)).fetchall():
            done = [(row[0], row[1]) for row in page]
            # After the files, or a kill between the two would forget what was to be written.
            self.batch.settlements.append(partial(self.manifest.executemany, _DONE, done))
            yield page

    def _plan(self, planned: tuple[Any, ...]) -> None:
        directory, name, text, remote, size, time, reason, replaced, path, local = planned
        try:
            there = self._look(local, name)
        except OSError as error:
            why = fault_of_file(self.target.root, error)
            self.report.note_failed(Issue("WriteFailed", below(local, name), why))
            return
        if there is None or not (digest_of(there[1]) == replaced or self._is_ours(directory, name, there[1])):
            self.report.skipped += 1
            self.report.note(Issue("Modified", below(local, name), "somebody changed it since it was compared"))
            return
        modified = None if time is None else datetime.fromtimestamp(time, UTC)
        entry = Entry(remote, path, False, size, modified)
        write = Write(WantedFile(name, "strm", entry, text), reason)
        self.batch.add(Work(directory, path, local, write, there[0]))

    def _look(self, local: str, name: str) -> tuple[OnDisk, bytes] | None:
        """The file's state and content, None for what is no `.strm`. Raises OSError for what could not be looked at."""
        try:
            fd = self.target.open(local)
            return None if fd is None else look_into(fd, name)
        except OSError as error:
            if not is_gone(error):
                raise
            return None

    def _is_ours(self, directory: int, name: str, content: bytes) -> bool:
        """Whether this is what a killed run put in the place of what was to be replaced."""
        row = self.manifest.files.at(directory, name)
        return row is not None and (content == b"" or row.owns(digest_of(content)))
