"""Three-way merge of one directory: what the source wants, what the manifest remembers, what lies on disk."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from pantograph.providers.media.links import sign_expiry
from pantograph.strm.compare import compare, sign_of
from pantograph.strm.manifest import FileRow
from pantograph.strm.report import Issue
from pantograph.strm.spec import Job
from pantograph.strm.target import OnDisk
from pantograph.strm.wanted import Wanted, WantedFile, below

DIGEST_BYTES = 16


class Rewrite(NamedTuple):
    """A `.strm` to be written anew."""

    file: WantedFile
    reason: str
    found: bytes
    """Digest of what it replaces."""


@dataclass(slots=True)
class Plan:
    """What is to be done in one directory. Nothing in it was done yet."""

    creates: list[WantedFile] = field(default_factory=list)
    """Links to be made."""
    copies: list[WantedFile] = field(default_factory=list)
    """Sidecars to be copied, for the first time or once more."""
    rewrites: list[Rewrite] = field(default_factory=list)
    """Of existing `.strm`: not before the share of all rewrites in the library is known."""
    records: list[FileRow] = field(default_factory=list)
    """Rows to be stored without any write: files adopted, or seen under new names, sizes and times."""
    unchanged: int = 0
    skipped: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    issues: list[Issue] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    """Digests of the `.strm` that stay as they are."""
    renew_at: float | None = None
    """When the first signature, in the files that stay or are made, must be renewed; seconds since 1970."""
    settled: bool = True
    """Nothing here needs another look while listing and disk stay as they are."""


def digest_of(content: bytes) -> bytes:
    """How the manifest remembers a content."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Merge:
    """One directory's merge. `read` gives a small file's content, None for what cannot be a `.strm`."""

    job: Job
    path: str
    rows: Mapping[str, FileRow]
    disk: Mapping[str, OnDisk]
    read: Callable[[str], bytes | None]
    digest: Callable[[str], bytes | None]
    """Of a file of any size; None if it cannot be read."""
    now: datetime
    complete: bool
    """The listing is proved whole. If not, things are only added: a winner might be among what did not come."""

    def plan(self, wanted: Wanted) -> Plan:
        plan = Plan()
        for file in wanted.files.values():
            if file.kind == "strm":
                self._strm(plan, file)
            else:
                self._sidecar(plan, file)
        return plan

    def _strm(self, plan: Plan, file: WantedFile) -> None:
        row, found = self.rows.get(file.name), self.disk.get(file.name)
        if found is None:
            plan.creates.append(file)
            self._note_renewal(plan, file.text)
            return
        if not found.regular:
            self._leave(plan, file, "Obstructed", "something that is no regular file has this name")
            return
        wanted_digest = digest_of(file.text)
        if row is not None and row.known_digest == wanted_digest and self._as_recorded(row, found):
            plan.unchanged += 1
            plan.contents[file.name] = wanted_digest
            self._note_renewal(plan, file.text)
            self._remember_remote(plan, row, file)
            return
        self._strm_that_differs(plan, file, row, found)

    def _strm_that_differs(self, plan: Plan, file: WantedFile, row: FileRow | None, found: OnDisk) -> None:
        content = self.read(file.name)
        verdict = None if content is None else compare(
            content,
            file.text,
            equivalent_bases=self.job.links.equivalent_bases,
            now=self.now,
            renew_before_s=self.job.links.renew_before_s,
        )  # fmt: skip
        if content is not None and verdict is not None and verdict.same:
            plan.unchanged += 1
            plan.contents[file.name] = digest_of(content)
            self._note_renewal(plan, content)
            if content != file.text:
                plan.kept[verdict.reason] += 1
            record = _record(file, digest_of(content), found)
            if row is None or row != replace(record, missing=row.missing, confirm=row.confirm):
                plan.records.append(record)
            return
        found_digest = None if content is None else digest_of(content)
        if row is None and self.job.on_foreign == "Adopt" and found_digest is not None and self.complete:
            plan.rewrites.append(Rewrite(file, "Foreign", found_digest))
            plan.settled = False
        elif row is None:
            self._leave(plan, file, "Foreign", "somebody else's file with another content has this name")
        elif found_digest is None or not (row.owns(found_digest) or content == b""):
            self._leave(plan, file, "Modified", "somebody changed this file")
        elif self.complete:
            plan.rewrites.append(Rewrite(file, verdict.reason if verdict else "ContentChanged", found_digest))
            plan.settled = False

    def _sidecar(self, plan: Plan, file: WantedFile) -> None:
        row, found = self.rows.get(file.name), self.disk.get(file.name)
        if found is None:
            plan.copies.append(file)
            return
        if not found.regular:
            self._leave(plan, file, "Obstructed", "something that is no regular file has this name")
            return
        if row is not None and row.intent is not None and self.digest(file.name) == row.intent:
            # Written, and the run ended before it could say so.
            row = _record(file, row.intent, found)
            plan.records.append(row)
        if self._sidecar_is_due(file, row, found):
            plan.copies.append(file)
        else:
            plan.unchanged += 1

    def _sidecar_is_due(self, file: WantedFile, row: FileRow | None, found: OnDisk) -> bool:
        policy = self.job.sidecars.policy
        if not self.complete or policy == "IfMissing":
            return False
        if row is None or row.digest is None:
            size, time = found.size, found.mtime_ns / 1e9
            return policy == "Overwrite" and self._sidecar_differs(file, size, time)
        changed_there = self._sidecar_differs(file, row.remote_size, row.remote_time)
        changed_here = (found.size, found.mtime_ns) != (row.size, row.mtime_ns)
        return (changed_there or changed_here) if policy == "Overwrite" else (changed_there and not changed_here)

    def _sidecar_differs(self, file: WantedFile, size: int | None, time: float | None) -> bool:
        rules, entry = self.job.sidecars, file.entry
        if size is None or abs((entry.size_bytes or 0) - size) > rules.size_tolerance:
            return True
        if entry.modified is None or time is None:  # a time that nobody knows is no difference
            return False
        return abs(entry.modified.timestamp() - time) > rules.time_tolerance_s

    def _as_recorded(self, row: FileRow, found: OnDisk) -> bool:
        if self.job.verify == "Content":
            content = self.read(row.name)
            return content is not None and digest_of(content) == row.digest
        return (found.size, found.mtime_ns) == (row.size, row.mtime_ns)

    def _note_renewal(self, plan: Plan, content: bytes) -> None:
        sign = sign_of(content)
        expiry = sign_expiry(sign) if sign else None
        if expiry is not None:
            due = expiry.timestamp() - self.job.links.renew_before_s
            plan.renew_at = due if plan.renew_at is None else min(plan.renew_at, due)

    def _remember_remote(self, plan: Plan, row: FileRow, file: WantedFile) -> None:
        found = self.disk[file.name]
        if row.remote != file.entry.name or (found.size, found.mtime_ns) != (row.size, row.mtime_ns):
            plan.records.append(_record(file, row.digest, found))

    def _leave(self, plan: Plan, file: WantedFile, reason: str, message: str) -> None:
        plan.skipped += 1
        plan.settled = False
        plan.issues.append(Issue(reason, below(self.path, file.name), message))


def _record(file: WantedFile, digest: bytes | None, found: OnDisk) -> FileRow:
    entry = file.entry
    return FileRow(
        name=file.name,
        kind=file.kind,
        remote=entry.name,
        digest=digest,
        size=found.size,
        mtime_ns=found.mtime_ns,
        remote_size=entry.size_bytes,
        remote_time=None if entry.modified is None else entry.modified.timestamp(),
    )
