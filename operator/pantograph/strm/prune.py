"""Removes what the source no longer has: only ours, only unmodified, only below what this run proved complete.

Candidates are collected first, all of them, with the digest of what lies on disk; then judged as a whole; only then is
the first one removed, after it was looked at once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from pantograph.strm.candidates import (
    Removable,
    begin_list,
    candidates_of,
    digest_of_candidates,
    end_list,
    put_on_list,
    removable,
    run_before,
    run_named,
)
from pantograph.strm.limits import Situation, blocked
from pantograph.strm.manifest import FileRow, Manifest, Missing
from pantograph.strm.missing import RECONFIGURED, is_confirmed
from pantograph.strm.naming import SIDECAR_SEPARATORS, STRM
from pantograph.strm.removal import Remover, digest_on_disk
from pantograph.strm.report import Issue, Report, printable
from pantograph.strm.spec import PruneRules
from pantograph.strm.successors import Successor, successor_of
from pantograph.strm.target import Target
from pantograph.strm.wanted import below

logger = logging.getLogger(__name__)

MAX_LOGGED: Final = 1000
"""Twice what `prune.maxCount` lets go by default; `pantograph strm candidates` shows all of any number."""
_PAGE: Final = 500
_COLUMNS: Final = "f.dir, f.name, f.kind, f.remote, f.digest, f.intent, d.local, d.path"
_IN_LISTED_DIRECTORIES: Final = f"""
SELECT {_COLUMNS}, 0, f.confirm, f.reason, f.scans, f.since, f.counted FROM files f INDEXED BY files_missing
JOIN dirs d ON d.id = f.dir
WHERE f.reason IS NOT NULL AND d.proved_run = ? ORDER BY f.dir, f.name"""  # noqa: S608 - constants
_BELOW_GONE_DIRECTORIES: Final = f"""
WITH RECURSIVE gone (id, reason, scans, since, counted) AS (
  SELECT d.id, d.reason, d.scans, d.since, d.counted FROM dirs d JOIN dirs p ON p.id = d.parent
  WHERE d.reason IS NOT NULL AND p.proved_run = ?
  UNION
  SELECT c.id, g.reason, g.scans, g.since, g.counted FROM dirs c JOIN gone g ON c.parent = g.id)
