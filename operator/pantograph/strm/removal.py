"""One file or one empty directory goes: looked at once more, unlinked or moved into the trash, then forgotten."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pantograph.providers.notify.port import ChangeKind
from pantograph.strm.changes import Changes, all_of
from pantograph.strm.errors import StrmError
from pantograph.strm.faults import fault_of_file
from pantograph.strm.manifest import Manifest
from pantograph.strm.merge import DIGEST_BYTES
from pantograph.strm.report import Issue, Report
from pantograph.strm.state import TRASH, StateDir
from pantograph.strm.target import Obstructed, Target, move, pieces
from pantograph.strm.wanted import below

FEWEST_LOOKS: Final = 7
"""After the first, before a run's trash is old: with a week, at most a day of its age passes between two."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)  # the last: a socket has its name


def is_gone(error: OSError) -> bool:
    """There is no such thing of ours, as opposed to a target that fails to answer."""
    return isinstance(error, Obstructed) or error.errno in _GONE


def digest_on_disk(target: Target, local: str, name: str) -> bytes | None:
    """Of the regular file's content; None if there is no such thing, or something else has its name.

    Raises OSError for what could not be looked at: that says nothing about the file.
    """
    try:
        fd = target.open(local)
        if fd is None:
            return None
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for piece in pieces(fd, name):
            digest.update(piece)
    except OSError as error:
        if not is_gone(error):
            raise
        return None
    return digest.digest()


@dataclass(slots=True, kw_only=True)
class Remover:
    """Removes from one target in one run."""

    target: Target
    state: StateDir | None
    """None: a dry run, which takes nothing away but from its own copy of the records."""
    manifest: Manifest
    report: Report
    changes: Changes
    trash: bool
    run: str
    _emptied: set[int] = field(default_factory=set)

    def expect(self, directories: Iterable[int]) -> None:
        """Files of these are about to go."""
        if self.changes.servers:
            self.changes.expect(all_of({self._local(each) for each in directories}, "Modified"))

    def remove(self, directory: int, name: str, digest: bytes) -> bool:
        """Remove the file if it still holds what was judged; whether it went. Raises StrmError as `keep` does."""
        local = self._local(directory)
        try:
            return self._remove(directory, local, name, digest)
        except OSError as error:
            self.keep(local, name, error)
            return False

    def keep(self, local: str, name: str, error: OSError) -> None:
        """The file stays, and stays ours: it could not be removed, or looked at before that.

        Raises StrmError if no other file of the target could.
        """
        why = fault_of_file(self.target.root, error)
        self.report.note_failed(Issue("RemoveFailed", below(local, name), f"it stays: {why}"))

    def _remove(self, directory: int, local: str, name: str, digest: bytes) -> bool:
        if digest_on_disk(self.target, local, name) != digest:
            return False
        if self.state is None:
            self.manifest.files.forget(directory, name)
            return True
        if self.trash:
            self.manifest.execute("DELETE FROM trash WHERE run=?", (self.run,))  # under a name of before: new again
            self._to_trash(self.state, local, name)
        else:
            fd = self.target.open(local)
            assert fd is not None, "read a moment ago"
            os.unlink(name, dir_fd=fd)
        self.manifest.files.forget(directory, name)
        self.manifest.execute("UPDATE dirs SET listing=NULL WHERE id=?", (directory,))
        self._emptied.add(directory)
        self.changes.happened(local)
        return True

    def remove_empty_directories(self, run: int) -> None:
        """Remove directories that we made and that hold nothing, where something was removed or the source has none.

        Never anything but `rmdir`: whatever somebody else keeps there keeps the directory. One that cannot go now
        (a network file system's placeholder) is tried again by a later run.
        """
        if self.state is None:
            return
        gone = self.manifest.execute(
            "SELECT d.id FROM dirs d JOIN dirs p ON p.id=d.parent WHERE d.reason IS NOT NULL AND p.proved_run=?", (run,)
        )
        pending = {*self._emptied, *self._with_all_below(row[0] for row in gone.fetchall())}
        while pending:
            parents: set[int] = set()
            for directory in sorted(pending, key=lambda each: self._local(each).count("/"), reverse=True):
                parent = self._remove_if_empty(directory)
                if parent is not None:
                    parents.add(parent)
            pending = parents

    def _with_all_below(self, directories: Iterable[int]) -> list[int]:
        found = list(directories)
        for directory in found:  # grows while it is read: breadth first
            found.extend(child.id for child in self.manifest.directories.children(directory))
        return found

    def _remove_if_empty(self, directory: int) -> int | None:
        """The parent, if the directory is no longer."""
        row = self.manifest.execute(
            "SELECT parent, local, made, reason, EXISTS (SELECT 1 FROM files WHERE dir=id),"
            " EXISTS (SELECT 1 FROM dirs c WHERE c.parent=dirs.id AND c.made) FROM dirs WHERE id=?",
            (directory,),
        ).fetchone()
        if row is None:
            return None
        parent, local, made, reason, has_files, has_children = row
        if not local or has_files or has_children:
            return None
        if made and not self._rmdir(local):
            return None
        self.manifest.execute("UPDATE dirs SET made=0, listing=NULL WHERE id=?", (directory,))
        if reason is not None:
            self.manifest.execute(
                "DELETE FROM dirs WHERE id=? AND NOT EXISTS (SELECT 1 FROM dirs c WHERE c.parent=?)",
                (directory, directory),
            )
        return int(parent) if made and parent is not None else None

    def _rmdir(self, local: str) -> bool:
        above, _, name = local.rpartition("/")
        self.target.forget()
        try:
            fd = self.target.open(above)
            if fd is not None:
                os.rmdir(name, dir_fd=fd)
        except OSError as error:
            if not is_gone(error):
                return False
        self.changes.note(local, "Deleted")
        return True

    def _to_trash(self, state: StateDir, local: str, name: str) -> None:
        place = state.trash_path(self.run) + (f"/{local}" if local else "")
        opened = self.target.open(place, make=True)
        assert opened is not None, "made"
        trash = os.dup(opened)
        try:
            fd = self.target.open(local)
            assert fd is not None, "read a moment ago"
            move(name, name, source=fd, directory=trash)
        except FileExistsError as error:
            why = f"the trash of an earlier run {self.run} holds a file of this name; give each run a name of its own"
            raise FileExistsError(error.errno, why, name) from error
        finally:
            os.close(trash)

    def _local(self, directory: int) -> str:
        row = self.manifest.execute("SELECT local FROM dirs WHERE id=?", (directory,)).fetchone()
        return "" if row is None else str(row[0])


