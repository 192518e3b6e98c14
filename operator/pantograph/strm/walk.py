"""One directory: from its listing to planned writes, marks, and what is to be listed next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from pantograph.providers.media.port import Listing, MediaSource, Unread
from pantograph.strm.batch import Batch, Work
from pantograph.strm.dirtimes import DirTimes
from pantograph.strm.faults import fault_of_file
from pantograph.strm.likeness import Likeness
from pantograph.strm.manifest import Deferred, DirRow, FileRow, FrontierItem, Manifest, Missing, QuietRow
from pantograph.strm.merge import Merge, Plan, Rewrite
from pantograph.strm.missing import RECONFIGURED, directory_marks, file_marks
from pantograph.strm.naming import STATE_DIR, RefusedName
from pantograph.strm.quiet import Lying, Quiet, Quieted
from pantograph.strm.removal import digest_on_disk
from pantograph.strm.report import Issue, Progress, Report
from pantograph.strm.spec import Job
from pantograph.strm.subtrees import Subtrees
from pantograph.strm.target import OnDisk, Target, read_small, scan_all
from pantograph.strm.wanted import Wanted, below, judge_listing


@dataclass(slots=True, kw_only=True)
class Walk:
    """The walk of one run."""

    job: Job
    source: MediaSource
    target: Target
    manifest: Manifest
    batch: Batch
    report: Report
    run: int
    quiet: Quiet
    times: DirTimes
    scope: Subtrees
    proves: bool
    """The driver can prove a listing complete."""
    reconfigured: bool
    """The spec wants other files than when the source was last listed as a whole."""
    now: Callable[[], datetime]
    resumed: bool
    """An earlier process did a part of this run."""
    progress: Progress
    queued: frozenset[str]
    """What the earlier process left to list."""
    last: int
    """The highest id of a directory before this process added any: those that it adds hold nothing of ours yet."""
    again: list[FrontierItem] = field(default_factory=list)
    """Directories that were not listed to their end."""
    source_is_empty: bool = False
    root_error: str = ""
    root_proved: bool = False
    _began: bool = False
    _answered: bool = False
    _root: Likeness | None = None
    frontier: list[FrontierItem] = field(default_factory=list)
    strange: set[str] = field(default_factory=set)
    """Paths of directories below which nothing is known: their place in the target was another's, or they are back from
    having been missing, and whatever was heard of them meanwhile led nowhere."""

    @property
    def ordinary(self) -> bool:
        """All is listed, by this process, whatever the times say: no child of a directory needs a look at its row."""
        return self.scope.is_whole and not self.resumed and not self.times.skips

    def pop(self) -> FrontierItem | None:
        """The next directory to list: the root alone, then the deepest first, so that few wait."""
        if not self.frontier or (self._began and not self._answered):
            return None
        self._began = True
        return self.frontier.pop()

    def known(self, item: FrontierItem) -> bytes:
        """The fingerprint of an answer that need not be read, since the directory is as it was then; or nothing.

        Only of an ordinary run, whose root holds directories: what holds none does not show the root's content.
        """
        return self.quiet.known(item) if self.ordinary and self.proves and item.proved else b""

    def take(self, item: FrontierItem, answer: Listing | Unread | None, why: str) -> None:
        """Plan the directory. `answer` None: it could not be listed, `why`."""
        self._answered = True
        self.progress.dirs_done += 1
        if not isinstance(answer, Unread):
            self._take_listing(item, answer, why)
        elif not self._pass_unread(item, answer):
            self._take_listing(item, answer.read(), why, changed=True)

    def _take_listing(self, item: FrontierItem, listing: Listing | None, why: str, *, changed: bool = False) -> None:
        """`changed`: it was seen already that the directory is not as it was left."""
        fault = why if listing is None else self._fault(item, listing)
        if listing is None or fault:
            self._incomplete(item, fault)
            if not item.path:
                self.root_error = fault
            self.batch.finish_directory(item, [])
            return
        if not item.path:
            self.source_is_empty = not listing.entries
            self._root = Likeness.of(listing)
        proved = listing.complete and self.proves and item.proved
        left = self.quiet.as_left(item, listing) if proved and not changed else None
        found = self._merge(item, listing) if left is None else self._short_cut(item, left, listing)
        if self.resumed and not item.path:
            # Last what the earlier process may have failed at, or it would keep every process from all the rest.
            self.frontier[:0] = reversed(found)
        else:
            self.frontier.extend(reversed(found))
        self.batch.finish_directory(item, found)

    def _pass_unread(self, item: FrontierItem, answer: Unread) -> bool:
        """Whether the directory is quiet, and nothing is to be listed in it."""
        if answer.path != self._asked(item):
            return False
        row = self.quiet.as_left(item, answer)
        if row is None or not row.leaf:
            return False
        self._pass_quiet(item, row)
        self.batch.finish_directory(item, [])
        return True

    def _asked(self, item: FrontierItem) -> str:
        return f"{self.job.source.rstrip('/')}/{item.path}" if item.path else self.job.source

    def _fault(self, item: FrontierItem, listing: Listing) -> str:
        """Why this answer is not one for the directory that was asked for."""
        if listing.path != self._asked(item):
            return f"the answer is for {listing.path}"
        # Some providers answer an unknown directory with their root (115 does).
        if item.path and self._root is not None and self._root.is_of(listing):
            return "the answer shows the root's content"
        return ""

    def _is_complete(self, listing: Listing, row: DirRow | None) -> bool:
        if not self.proves:
            return False
        if listing.complete or not listing.mounts_only:
            return listing.complete
        # Only mounts came: whole, if there never was anything else here.
        return row is None or (
            not self.manifest.files.of(row.id)
            and all(child.mount for child in self.manifest.directories.children(row.id))
        )

    def _short_cut(self, item: FrontierItem, row: QuietRow, listing: Listing) -> list[FrontierItem]:
        """The path of every directory of a quiet run: nothing is judged, named or read anew."""
        if not item.path:
            self.root_proved = True
        self._pass_quiet(item, row)
        if row.leaf:
            return []
        dirs: dict[str, str] = {}
        if self.job.max_depth is None or item.depth < self.job.max_depth:
            dirs = self._names_of(item, listing)
        children = (
            None if self.ordinary else {child.path: child for child in self.manifest.directories.children(row.id)}
        )
        found = self._descend(item, dirs, children, listing, complete=True)
        self.quiet.near(row.id, len(found))
        return found

    def _pass_quiet(self, item: FrontierItem, row: QuietRow) -> None:
        """Its files are there, and it is proved."""
        files = len(row.numbers) // 16
        self.report.unchanged += files
        self.progress.files_seen += files
        self.batch.proved.append(row.id)
        if row.leaf and self.times.records:
            self._stamp(item)

    def _stamp(self, item: FrontierItem) -> None:
        """Note the times of a leaf that was listed and had not changed."""
        known, times = self.manifest.directories.at(item.path), self.times.stamp(item.local, item.modified)
        if known is not None and times != known.times:
            self.batch.settlements.append(partial(self.manifest.directories.stamp, known.id, times))

    def _names_of(self, item: FrontierItem, listing: Listing) -> dict[str, str]:
        """Remote and local names of the directories to descend into."""
        dirs: dict[str, str] = {}
        for entry in listing.entries:
            if entry.is_dir and not entry.is_locked and self.job.paths.enters(below(item.path, entry.name)):
                try:
                    dirs[entry.name] = self.job.names.local(entry.name)
                except RefusedName:  # then there was something to report, and no short cut
                    continue
        return dirs

    def _merge(self, item: FrontierItem, listing: Listing) -> list[FrontierItem]:
        row = self.manifest.directories.at(item.path)
        if row is None and item.path:  # an earlier life of the run left it to be listed
            self._incomplete(item, "target: by now its place is another directory's")
            return []
        complete = self._is_complete(listing, row)
        if not item.path:
            self.root_proved = complete
        if not complete:
            self._incomplete(item, listing.why)
        wanted = judge_listing(listing, job=self.job, source=self.source, path=item.path, depth=item.depth)
        self.progress.files_seen += len(wanted.files)
        if row is None or row.proved_run != self.run:  # or an earlier process has counted them
            self.report.collisions += wanted.collisions
        self.report.skipped += len(wanted.issues)
        for issue in wanted.issues:
            self.report.note(issue)
        times = self.times.stamp(item.local, item.modified)  # before anything is looked at
        disk = self._scan(item)
        if disk is None:
            return []
        directory = row.id if row else self.manifest.directories.add(item.path, item.local, parent=None, mount=False)
        is_new = directory > self.last
        rows = {} if is_new else self.manifest.files.of(directory)
        try:
            plan = self._plan(item, rows, disk, wanted, complete=complete)
        except OSError as error:
            self._incomplete(item, f"target: {fault_of_file(self.target.root, error)}")
            return []
        children = {} if is_new else {child.path: child for child in self.manifest.directories.children(directory)}
        proved = complete and item.proved
        settled = proved and plan.settled and not (wanted.issues or plan.copies)
        if proved:
            settled = not self._mark(directory, rows, children.values(), wanted) and settled
        else:
            _leave_places(item, children, wanted)
        settled = not self._register(item, directory, children, wanted) and settled
        quieted = None
        if settled:
            leaf = not (wanted.dirs or children)
            quieted = Quieted(
                directory=directory,
                listing=self.quiet.digest(listing),
                answer=self.quiet.answer(listing),
                renew_at=plan.renew_at,
                times=times if leaf and not plan.creates else None,
                leaf=leaf,
                files=_lying(wanted, disk, plan),
            )
            self.batch.settlements.append(partial(self.quiet.remember, quieted, self.run))
        else:
            settle = partial(self.manifest.directories.settle, directory, run=self.run if proved else None)
            self.batch.settlements.append(settle)
        self._adopt_plan(item, directory, disk, plan, quieted)
        return self._descend(item, wanted.dirs, children, listing, complete=complete)

    def _scan(self, item: FrontierItem) -> dict[str, OnDisk] | None:
        """The directory on disk, None if we must keep out of it."""
        try:
            fd = self.target.open(item.local)
            disk = {} if fd is None else scan_all(fd)
        except OSError as error:
            self._incomplete(item, f"target: {fault_of_file(self.target.root, error)}")
            return None
        if item.local and STATE_DIR in disk:
            self._incomplete(item, "target: the directory belongs to another job")
            return None
        return disk

    def _plan(
        self, item: FrontierItem, rows: dict[str, FileRow], disk: dict[str, OnDisk], wanted: Wanted, *, complete: bool
    ) -> Plan:
        def read(name: str) -> bytes | None:
            fd = self.target.open(item.local)
            return None if fd is None else read_small(fd, name)

        merge = Merge(
            job=self.job,
            path=item.path,
            rows=rows,
            disk=disk,
            read=read,
            digest=lambda name: digest_on_disk(self.target, item.local, name),
            now=self.now(),
            complete=complete,
        )
        return merge.plan(wanted)

    def _adopt_plan(
        self, item: FrontierItem, directory: int, disk: dict[str, OnDisk], plan: Plan, quieted: Quieted | None
    ) -> None:
        if plan.records:
            self.manifest.files.record(row.record(directory) for row in plan.records)
        if plan.creates or plan.copies:
            self.batch.add(
                Work(
                    directory=directory,
                    path=item.path,
                    local=item.local,
                    links=plan.creates,
                    sidecars=plan.copies,
                    there={file.name: disk[file.name] for file in plan.copies if file.name in disk},
                    quieted=quieted,
                )
            )
        if plan.rewrites:
            self.manifest.frontier.defer(_deferred(directory, each, disk[each.file.name]) for each in plan.rewrites)
            self.report.rewrites.update(each.reason for each in plan.rewrites)
        self.report.unchanged += plan.unchanged
        self.report.skipped += plan.skipped
        self.report.kept += plan.kept
        for issue in plan.issues:
            self.report.note(issue)

    def _mark(
        self, directory: int, rows: dict[str, FileRow], children: Iterable[DirRow], wanted: Wanted
    ) -> bool:  # fmt: skip
        """Mark what is missing and what is back; whether anything is or was."""
        rules, now = self.job.prune, self.now().timestamp()
        marks = file_marks(rows, wanted, rules=rules, now=now, reconfigured=self.reconfigured)
        for mark in marks:
            self.manifest.files.mark(directory, mark.name, mark.missing, confirm=mark.confirm)
        directories = directory_marks(children, wanted, rules=rules, now=now)
        for child, missing in directories:
            self.manifest.directories.mark(child.id, missing)
        if not self.ordinary:
            self.strange.update(child.path for child, missing in directories if missing is None)
        return bool(marks or directories)

    def _register(self, item: FrontierItem, directory: int, children: dict[str, DirRow], wanted: Wanted) -> bool:
        """Give every wanted directory its row; whether any left its place.

        A place in the target has one row, which goes with the place: whoever comes to own the place owns what lies
        there, and nothing is left to be pruned by a name of before.
        """
        dirs = [
            (below(item.path, name), below(item.local, local), name in wanted.mounts)
            for name, local in wanted.dirs.items()
        ]
        settled = {path: row for path, place, _ in dirs if (row := children.get(path)) and row.local == place}
        left = [children[path] for path, _, _ in dirs if path in children and path not in settled]
        for row in left:
            # It has another name on disk now: what lies under the old one is ours until it is pruned.
            self.manifest.directories.retire(row.id)
            now = self.now().timestamp()
            self.manifest.directories.mark(row.id, Missing(RECONFIGURED, 1, now, now))
        places = {row.local: row.id for row in children.values()}
        for path, place, _ in dirs:
            if path not in settled and place in places:
                self.manifest.directories.take(places[place], path)
                self.strange.add(path)
        changed = [each for each in dirs if (known := settled.get(each[0])) is None or known.mount != each[2]]
        if changed:
            self.manifest.directories.add_all(changed, parent=directory)
        return bool(left)

    def _descend(
        self,
        item: FrontierItem,
        dirs: dict[str, str],
        children: dict[str, DirRow] | None,
        listing: Listing,
        *,
        complete: bool,
    ) -> list[FrontierItem]:
        """What is to be listed next. `children` None: all of them are known, and none was listed by this run."""
        found: list[FrontierItem] = []
        modified = _dir_times(listing) if self.times.records and dirs else {}
        if item.path in self.strange:
            self.strange.update(below(item.path, name) for name in dirs)
        for name, local in sorted(dirs.items()):
            path, place, time = below(item.path, name), below(item.local, local), modified.get(name)
            known = None if children is None or path in self.strange else children.get(path)
            if path in self.queued or not self.scope.covers(path, known=known is not None):
                continue
            if known is not None and self.times.untouched(known, place, time):
                self._pass_over(known)
            elif known is None or known.proved_run != self.run:
                found.append(FrontierItem(path, place, item.depth + 1, item.proved and complete, time))
        self.progress.dirs_known += len(found)
        return found

    def _pass_over(self, row: DirRow) -> None:
        """Its times say that nothing changed. It is not proved by that."""
        files = row.files or 0
        self.report.unlisted_dirs += 1
        self.report.unchanged += files
        self.progress.files_seen += files
        self.progress.dirs_known += 1
        self.progress.dirs_done += 1

    def _incomplete(self, item: FrontierItem, why: str) -> None:
        self.report.note_incomplete(Issue("Incomplete", f"/{item.path}", why), directory=item.path)
        self.again.append(item)
        self.manifest.execute("UPDATE dirs SET listing=NULL, proved_run=NULL WHERE path=?", (item.path,))
        self.manifest.execute("UPDATE runs SET incomplete=incomplete+1 WHERE id=?", (self.run,))


def _dir_times(listing: Listing) -> dict[str, float]:
    """Seconds since 1970."""
    return {each.name: each.modified.timestamp() for each in listing.entries if each.is_dir and each.modified}


def _leave_places(item: FrontierItem, children: dict[str, DirRow], wanted: Wanted) -> None:
    """Of a listing that may lack some, nobody takes the place of another: that one may be among what did not come."""
    places = {row.local: path for path, row in children.items()}
    for name, local in list(wanted.dirs.items()):
        path = below(item.path, name)
        if places.get(below(item.local, local), path) != path:
            del wanted.dirs[name]


def _deferred(directory: int, rewrite: Rewrite, there: OnDisk) -> Deferred:
    file, entry = rewrite.file, rewrite.file.entry
    time = None if entry.modified is None else entry.modified.timestamp()
    return Deferred(
        directory,
        file.name,
        file.text,
        entry.name,
        entry.size_bytes,
        time,
        rewrite.reason,
        rewrite.found,
        there.size,
        there.mtime_ns,
    )


def _lying(wanted: Wanted, disk: dict[str, OnDisk], plan: Plan) -> dict[str, Lying]:
    """Our files that are there."""
    return {
        name: (disk[name].size, disk[name].mtime_ns, plan.contents.get(name)) for name in wanted.files if name in disk
    }
