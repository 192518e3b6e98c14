"""Work is done in batches: intents are committed, files written, the file system synced, results committed.

A kill between any two of these leaves files that the manifest knows by what it intended, and a frontier that lists the
batch's directories once more. A run that finds nothing to do commits once a batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from pantograph.clock import Clock
from pantograph.providers.errors import ProviderError
from pantograph.providers.media.port import MediaSource
from pantograph.strm.changes import Changes, all_of
from pantograph.strm.faults import fault_of_file
from pantograph.strm.manifest import Announced, FrontierItem, Intent, Manifest, Record
from pantograph.strm.merge import digest_of
from pantograph.strm.quiet import Quieted
from pantograph.strm.report import Issue, Report
from pantograph.strm.target import OnDisk, Target
from pantograph.strm.wanted import WantedFile, below
from pantograph.strm.writing import Hand, NotWritten, Staged

MAX_DIRECTORIES: Final = 1000
MAX_WRITES: Final = 4000
"""In a batch: to announce, sync and record one costs as much as to write a hundred files."""
PAGE: Final = 1000
"""Files of a directory, or rows, that are taken up together."""
COST_OF_COPY: Final = 4
"""A sidecar counts as so many links, at least: it waits for the source, and nobody can stop a batch."""
MAX_AGE_S: Final = 10.0
TURN_S: Final = 0.5
"""So long writing keeps others of this process (who asks ahead, who reports) from their turn."""


@dataclass(slots=True, kw_only=True)
class Work:
    """Files to be written in one directory."""

    directory: int
    """Its id."""
    path: str
    """Relative to the source."""
    local: str
    """Relative to the target."""
    links: list[WantedFile]
    sidecars: list[WantedFile] = field(default_factory=list)
    there: dict[str, OnDisk] = field(default_factory=dict)
    """Those of them that are to be replaced, as the merge saw them."""
    quieted: Quieted | None = None
    """The directory, in which nothing is left to do once these are written."""

    @property
    def cost(self) -> int:
        """In links."""
        return len(self.links) + COST_OF_COPY * len(self.sidecars)

    def cut(self) -> Iterator[Work]:
        """The same in parts."""
        if len(self.links) <= PAGE and len(self.sidecars) <= PAGE:
            yield self
            return
        for first in range(0, len(self.links), PAGE):
            yield replace(self, links=self.links[first : first + PAGE], sidecars=[])
        for first in range(0, len(self.sidecars), PAGE):
            yield replace(self, links=[], sidecars=self.sidecars[first : first + PAGE])


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
    waiting: int = 0
    """What `works` cost, in links."""
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
        self.waiting += work.cost
        self.works.extend(work.cut())

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
            self.waiting >= MAX_WRITES
            or len(self.planned) >= MAX_DIRECTORIES
            or self.clock.monotonic() - self.began >= MAX_AGE_S
        )

    async def flush(self) -> None:
        """Do what was planned. Raises StrmError if the target takes nothing more."""
        while self.works:
            # A directory may hold any number: what is done, and only that, is let go before the next is taken up.
            piece = self._piece()
            await self._write(piece)
            for work in piece:
                self.works.popleft()
                self.waiting -= work.cost
        for settle in self.settlements:
            settle()
        if self.proved:
            self.manifest.directories.prove(self.run, self.proved)
        self.manifest.frontier.move(done=self.done, added=self.added.values())
        self.manifest.commit()
        self.done, self.added, self.settlements, self.began = [], {}, [], None
        self.planned, self.proved = {}, []

    def _piece(self) -> list[Work]:
        """The next works, up to the one that fills a batch."""
        piece: list[Work] = []
        cost = 0
        for work in self.works:
            piece.append(work)
            cost += work.cost
            if cost >= MAX_WRITES:
                break
        return piece

    async def flush_links(self) -> None:
        """Do what needs no further word from the source, which has none to give.

        Directories in which a sidecar was to be fetched are listed once more. Raises StrmError as `flush` does.
        """
        asking = {work.path for work in self.works if work.sidecars}
        self.works = deque(replace(work, sidecars=[]) for work in self.works if work.links)
        self.waiting = sum(work.cost for work in self.works)
        self.done = [path for path in self.done if path not in asking]
        self.added |= {path: self.planned[path] for path in asking}
        await self.flush()

    async def _write(self, works: list[Work]) -> None:
        digests = [[digest_of(link.text) for link in work.links] for work in works]
        self.manifest.files.announce([_announced(*each) for each in zip(works, digests, strict=True)])
        made = self._intend_directories(works)
        folders = all_of((work.local for work in works), "Modified")
        self.changes.expect(folders | all_of(made, "Created"))
        self.manifest.commit()
        turn = self.clock.monotonic()
        try:
            for work, contents in zip(works, digests, strict=True):
                is_new = work.local in made
                made.discard(work.local)  # a further part of it finds it there
                if not (is_new and self._make_directory(work, contents)):
                    for link, digest in zip(work.links, contents, strict=True):
                        self._write_link(work, link, digest)
                for sidecar in work.sidecars:
                    await self._copy(work, sidecar)
                if self.clock.monotonic() - turn > TURN_S:
                    await asyncio.sleep(0)
                    turn = self.clock.monotonic()
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

    def _make_directory(self, work: Work, digests: list[bytes]) -> bool:
        """Make a new directory with its links, all at once; False: they are to be written one by one."""
        links = work.links
        if not links or work.there:  # it was there, and is gone since
            return False
        times = self.writer.make_directory(work.local, links)
        if times is None:
            return False
        self._note_written(work, links, digests, [len(link.text) for link in links], times)
        return True

    def _write_link(self, work: Work, link: WantedFile, digest: bytes) -> None:
        try:
            self._place(work, link, self.writer.stage(link.text, digest))
        except (NotWritten, OSError) as error:
            self._failed(work, link, error)

    async def _copy(self, work: Work, sidecar: WantedFile) -> None:
        try:
            staged = await self.writer.fetch(self.source, sidecar.entry)
            # Its content is known only now; nobody may find it without the manifest knowing it as ours.
            self.manifest.files.intend(
                [Intent(work.directory, sidecar.name, sidecar.kind, sidecar.entry.name, staged.digest)]
            )
            self.manifest.commit()
            self._place(work, sidecar, staged)
        except (NotWritten, ProviderError, OSError) as error:
            self._failed(work, sidecar, error)

    def _place(self, work: Work, file: WantedFile, staged: Staged) -> None:
        expected = work.there.get(file.name)
        state = self.writer.place(staged, work.local, file.name, expected=expected, remote=file.entry)
        self._note_written(work, [file], [staged.digest], [state.size], [state.mtime_ns])

    def _note_written(
        self, work: Work, files: list[WantedFile], digests: list[bytes], sizes: list[int], times: list[int]
    ) -> None:
        """`digests`, `sizes`, `times`: of what the files hold now."""
        lying = {} if work.quieted is None else work.quieted.files
        for file, digest, size, mtime_ns in zip(files, digests, sizes, times, strict=True):
            entry = file.entry
            time = None if entry.modified is None else entry.modified.timestamp()
            self.written.append(
                (work.directory, file.name, file.kind, entry.name, digest, size, mtime_ns, entry.size_bytes, time)
            )
            lying[file.name] = (size, mtime_ns, digest)
        self.changes.happened(work.local)
        updated = sum(file.name in work.there for file in files) if work.there else 0
        self.report.updated += updated
        self.report.created += len(files) - updated

    def _failed(self, work: Work, file: WantedFile, error: Exception) -> None:
        self.writer.discard()
        why = fault_of_file(self.target.root, error) if isinstance(error, OSError) else str(error)
        self.report.note_failed(Issue("WriteFailed", below(work.path, file.name), why), directory=work.path)
        # No short cut past this directory before it was written.
        self.settlements.append(lambda: self.manifest.directories.drop_short_cut(work.directory))


def _announced(work: Work, digests: list[bytes]) -> Announced:
    links = work.links
    return Announced(work.directory, [link.name for link in links], [link.entry.name for link in links], digests)