def purge_old_trash(state: StateDir, manifest: Manifest, *, retention_s: float, now: float) -> int:
    """Remove for good what lies in the trash longer than it is kept; how many runs that were.

    Its age is what passes from look to look, but never more at once than a share of what it is kept: a clock that was
    put right says nothing of how long somebody could have missed the files. What the records do not know of is new.
    """
    trash = state.path / TRASH
    lying = {run.name for run in trash.iterdir()} if trash.exists() else set()
    known = {run: (age, looked) for run, age, looked in manifest.select("SELECT run, age, looked FROM trash")}
    for run in known.keys() - lying:
        manifest.execute("DELETE FROM trash WHERE run=?", (run,))
    old = 0
    for run in sorted(lying):
        age, looked = known.get(run, (0.0, now))
        age += min(max(now - looked, 0.0), retention_s / FEWEST_LOOKS)
        manifest.execute("INSERT OR REPLACE INTO trash (run, age, looked) VALUES (?,?,?)", (run, age, now))
        if age >= retention_s:
            state.purge_trash(run)
            old += 1
    return old


def restore(target: Target, state: StateDir, run: str, *, changes: Changes) -> tuple[int, list[str]]:
    """Bring back what `run` moved into the trash: how many files, and the paths whose place is taken.

    What comes back is the person's own from then on, until the source shows it again: no later run prunes it. The next
    run tells the media servers of `changes`. Raises OSError, and keeps the trash, if any of it cannot be read or moved.
    """
    trash = state.path / TRASH / run
    if "/" in run or run in ("", ".", "..") or not trash.is_dir():
        raise StrmError(
            "NothingToRestore", f"there is no trash of run {run!r}", remedy="pantograph strm doctor lists the trash"
        )
    restored, taken = 0, []
    root = os.open(trash, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        walk = os.fwalk(".", topdown=False, onerror=_refuse, follow_symlinks=False, dir_fd=root)
        for folder, _, names, fd in walk:
            local = str(Path(folder)) if folder != "." else ""
            if names:
                changes.expect(_appearing(target, local))
            back = [name for name in sorted(names) if _bring_back(target, local, name, fd)]
            restored += len(back)
            taken += [below(local, name) for name in sorted(set(names) - set(back))]
            if back:
                changes.manifest.files.disown(local, back)
                changes.happened(local)
            changes.settle()
            changes.manifest.commit()
    finally:
        os.close(root)
    if not taken:
        state.purge_trash(run)
    return restored, taken


def _refuse(error: OSError) -> None:
    raise error


def _appearing(target: Target, local: str) -> dict[str, ChangeKind]:
    """What changes when files come back into this folder: the folder, or all of those that are missing there."""
    missing, path = [], local
    while path and _is_missing(target, path):
        missing.append(path)
        path = path.rpartition("/")[0]
    return all_of(missing, "Created") if missing else all_of([local], "Modified")


def _is_missing(target: Target, local: str) -> bool:
    try:
        return target.open(local) is None
    except OSError:  # something else has its name: nothing comes back there
        return False


def _bring_back(target: Target, local: str, name: str, trash: int) -> bool:
    try:
        fd = target.open(local, make=True)
        assert fd is not None, "made"
        move(name, name, source=trash, directory=fd)
    except (FileExistsError, Obstructed):
        return False
    return True