SELECT {_COLUMNS}, 1, g.reason <> '{RECONFIGURED}', g.reason, g.scans, g.since, g.counted
FROM gone g CROSS JOIN files f ON f.dir = g.id JOIN dirs d ON d.id = f.dir ORDER BY f.dir, f.name"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A person's word for what a named run listed."""

    run: str
    digest: str | None = None
    """Of the candidates, as that run reported it; None: whatever it listed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file of ours whose source is gone."""

    directory: int
    row: FileRow
    local: str
    path: str
    """Of the directory, in the records."""
    whole: bool
    """A directory above it is gone, rather than the file alone."""
    confirm: bool
    missing: Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """One run's pruning."""

    manifest: Manifest
    target: Target
    remover: Remover
    rules: PruneRules
    run: int
    now: float
    report: Report
    stopped: Callable[[], bool]

    async def execute(self, approval: Approval | None, *, source_is_empty: bool) -> None:
        """Collect, judge, remove. Stopped before it has judged, it removes nothing."""
        if self.rules.mode == "Off":
            if approval is not None:
                self.report.prune_blocked = "prune.mode is Off: nothing is removed, approved or not"
            return
        if not await self._collect():
            return
        self._account()
        if approval is not None:
            await self._remove_approved(approval)
        else:
            await self._remove_ready(source_is_empty=source_is_empty)
        if self.rules.mode in ("Trash", "Delete") and self.rules.empty_dirs:
            self.remover.remove_empty_directories(self.run)
        self.manifest.commit()

    async def _collect(self) -> bool:
        """Whether all were looked at."""
        begin_list(self.manifest, self.run)
        target = None if self.remover.state is None else self.target
        # The second question answers also for what the first did: a directory that is gone outweighs its files.
        for question in (_IN_LISTED_DIRECTORIES, _BELOW_GONE_DIRECTORIES):
            cursor = self.manifest.execute(question.strip(), (self.run,))
            while rows := cursor.fetchmany(_PAGE):
                found = map(_candidate, rows)
                for path, group in groupby(found, key=lambda each: each.path):
                    successor = successor_of(self.manifest, target, path, run=self.run)
                    candidates = list(group)
                    films = self._films_beside(candidates)
                    for candidate in candidates:
                        if not _has_company(candidate, films):
                            self._consider(candidate, successor)
                if await self._is_over():
                    return False
        end_list(self.manifest, self.run)
        return True

    async def _is_over(self) -> bool:
        await asyncio.sleep(0)  # whoever reports for this process has its turn
        return self.stopped()

    def _consider(self, candidate: Candidate, successor: Successor | None) -> None:
        row, place = candidate.row, below(candidate.local, candidate.row.name)
        try:
            digest = digest_on_disk(self.target, candidate.local, row.name)
        except OSError as error:
            self.remover.keep(candidate.local, row.name, error)
            return
        if digest is None:
            self.manifest.files.forget(candidate.directory, row.name)
            return
        if not row.owns(digest):
            self.report.skipped += 1
            self.report.note(Issue("Modified", place, "its source is gone, but somebody changed it: it stays"))
            return
        if successor is not None and not (successor.proved or successor.has(row)):
            return
        certain = not candidate.confirm if successor is None else successor.has(row)
        ready = certain or is_confirmed(candidate.missing, rules=self.rules, now=self.now)
        put_on_list(
            self.manifest, place, digest, directory=candidate.directory, reason=candidate.missing.reason, ready=ready
        )

    def _films_beside(self, candidates: list[Candidate]) -> dict[str, bool]:
        """The films of their directory, without extension: whether each stays. Empty if no sidecar asks for them."""
        if all(candidate.row.kind != "sidecar" for candidate in candidates):
            return {}
        first = candidates[0]
        return {
            name.removesuffix(STRM): (row.missing is None and not first.whole) or self._is_changed(first.local, row)
            for name, row in self.manifest.files.of(first.directory).items()
            if row.kind == "strm"
        }

    def _is_changed(self, local: str, film: FileRow) -> bool:
        """By somebody, whose own it is now; or it cannot be told."""
        try:
            digest = digest_on_disk(self.target, local, film.name)
        except OSError:
            return True
        return digest is not None and not film.owns(digest)

    def _account(self) -> None:
        count, ready = 0, 0
        digest = self.report.candidates_digest = digest_of_candidates(self.manifest, self.run)
        before = run_before(self.manifest, self.run) if digest else None
        is_news = before is None or digest_of_candidates(self.manifest, before) != digest
        for each in candidates_of(self.manifest, self.run):
            count, ready = count + 1, ready + each.ready
            issue = Issue(each.reason, each.path, "its source is gone" if each.ready else "not confirmed yet")
            self.report.note(issue)
            if is_news and count <= MAX_LOGGED:
                logger.info("candidate %s %s: %s", issue.reason, printable(issue.path), issue.message)
        if count:
            shown = (
                "no others than before" if not is_news else f"the first {MAX_LOGGED}" if count > MAX_LOGGED else "all"
            )
            logger.info("%d candidates (logged: %s); pantograph strm candidates %s", count, shown, self.report.run)
        self.report.prune_candidates = count
        self.report.pending_confirmation = count - ready

    async def _remove_ready(self, *, source_is_empty: bool) -> None:
        recent = self.manifest.execute("SELECT sum(count) FROM prunes WHERE at > ?", (self.now - self.rules.min_age_s,))
        situation = Situation(
            inventory=sum(self.manifest.files.inventory().values()),
            candidates=self.report.prune_candidates,
            ready=self.report.prune_candidates - self.report.pending_confirmation,
            recent=recent.fetchone()[0] or 0,
            source_is_empty=source_is_empty,
        )
        self.report.prune_blocked = blocked(self.rules, situation)
        if self.report.prune_blocked or self.rules.mode == "Report":
            return
        await self._remove(removable(self.manifest, self.run), counts=True)

    async def _remove_approved(self, approval: Approval) -> None:
        found = run_named(self.manifest, approval.run)
        if found is None or found == self.run:
            self.report.prune_blocked = f"run {approval.run} is not known here: nothing was approved"
            return
        if approval.digest is not None and digest_of_candidates(self.manifest, found) != approval.digest:
            self.report.prune_blocked = f"run {approval.run} listed other candidates than those approved"
            return
        await self._remove(removable(self.manifest, self.run, approved=found), counts=False)

    async def _remove(self, candidates: list[Removable], *, counts: bool) -> None:
        for start in range(0, len(candidates), _PAGE):
            self._remove_page(candidates[start : start + _PAGE], counts=counts)
            if await self._is_over():
                return

    def _remove_page(self, page: list[Removable], *, counts: bool) -> None:
        """What went is counted also if the target fails before the page is done: later limits ask for it."""
        removed = 0
        self.remover.expect(directory for directory, *_ in page)
        try:
            for directory, name, digest, ready in page:
                gone = self.remover.remove(directory, name, digest)
                removed += gone
                if not ready:  # approved: it needs no confirmation any more
                    self.report.pending_confirmation -= gone
        finally:
            self.remover.changes.settle()
            self.report.pruned += removed
            if counts and removed:
                self.manifest.execute("INSERT INTO prunes VALUES (?,?)", (self.now, removed))
            self.manifest.commit()


def _has_company(candidate: Candidate, films: Mapping[str, bool]) -> bool:
    """A sidecar goes with its film and not before: whether one that it belongs to stays."""
    if candidate.row.kind != "sidecar":
        return False
    own = [stays for stem, stays in films.items() if _belongs(candidate.row.name, stem)]
    return any(own or films.values())


def _belongs(name: str, stem: str) -> bool:
    return name.startswith(stem) and name[len(stem) : len(stem) + 1] in tuple(SIDECAR_SEPARATORS)


def _candidate(row: tuple[Any, ...]) -> Candidate:
    directory, name, kind, remote, digest, intent, local, path, whole, confirm, *missing = row
    return Candidate(
        directory=directory,
        row=FileRow(name=name, kind=kind, remote=remote, digest=digest, intent=intent),
        local=local,
        path=path,
        whole=bool(whole),
        confirm=bool(confirm),
        missing=Missing(*missing),
    )
