"""Work is done in batches: intents are committed, files written, the file system synced, results committed.

A kill between any two of these leaves files that the manifest knows by what it intended, and a frontier that lists the
batch's directories once more. A run that finds nothing to do commits once a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError
from pantograph.providers.media.port import MediaSource
from pantograph.strm.changes import Changes, all_of
from pantograph.strm.faults import fault_of_file
from pantograph.strm.manifest import FrontierItem, Intent, Manifest, Record
from pantograph.strm.merge import digest_of
from pantograph.strm.quiet import Quieted
from pantograph.strm.report import Issue, Report
from pantograph.strm.target import OnDisk, Target
from pantograph.strm.wanted import WantedFile, below
from pantograph.strm.writing import Hand, NotWritten

MAX_DIRECTORIES: Final = 1000
MAX_WRITES: Final = 1000
MAX_AGE_S: Final = 10.0


@dataclass(slots=True)  # not frozen: one a file, and frozen ones take twice as long to make
class Work:
    """One file to be written in the directory with this id."""

    directory: int
    path: str
    """Of the directory, relative to the source."""
    local: str
    """Of the directory, relative to the target."""
    file: WantedFile
    expected: OnDisk | None
    """The file as the merge saw it."""
    quieted: Quieted | None = None
    """The directory, in which nothing is left to do once this is written."""


@dataclass(slots=True)
class Batch:
    """What was planned since the last commit."""

    target: Target
    manifest: Manifest
    writer: Hand
    source: MediaSource
    clock: Clock
    report: Report
    run: int
    sync: Callable[[int], None]
    changes: Changes
    works: deque[Work] = field(default_factory=deque)
    written: list[Record] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """Directories to be taken off the stored frontier."""
    planned: dict[str, FrontierItem] = field(default_factory=dict)
    """Directories, since the last commit."""
    proved: list[int] = field(default_factory=list)
    """Directories in which nothing was left to do."""
    added: dict[str, FrontierItem] = field(default_factory=dict)
    settlements: list[Callable[[], None]] = field(default_factory=list)
    """What may be said of the directories once their files are written: stored with the frontier, never before it."""
    began: float | None = None

    def add(self, work: Work) -> None:
        self.works.append(work)

    def finish_directory(self, directory: FrontierItem, found: list[FrontierItem]) -> None:
        """The directory was planned; `found` is to be listed after it."""
        if self.began is None:
            self.began = self.clock.monotonic()
        self.planned[directory.path] = directory
        if self.added.pop(directory.path, None) is None:
            self.done.append(directory.path)
        for item in found:
            self.added[item.path] = item

    @property
    def is_due(self) -> bool:
        if self.began is None:
            return False
        return (
            len(self.works) >= MAX_WRITES
            or len(self.planned) >= MAX_DIRECTORIES
            or self.clock.monotonic() - self.began >= MAX_AGE_S
        )

    async def flush(self) -> None:
        """Do what was planned. Raises StrmError if the target takes nothing more."""
        while self.works:
            # A directory may hold any number: what is done, and only that, is let go before the next is taken up.
            piece = self._piece()
            await self._write(piece)
            for _ in piece:
                self.works.popleft()
        for settle in self.settlements:
            settle()
        if self.proved:
            self.manifest.directories.prove(self.run, self.proved)
        self.manifest.frontier.move(done=self.done, added=self.added.values())
        self.manifest.commit()
        self.done, self.added, self.settlements, self.began = [], {}, [], None
        self.planned, self.proved = {}, []

    def _piece(self) -> list[Work]:
        """The next works: whole directories, so that a new one comes with all its files, or a part of a larger one."""
        piece = list(islice(self.works, MAX_WRITES))
        if len(piece) == len(self.works):
            return piece
        cut = self.works[len(piece)].local
        return [work for work in piece if work.local != cut] or piece

    async def flush_links(self) -> None:
        """Do what needs no further word from the source, which has none to give.

        Directories in which a sidecar was to be fetched are listed once more. Raises StrmError as `flush` does.
        """
        asking = {work.path for work in self.works if not _is_link(work)}
        self.works = deque(work for work in self.works if _is_link(work))
        self.done = [path for path in self.done if path not in asking]
        self.added |= {path: self.planned[path] for path in asking}
        await self.flush()

    async def _write(self, works: list[Work]) -> None:
        digests = [digest_of(work.file.text) for work in works]
        self.manifest.files.announce(
            [_intent(work, digest) for work, digest in zip(works, digests, strict=True) if _is_link(work)]
        )
        made = self._intend_directories(works)
        folders = all_of((work.local for work in works), "Modified")
        self.changes.expect(folders | all_of(made, "Created"))
        self.manifest.commit()
        try:
            for local, group in groupby(zip(works, digests, strict=True), key=_local):
                for work, digest in self._make_directory(local, list(group)) if local in made else group:
                    await self._write_one(work, digest)
        finally:  # what was written is known, even if the next file found no room
            self.manifest.files.fulfil(self.written)
            self.written = []
        self.changes.settle()
        self.sync(self.target.fd)

    def _intend_directories(self, works: list[Work]) -> set[str]:
        """What is not there now will be ours."""
        made: set[str] = set()
        for directory, local in {(work.directory, work.local) for work in works if work.local}:
            identity: int | None = directory
            path = local
            while identity is not None and path and path not in made and not self._exists(path):
                made.add(path)
                identity, path = self.manifest.directories.claim(identity), path.rpartition("/")[0]
        return made

    def _exists(self, local: str) -> bool:
        try:
            return self.target.open(local) is not None
        except OSError:
            return True

    def _make_directory(self, local: str, works: list[tuple[Work, bytes]]) -> list[tuple[Work, bytes]]:
        """Make a new directory with all that needs no word from the source; what of it is left to be written."""
        links = [(work, digest) for work, digest in works if _is_link(work)]
        if not links or any(work.expected is not None for work, _ in works):  # it was there, and is gone since
            return works
        states = self.writer.make_directory(local, [work.file for work, _ in links])
        if states is None:
            return works
        for (work, digest), state in zip(links, states, strict=True):
            self._note_written(work, digest, state)
        return [each for each in works if not _is_link(each[0])]

    async def _write_one(self, work: Work, digest: bytes) -> None:
        """`digest`: of the text that a `.strm` will hold."""
        file = work.file
        entry = file.entry
        try:
            if file.kind == "strm":
                staged = self.writer.stage(file.text, digest)
            else:
                staged = await self.writer.fetch(self.source, entry)
            if file.kind == "sidecar":
                # Its content is known only now; nobody may find it without the manifest knowing it as ours.
                self.manifest.files.intend([_intent(work, staged.digest)])
                self.manifest.commit()
            state = self.writer.place(staged, work.local, file.name, expected=work.expected, remote=entry)
        except (NotWritten, ProviderError, OSError) as error:
            self.writer.discard()
            self._failed(work, below(work.path, file.name), error)
            return
        self._note_written(work, staged.digest, state)

    def _note_written(self, work: Work, digest: bytes, state: OnDisk) -> None:
        """`digest`: of what the file holds now."""
        file = work.file
        entry = file.entry
        _, size, mtime_ns = state
        time = None if entry.modified is None else entry.modified.timestamp()
        self.written.append(
            Record(
                work.directory, file.name, file.kind, entry.name, digest, size, mtime_ns, entry.size_bytes, time
            )
        )  # fmt: skip
        if work.quieted is not None:
            work.quieted.files[file.name] = (size, mtime_ns, digest)
        self.changes.happened(work.local)
        if work.expected is None:
            self.report.created += 1
        else:
            self.report.updated += 1

    def _failed(self, work: Work, path: str, error: Exception) -> None:
        why = fault_of_file(self.target.root, error) if isinstance(error, OSError) else str(error)
        self.report.note_failed(Issue("WriteFailed", path, why), directory=work.path)
        # No short cut past this directory before it was written.
        self.settlements.append(lambda: self.manifest.directories.drop_short_cut(work.directory))


def _local(each: tuple[Work, bytes]) -> str:
    return each[0].local


def _is_link(work: Work) -> bool:
    return work.file.kind == "strm"


def _intent(work: Work, digest: bytes) -> Intent:
    file = work.file
    return Intent(work.directory, file.name, file.kind, file.entry.name, digest)
