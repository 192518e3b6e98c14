"""Links made anew from the records, without a question to the source: for another base, encoding, prefix or mapping.

A listing of all of a large library takes hours at the rate that a cloud allows, and until it is done nothing plays.
What a link needs beside the records, its signature and pickcode, stands in the old link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any, Final

from pantograph.providers.errors import Rejected
from pantograph.providers.media.port import Entry, MediaSource, join
from pantograph.strm.batch import PAGE
from pantograph.strm.compare import compare, pickcode_of, sign_of
from pantograph.strm.manifest import RETIRED, Deferred, Manifest
from pantograph.strm.merge import digest_of
from pantograph.strm.report import Report
from pantograph.strm.spec import Job
from pantograph.strm.target import Target, look_into

_ROWS: Final = (
    "SELECT d.path, d.local, f.dir, f.name, f.remote, f.digest, f.remote_size, f.remote_time"
    " FROM files f JOIN dirs d ON d.id=f.dir"
    " WHERE f.kind='strm' AND f.digest IS NOT NULL AND f.reason IS NULL ORDER BY f.dir, f.name"
)
_BREATH: Final = 100
"""Directories between two looks at whether the run was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relinking:
    """Plans the rewrites of one run; `Rewriting` does them, within their limit."""

    job: Job
    source: MediaSource
    target: Target
    manifest: Manifest
    report: Report
    now: datetime
    cancelled: Callable[[], bool]

    async def plan(self) -> int:
        """How many files hold another link than they should. What somebody changed is not looked at."""
        planned = 0
        rows = self.manifest.select(_ROWS)
        for number, (_, files) in enumerate(groupby(rows, key=lambda row: row[2])):
            if number % _BREATH == 0:
                await asyncio.sleep(0)
                if self.cancelled():
                    break
            while some := list(islice(files, PAGE)):
                rewrites = [rewrite for row in some if (rewrite := self._plan(row)) is not None]
                if rewrites:
                    self.manifest.frontier.defer(rewrites)
                    self.report.rewrites.update(rewrite.reason for rewrite in rewrites)
                    planned += len(rewrites)
        return planned

    def _plan(self, row: tuple[Any, ...]) -> Deferred | None:
        path, local, directory, name, remote, digest, size, time = row
        if path.startswith(RETIRED):
            return None
        try:
            fd = self.target.open(local)
            found = None if fd is None else look_into(fd, name)
        except OSError:  # a link or a file where the directory was: the ordinary pass tells of it
            return None
        if found is None:
            return None
        there, content = found
        if digest_of(content) != digest:
            return None
        parent = join(self.job.source, path) if path else self.job.source
        modified = None if time is None else datetime.fromtimestamp(time, UTC)
        entry = Entry(remote, parent, False, size, modified, sign=sign_of(content), pickcode=pickcode_of(content))
        try:
            text = self.job.links.text(self.source, entry)
        except Rejected:  # the ordinary pass tells why
            return None
        verdict = compare(
            content,
            text,
            equivalent_bases=self.job.links.equivalent_bases,
            now=self.now,
            renew_before_s=self.job.links.renew_before_s,
        )
        # Which signature is due, only the server knows.
        if verdict.same or verdict.reason == "SignExpiring":
            return None
        return Deferred(
            directory, name, text, remote, size, time, verdict.reason, digest, there.size, there.mtime_ns
        )  # fmt: skip
